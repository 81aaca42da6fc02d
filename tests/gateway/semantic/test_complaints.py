"""What users of other caches complained of, shown not to happen here: those cases that no other test shows.

docs/complaints.md maps every complaint to its test.
"""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.chat import ChatRequest
from backends.fake import ScriptedBackend
from embeddings.control import Lane, Neighbour
from embeddings.hashing import HashingEmbedder
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import load_verifier
from gateway.cli.asking import seconds_of
from gateway.controls import Controls, read_controls
from gateway.identity.scope import Scope
from gateway.policy import Rules
from tests.gateway.house import SECRET, House, house, read

TOPICAL = [
    ("What is the function of TV?", "What is the function of money?"),  # 1
    ("Should I use a mutex here?", "Why shouldn't I use a mutex here?"),  # 3
    ("What is 21+1?", "What is 1+1?"),  # 4, 9
    ("How do I cancel my card?", "How do I close my investment account?"),  # 10
    ("Who is the CEO of Apple?", "Who is the CEO of Google?"),  # 11
]


@pytest.mark.parametrize(("asked", "stored"), TOPICAL)
def test_a_neighbour_of_the_topic_is_not_served(asked: str, stored: str, minilm: SentenceTransformerEmbedder) -> None:
    question, other = minilm.read([asked, stored])
    near = Neighbour("e", other, float(np.dot(question.vector, other.vector)), b"answer")
    lane = Lane(load_verifier(minilm.fingerprint), shadow_rate=0.0)

    assert lane.decide(question, [near]).action == "pass"


async def settled(gateway: House) -> None:
    await gateway.pipeline.close()


async def talk(gateway: House, *texts: str) -> str:
    """Ask the last of a conversation, user and assistant in turns; the tier that answered."""
    roles = ("user", "assistant")
    messages = tuple({"role": roles[at % 2], "content": text} for at, text in enumerate(texts))
    reply = await gateway.pipeline.answer(ChatRequest("scripted", messages, {}), "t", "", Controls())
    await read(reply)
    await settled(gateway)
    return reply.outcome.tier


async def test_a_refused_neighbour_gives_way_to_the_next(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        first, _ = await gateway.chat("Please list 10 facts about ancient Rome")
        await gateway.chat("List 5 facts about ancient Rome")
        await settled(gateway)
        outcome, _ = await gateway.chat("List 10 facts about ancient Rome")

        assert (outcome.tier, outcome.entry) == ("semantic", first.entry)


@pytest.mark.parametrize("floor", [0, 0.0])
async def test_a_threshold_of_0_is_one_and_not_none(floor: float) -> None:
    assert read_controls(None, {"min_similarity": floor}).min_similarity == 0.0
    assert read_controls(None, {"ttl": 0}).ttl_s == 0.0


async def test_a_question_in_another_conversation_is_another_question(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        question = "How many people live in that lovely city over there?"
        tiers = [await talk(gateway, f"I am in {city}.", "Lovely!", question) for city in ("Paris", "Rome", "Paris")]

        assert tiers == ["full", "full", "exact"]
        assert await talk(gateway, "I am in Paris.", "Lovely!", question.replace("lovely", "nice")) == "full"  # deictic


async def test_an_agents_turn_is_never_answered_by_a_similar_one(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        tiers = []
        for result in ("12 files are left to check", "11 files are left to check"):
            messages: tuple[dict[str, Any], ...] = (
                {"role": "user", "content": "Check every file."},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": result},
            )
            reply = await gateway.pipeline.answer(ChatRequest("scripted", messages, {}), "t", "", Controls())
            await read(reply)
            await settled(gateway)
            tiers.append(reply.outcome.tier)

        assert tiers == ["full", "full"]


async def test_what_is_searched_is_what_is_stored_also_after_evictions_and_ends(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        for number, ttl in enumerate((None, 0.01, None)):
            await gateway.chat(f"Which of the seas is number {number}?", controls=Controls(ttl_s=ttl))
        await settled(gateway)
        scope = Scope("t", "scripted", "scripted-1").digest(SECRET)
        (row, *_) = await gateway.answers.requests(scope, 1)
        await gateway.answers.remove(scope, row[0])  # behind the index's back
        await asyncio.sleep(0.02)
        await gateway.chat("Which of the seas is the number 2?")  # meets what is gone
        await gateway.chat("Which of the seas is the number 0?")
        await settled(gateway)

        assert gateway.semantic.num_vectors == await gateway.answers.size()


class Slow(HashingEmbedder):
    """An embedder that has stopped working."""

    def read(self, texts: Any) -> Any:
        raise RuntimeError("no memory")

    def embed(self, texts: Any) -> Any:
        raise RuntimeError("no memory")


async def test_without_its_embedder_the_cache_is_an_exact_one(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with house(tmp_path) as gateway:
        await gateway.chat("What is kept from before?")
    async with house(tmp_path, backend, embedder=Slow(256)) as gateway:
        other, _ = await gateway.chat("What was kept from before?")
        again, _ = await gateway.chat("What is kept from before?")

        assert (other.tier, again.tier, backend.calls) == ("full", "exact", 1)
        assert gateway.ledger.totals.cache_failures > 0


async def test_callers_of_creative_answers_keep_several_by_a_salt(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        tiers = [(await gateway.chat("A poem!", salt=str(bucket)))[0].tier for bucket in (1, 2, 1, 2)]

        assert tiers == ["full", "full", "exact", "exact"]


async def test_an_operator_may_keep_other_words_to_cold_answers(tmp_path: Path) -> None:
    async with house(tmp_path, rules=Rules(max_temperature=0.0, shadow_rate=0.0)) as gateway:
        for question in ("What is the capital city of France?", "What's the capital city of France?"):
            warm, _ = await gateway.chat(question, temperature=0.7)
            cold, _ = await gateway.chat(question, temperature=0)
            await settled(gateway)

        assert (warm.tier, cold.tier) == ("full", "semantic")


@pytest.mark.parametrize(
    ("said", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("7d", 604800), ("1w", 604800)]
)
def test_an_age_says_its_unit(said: str, seconds: float) -> None:
    assert seconds_of(said) == seconds


@pytest.mark.parametrize("said", ["", "7 days", "-1", "1y", "ms"])
def test_an_age_nobody_understands_is_refused(said: str) -> None:
    with pytest.raises(Exception, match="is no age"):
        seconds_of(said)
