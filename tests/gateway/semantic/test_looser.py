"""Hits of other histories: what they need, what they leave alone, and what takes them away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends.chat import ChatRequest, Delta
from gateway.answers.selection import Selection
from gateway.controls import Controls
from gateway.curation.invalidate import Invalidation
from gateway.explain import Explainer
from gateway.policy import LOOSE, Rules
from gateway.reply import Reply
from gateway.semantic.rule import LaneKey
from gateway.semantic.standalone.base import Rewriter
from gateway.semantic.standalone.rules import ByRules
from tests.gateway.house import House, PlainLane, house, read

LOOSELY = Rules(shadow_rate=0.0, history="loose")
ASKED = "What is the capital city of Spain?"
FIRST = ("What is the capital of France?", "Paris.", ASKED)
OTHER = ("Tell me what the capital of France is", "It is Paris, on the Seine.", ASKED)
ELSEWHERE = ("What is the capital of Japan?", "Tokyo.", ASKED)


@asynccontextmanager
async def opened(folder: Path, rewriter: Rewriter | None = None, **wishes: Any) -> AsyncIterator[House]:
    wishes = {"rules": LOOSELY, "reads_wordings": True, **wishes}
    async with house(folder, rewriter=rewriter or ByRules(), **wishes) as gateway:
        yield gateway


def request(turns: tuple[str, ...], **params: Any) -> ChatRequest:
    """A conversation; every other turn is the assistant's."""
    roles = ("user", "assistant")
    messages = tuple({"role": roles[n % 2], "content": text} for n, text in enumerate(turns))
    return ChatRequest("scripted", messages, params)


async def say(
    gateway: House, turns: tuple[str, ...], *, tenant: str = "t", controls: Controls | None = None, **params: Any
) -> Reply:
    """Ask, read to the end, and let what is owed be done."""
    reply = await gateway.pipeline.answer(request(turns, **params), tenant, "", controls or gateway.controls)
    await read(reply)
    await gateway.pipeline.close()
    return reply


def tier(reply: Reply) -> tuple[str, str]:
    return reply.outcome.tier, reply.outcome.reason


async def test_a_last_turn_that_stands_alone_is_served_after_another_history_and_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as gateway:
        assert tier(await say(gateway, FIRST)) == ("full", "miss")
        hit = await say(gateway, OTHER)
        assert tier(hit) == ("semantic", "other_history")
        assert hit.served.rules.route == "default" + LOOSE
        assert tier(await say(gateway, ELSEWHERE)) == ("full", "miss")
        explainer = Explainer(gateway.pipeline, gateway.answers, gateway.semantic)
        told = await explainer.explain(request(OTHER), "t", "", Controls())
        assert (told.would["reason"], told.semantic["route"]) == ("other_history", "default" + LOOSE)
        told = await explainer.explain(request((*OTHER[:2], "How much is the ticket in Spain?")), "t", "", Controls())
        assert (told.would["reason"], told.semantic["other_histories"]) == ("miss", "leans_the")
        assert gateway.count("twicetold_lookups_total", tier="loose", outcome="hit", reason="other_history") == 1


async def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path, rules=Rules(shadow_rate=0.0)) as gateway:
        await say(gateway, FIRST)
        assert tier(await say(gateway, OTHER)) == ("full", "miss")


async def test_all_but_the_words_of_the_history_has_to_agree(tmp_path: Path) -> None:
    async with opened(tmp_path) as gateway:
        await say(gateway, FIRST)
        assert tier(await say(gateway, OTHER, tenant="u")) == ("full", "miss")
        assert tier(await say(gateway, OTHER, controls=replace(gateway.controls, namespace="n"))) == ("full", "miss")
        assert tier(await say(gateway, OTHER, temperature=0.5)) == ("full", "miss")
        assert tier(await say(gateway, OTHER, tools=[{"type": "function", "function": {"name": "f"}}]))[0] == "full"
        assert tier(await say(gateway, (ASKED,))) == ("full", "miss")


async def test_what_is_over_removed_or_called_bad_is_not_served(tmp_path: Path) -> None:
    async with opened(tmp_path) as gateway:
        await say(gateway, FIRST, controls=replace(gateway.controls, ttl_s=0.001))
        assert tier(await say(gateway, OTHER, controls=replace(gateway.controls, no_store=True)))[0] == "full"
        await say(gateway, FIRST)
        assert tier(await say(gateway, OTHER))[0] == "semantic"
        await Invalidation(gateway.answers, gateway.semantic, gateway.ledger).run(Selection(model="scripted"))
        assert gateway.semantic.looser is not None
        assert len(gateway.semantic.looser) == 0
        assert tier(await say(gateway, OTHER))[0] == "full"


async def test_a_hit_teaches_a_lane_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as gateway:
        await say(gateway, FIRST)
        hit = await say(gateway, OTHER)
        served = replace(hit.served, outcome=hit.outcome)
        await gateway.semantic.feedback(served, is_good=False)
        assert await gateway.semantic.learning.counts() == {LaneKey("t", "default" + LOOSE): 1}


async def test_a_sample_is_compared_for_that_lane_and_promotes_nothing(tmp_path: Path) -> None:
    class Samples(PlainLane):
        samples = True

    async with opened(tmp_path, new_lane=Samples) as gateway:
        await say(gateway, FIRST)
        assert tier(await say(gateway, OTHER)) == ("full", "miss")
        assert await gateway.semantic.learning.counts() == {LaneKey("t", "default" + LOOSE): 1}
        assert gateway.semantic.learning.promoted == 0


async def test_stored_conversations_are_found_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as gateway:
        await say(gateway, FIRST)
    async with opened(tmp_path) as gateway:
        await gateway.semantic.catch_up()
        assert tier(await say(gateway, OTHER)) == ("semantic", "other_history")


async def test_a_fault_is_a_miss_and_is_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as gateway:
        await say(gateway, FIRST)
        await gateway.semantic.lanes.close()
        assert tier(await say(gateway, OTHER)) == ("full", "miss")
        assert gateway.count("twicetold_cache_failures_total", step="loose_read") == 1


async def test_neither_a_call_of_a_tool_nor_the_weather_is_shared(tmp_path: Path) -> None:
    async with opened(tmp_path) as gateway:
        for last in ("What is the weather in Spain today?", "How many people live there?"):
            await say(gateway, (*FIRST[:2], last))
            assert tier(await say(gateway, (*OTHER[:2], last))) == ("full", "miss")
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        gateway.backend.script = [Delta(fields={"tool_calls": [call]}), Delta(finish_reason="tool_calls")]
        await say(gateway, FIRST)
        assert gateway.semantic.looser is not None
        assert len(gateway.semantic.looser) == 0
