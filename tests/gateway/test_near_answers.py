"""A near miss goes down as a draft, and only what the caller may see can be near."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.fake import ScriptedBackend, say
from gateway.controls import Controls
from gateway.policy import Rules
from tests.gateway.house import House, house

QUESTION = "What is the capital city of France?"
REWORDED = "What's the capital city of France?"
NUMBERED = "List 5 rivers in the south of France, please."
RENUMBERED = "List 7 rivers in the south of France, please."
STRICT = Rules(min_similarity=0.9999)


async def drafts(gateway: House, first: str, second: str, **wishes: Any) -> str:
    """Ask one question, then another one; what the backend was given to draft from the second time."""
    await gateway.chat(first)
    await gateway.pipeline.close()
    outcome, _ = await gateway.chat(second, **wishes)
    assert outcome.tier == "full"
    return gateway.backend.requests[-1].near_answer


async def test_an_answer_below_the_threshold_is_drafted_from(tmp_path: Path) -> None:
    async with house(tmp_path, ScriptedBackend(say("Paris it is.")), STRICT) as gateway:
        assert await drafts(gateway, QUESTION, REWORDED) == "Paris it is."


async def test_an_answer_a_guard_refuses_is_drafted_from(tmp_path: Path) -> None:
    async with house(tmp_path, ScriptedBackend(say("The Rhône, and four more."))) as gateway:
        assert await drafts(gateway, NUMBERED, RENUMBERED) == "The Rhône, and four more."
        assert gateway.count("twicetold_lookups_total", tier="semantic", outcome="miss", reason="guard_numbers") == 1


async def test_an_answer_to_something_else_is_not_drafted_from(tmp_path: Path) -> None:
    async with house(tmp_path, rules=STRICT) as gateway:
        assert await drafts(gateway, QUESTION, "How do I bake bread without yeast?") == ""


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"tenant": "someone else"}, "tenants never share"),
        ({"salt": "s"}, "a salt is a wall"),
        ({"controls": Controls(namespace="n")}, "a namespace is a wall"),
        ({"temperature": 0.3}, "sampling differs"),
        ({"controls": Controls(tiers=frozenset({"exact", "kv"}))}, "the semantic tier is not to be used"),
        ({"controls": Controls(tiers=frozenset())}, "no tier is to be used"),
        ({"controls": Controls(no_cache=True)}, "nothing stored is to be read"),
    ],
)
async def test_nothing_is_drafted_from_across_a_wall(tmp_path: Path, wishes: dict[str, Any], why: str) -> None:
    async with house(tmp_path, rules=STRICT) as gateway:
        assert await drafts(gateway, QUESTION, REWORDED, **wishes) == "", why


async def test_another_history_is_a_wall_too(tmp_path: Path) -> None:
    async with house(tmp_path, rules=STRICT) as gateway:
        await gateway.chat(QUESTION)
        await gateway.pipeline.close()
        request = gateway.backend.requests[0]
        history = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": REWORDED})
        reply = await gateway.pipeline.answer(replace(request, messages=history), "t", "", Controls())
        await reply.deltas.aclose()

        assert gateway.backend.requests[-1].near_answer == ""


async def test_an_expired_answer_is_drafted_from_when_it_is_made_anew(tmp_path: Path) -> None:
    async with house(tmp_path, ScriptedBackend(say("old"))) as gateway:
        await gateway.chat(QUESTION, controls=Controls(ttl_s=0.02))
        await asyncio.sleep(0.05)
        await gateway.chat(QUESTION, controls=Controls(stale_s=60, ttl_s=0.02))  # refreshed behind the answer
        await gateway.pipeline.close()
        await asyncio.sleep(0.05)
        await gateway.chat(QUESTION)

        assert [request.near_answer for request in gateway.backend.requests] == ["", "old", "old"]


async def test_a_draft_is_no_part_of_the_identity(tmp_path: Path) -> None:
    async with house(tmp_path, ScriptedBackend(say("Paris.")), STRICT) as gateway:
        await drafts(gateway, QUESTION, REWORDED)
        repeated, _ = await gateway.chat(REWORDED)
        predicted, _ = await gateway.chat(REWORDED, prediction={"type": "content", "content": "Lyon."})

        assert (repeated.tier, predicted.tier, gateway.backend.calls) == ("exact", "exact", 2)
