"""How long answers live: absolute ends, sliding ones, stale answers and their refresh."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backends.fake import ScriptedBackend, say
from gateway.controls import Controls
from gateway.outcome import cache_status
from gateway.policy import Rules
from gateway.recorder import slid
from tests.contracts.answers_contract import entry_of
from tests.gateway.house import House, house, read

QUESTION = "What is the capital city of France?"
REWORDED = "What's the capital city of France?"
BRIEF = Controls(ttl_s=0.05)
STALE = Controls(stale_s=60.0)


async def settled(gateway: House) -> None:
    await gateway.pipeline.close()


@pytest.mark.parametrize(
    ("sliding_s", "left_s", "max_ttl_s", "moves_to"),
    [
        (None, 10, None, None),
        (100.0, 10, None, 100.0),
        (100.0, 99.5, None, None),  # not worth a write
        (100.0, -1, None, None),  # it has ended
        (100.0, 10, 150.0, 50.0),  # made 100 s ago
        (100.0, 10, 105.0, None),
    ],
)
def test_a_use_moves_the_end_of_what_slides(
    sliding_s: float | None, left_s: float, max_ttl_s: float | None, moves_to: float | None
) -> None:
    entry = replace(entry_of(created_s=1000.0), expires_s=1100.0 + left_s, sliding_s=sliding_s)
    moved = slid(entry, 1100.0, max_ttl_s)

    assert moved == (None if moves_to is None else 1100.0 + moves_to)


@pytest.mark.parametrize(("sliding", "tier"), [(True, "exact"), (False, "full")])
async def test_lives_slide_only_where_the_operator_wants_it(tmp_path: Path, sliding: bool, tier: str) -> None:
    async with house(tmp_path, rules=Rules(sliding_ttl=sliding)) as gateway:
        ttl = Controls(ttl_s=0.6)
        await gateway.chat(QUESTION, controls=ttl)
        for _ in range(2):
            await asyncio.sleep(0.2)
            assert (await gateway.chat(QUESTION, controls=ttl))[0].tier == "exact"
        await asyncio.sleep(0.35)

        assert (await gateway.chat(QUESTION, controls=ttl))[0].tier == tier


async def test_an_answer_found_in_other_words_slides_too(tmp_path: Path) -> None:
    async with house(tmp_path, rules=Rules(sliding_ttl=True, shadow_rate=0.0)) as gateway:
        first, _ = await gateway.chat(QUESTION, controls=Controls(ttl_s=20.0))
        await settled(gateway)
        reply = await gateway.ask(REWORDED)
        entry = await gateway.answers.peek(reply.served.scope, reply.served.exact)
        await read(reply)
        await asyncio.sleep(0.25)  # more than a hundredth of its life
        await gateway.chat(REWORDED)
        await settled(gateway)
        later = await gateway.answers.peek(reply.served.scope, reply.served.exact)

        assert entry is not None
        assert later is not None
        assert (reply.outcome.tier, later.id) == ("semantic", first.entry)
        assert (later.expires_s or 0) > (entry.expires_s or 0)


async def test_answering_an_ended_answer_anew_is_told_from_a_miss(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        first, _ = await gateway.chat(QUESTION, controls=BRIEF)
        await asyncio.sleep(0.06)
        again, _ = await gateway.chat(QUESTION)

        assert cache_status(first) == "twicetold; fwd=uri-miss; detail=full"
        assert cache_status(again) == "twicetold; fwd=stale; detail=full"


async def test_a_stale_answer_to_other_words_is_served_and_refreshed_once(tmp_path: Path) -> None:
    backend = ScriptedBackend(say("old"))
    async with house(tmp_path, backend) as gateway:
        await gateway.chat(QUESTION, controls=BRIEF)
        await settled(gateway)
        await asyncio.sleep(0.06)
        backend.script = say("new")
        replies = await asyncio.gather(*(gateway.ask(REWORDED, controls=STALE) for _ in range(5)))
        texts = [(await read(reply)).text for reply in replies]

        assert {reply.outcome.tier for reply in replies} == {"semantic"}
        assert {reply.outcome.reason for reply in replies} == {"stale"}
        assert all(reply.outcome.age_s is not None and reply.outcome.age_s >= 0.05 for reply in replies)
        assert set(texts) == {"old"}
        await settled(gateway)
        assert backend.calls == 2  # one refresh for five who asked
        outcome, said = await gateway.chat(REWORDED)
        assert (outcome.tier, outcome.reason, said.text) == ("exact", "same_request", "new")


async def test_a_stale_answer_is_not_prolonged_by_being_served(tmp_path: Path) -> None:
    async with house(tmp_path, rules=Rules(sliding_ttl=True)) as gateway:
        reply = await gateway.ask(QUESTION, controls=BRIEF)
        await read(reply)
        await settled(gateway)
        await asyncio.sleep(0.06)
        stale = await gateway.ask(QUESTION, controls=replace(STALE, no_store=True))
        await read(stale)
        entry = await gateway.answers.peek(reply.served.scope, reply.served.exact)

        assert stale.outcome.reason == "stale"
        assert entry is not None
        assert not entry.is_fresh(time.time())
