"""The road of a request: which tier answers, what is kept, what is shared."""

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from backends.chat import Delta, Usage
from backends.errors import BackendGarbage, BackendUnavailable
from backends.fake import ScriptedBackend, Step, say
from gateway.answers.base import CacheError, Entry
from gateway.controls import Controls
from gateway.errors import NotCached
from gateway.identity.scope import Scope
from tests.gateway.house import SECRET, House, house, read

QUESTION = "What is the capital city of France?"
REWORDED = "What's the capital city of France?"


async def settled(gateway: House) -> None:
    """Until nothing is owed to the store."""
    await gateway.pipeline.close()


async def test_a_repeat_is_served_without_the_backend(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        first, said = await gateway.chat(QUESTION)
        again, repeated = await gateway.chat(QUESTION)

        assert (first.tier, again.tier, again.reason) == ("full", "exact", "same_request")
        assert repeated == said
        assert gateway.backend.calls == 1
        assert again.saved_tokens == said.usage.prompt_tokens + said.usage.completion_tokens


async def test_a_repeat_after_a_restart_comes_from_the_store(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        _, said = await gateway.chat(QUESTION)

    async with house(tmp_path) as gateway:
        outcome, repeated = await gateway.chat(QUESTION)
        assert (outcome.tier, repeated, gateway.backend.calls) == ("exact", said, 0)


async def test_other_words_are_a_semantic_hit_also_after_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        _, said = await gateway.chat(QUESTION)
        await settled(gateway)
        outcome, _ = await gateway.chat(REWORDED)
        assert (outcome.tier, gateway.backend.calls) == ("semantic", 1)

    async with house(tmp_path) as gateway:
        outcome, repeated = await gateway.chat(REWORDED)
        assert (outcome.tier, repeated, gateway.backend.calls) == ("semantic", said, 0)
        assert outcome.similarity is not None
        assert 0.7 <= outcome.similarity < 1


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"tenant": "someone else"}, "tenants never share"),
        ({"salt": "s"}, "a salt is a wall"),
        ({"controls": Controls(namespace="n")}, "a namespace is a wall"),
        ({"temperature": 0.3}, "sampling differs"),
        ({"controls": Controls(tiers=frozenset({"exact"}))}, "only exact hits were asked for"),
        ({"controls": Controls(min_similarity=0.9999)}, "the caller asks for more likeness"),
    ],
)
async def test_other_words_are_not_matched_across_a_wall(tmp_path: Path, wishes: dict[str, object], why: str) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat(QUESTION)
        await settled(gateway)
        outcome, _ = await gateway.chat(REWORDED, **wishes)

        assert outcome.tier == "full", why


async def test_a_guard_refuses_a_near_question_with_another_number(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat("What is the sum of 21 and 1 in base ten?")
        await settled(gateway)
        outcome, _ = await gateway.chat("What is the sum of 22 and 1 in base ten?")

        assert outcome.tier == "full"
        assert gateway.count("twicetold_lookups_total", tier="semantic", outcome="miss", reason="guard_numbers") == 1


async def test_a_hundred_identical_requests_make_one_generation(tmp_path: Path) -> None:
    backend = ScriptedBackend([0.05, *say("One answer for all of you.")])
    async with house(tmp_path, backend) as gateway:
        answers = await asyncio.gather(*(gateway.chat(QUESTION) for _ in range(100)))

        assert backend.calls == 1
        assert len({str(completion) for _, completion in answers}) == 1
        tiers = [outcome.reason for outcome, _ in answers]
        assert tiers.count("in_flight") == 99


async def test_a_follower_joins_mid_stream_and_gets_the_whole_text(tmp_path: Path) -> None:
    gate = asyncio.Event()
    words = say("one two three four")
    backend = ScriptedBackend([*words[:3], gate, *words[3:]])
    async with house(tmp_path, backend) as gateway:
        leader = await gateway.ask(QUESTION)
        head = [await anext(leader.deltas) for _ in range(3)]
        follower = await gateway.ask(QUESTION)
        caught_up = [await anext(follower.deltas) for _ in range(3)]
        gate.set()

        assert caught_up == head
        assert (await read(follower)).usage.completion_tokens == 4
        assert [delta.text for delta in [*head, *[delta async for delta in leader.deltas]]][1:5] == [
            "one",
            " two",
            " three",
            " four",
        ]
        assert backend.calls == 1


async def test_the_leader_may_leave_and_the_follower_still_gets_everything(tmp_path: Path) -> None:
    gate = asyncio.Event()
    backend = ScriptedBackend([*say("all of it")[:2], gate, *say("all of it")[2:]])
    async with house(tmp_path, backend) as gateway:
        leader = await gateway.ask(QUESTION)
        follower = await gateway.ask(QUESTION)
        await leader.deltas.aclose()
        gate.set()

        assert (await read(follower)).choices[0].message["content"] == "all of it"
        assert backend.cancelled == 0


async def test_the_last_to_leave_cancels_the_generation_and_nothing_is_kept(tmp_path: Path) -> None:
    backend = ScriptedBackend([*say("never ending")[:2], asyncio.Event()])
    async with house(tmp_path, backend) as gateway:
        leader = await gateway.ask(QUESTION)
        follower = await gateway.ask(QUESTION)
        await leader.deltas.aclose()
        assert backend.active == 1
        await follower.deltas.aclose()

        assert (backend.active, backend.cancelled) == (0, 1)
        assert await gateway.answers.size() == 0

        backend.script = say("fresh")
        outcome, completion = await gateway.chat(QUESTION)
        assert (outcome.tier, completion.choices[0].message["content"]) == ("full", "fresh")


async def test_a_reply_that_is_never_read_can_be_closed(tmp_path: Path) -> None:
    backend = ScriptedBackend([*say("x"), asyncio.Event()])
    async with house(tmp_path, backend) as gateway:
        reply = await gateway.ask(QUESTION)
        await reply.deltas.aclose()

        assert backend.active == 0


async def test_an_error_reaches_every_rider_and_is_not_kept(tmp_path: Path) -> None:
    backend = ScriptedBackend([0.02, Delta(fields={"content": "half"}), BackendGarbage("cut off")])
    async with house(tmp_path, backend) as gateway:
        results = await asyncio.gather(*(gateway.chat(QUESTION) for _ in range(5)), return_exceptions=True)

        assert [type(result) for result in results] == [BackendGarbage] * 5
        backend.script = say("well")
        assert (await gateway.chat(QUESTION))[0].tier == "full"


async def test_an_error_before_the_first_delta_is_raised_before_a_reply(tmp_path: Path) -> None:
    async with house(tmp_path, ScriptedBackend([BackendUnavailable("down", retryable=False)])) as gateway:
        with pytest.raises(BackendUnavailable):
            await gateway.ask(QUESTION)


@pytest.mark.parametrize("script", [[], say("", finish_reason="stop"), say("cut", finish_reason="length")])
async def test_what_the_gate_refuses_is_not_kept(tmp_path: Path, script: list[Step]) -> None:
    async with house(tmp_path, ScriptedBackend(script)) as gateway:
        for _ in range(2):
            try:
                await gateway.chat(QUESTION)
            except BackendGarbage:
                assert script == []

        assert gateway.backend.calls == 2


async def test_no_cache_answers_anew_and_refreshes_what_is_kept(tmp_path: Path) -> None:
    async with house(tmp_path, ScriptedBackend(say("old"))) as gateway:
        await gateway.chat(QUESTION)
        gateway.backend.script = say("new")
        fresh, _ = await gateway.chat(QUESTION, controls=Controls(no_cache=True))
        after, completion = await gateway.chat(QUESTION)

        assert (fresh.tier, fresh.reason) == ("full", "no_cache")
        assert (after.tier, completion.choices[0].message["content"]) == ("exact", "new")


async def test_no_store_leaves_nothing_behind(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat(QUESTION, controls=Controls(no_store=True))

        assert (await gateway.chat(QUESTION))[0].tier == "full"
        assert not gateway.backend.requests[0].publish_kv


async def test_no_tier_is_a_plain_cold_run(tmp_path: Path) -> None:
    cold = Controls(tiers=frozenset())
    async with house(tmp_path) as gateway:
        await gateway.chat(QUESTION)
        outcome, _ = await gateway.chat(QUESTION, controls=cold)

        assert (outcome.tier, outcome.reason, outcome.entry) == ("full", "tiers_off", None)
        assert not gateway.backend.requests[1].use_kv


async def test_only_if_cached_never_generates(tmp_path: Path) -> None:
    only = Controls(only_if_cached=True)
    async with house(tmp_path) as gateway:
        with pytest.raises(NotCached):
            await gateway.chat(QUESTION, controls=only)
        await gateway.chat(QUESTION)

        assert (await gateway.chat(QUESTION, controls=only))[0].tier == "exact"
        assert gateway.backend.calls == 1


@pytest.mark.parametrize("params", [{}, {"timeout": 30}], ids=["shared", "with a deadline, so alone"])
async def test_an_expired_answer_is_not_served_unless_stale_is_asked_for_and_then_it_is_refreshed(
    tmp_path: Path, params: dict[str, Any]
) -> None:
    async with house(tmp_path, ScriptedBackend(say("old"))) as gateway:
        await gateway.chat(QUESTION, controls=Controls(ttl_s=0.05), **params)
        await asyncio.sleep(0.1)
        gateway.backend.script = say("new")
        stale, completion = await gateway.chat(QUESTION, controls=Controls(stale_s=60), **params)
        assert (stale.tier, stale.reason, completion.choices[0].message["content"]) == ("exact", "stale", "old")
        await settled(gateway)

        _, after = await gateway.chat(QUESTION, **params)
        assert (after.choices[0].message["content"], gateway.backend.calls) == ("new", 2)


async def test_a_valid_answer_is_served_while_somebody_else_has_it_made_anew(tmp_path: Path) -> None:
    async with house(tmp_path, ScriptedBackend(say("old"))) as gateway:
        await gateway.chat(QUESTION)
        gateway.backend.script = [*say("new")[:2], asyncio.Event()]
        await asyncio.sleep(0.02)
        anew = await gateway.ask(QUESTION, controls=Controls(max_age_s=0))
        outcome, completion = await gateway.chat(QUESTION, controls=Controls(only_if_cached=True))
        await anew.deltas.aclose()

        assert (outcome.tier, completion.choices[0].message["content"]) == ("exact", "old")


async def test_a_refresh_that_fails_leaves_the_stale_answer(tmp_path: Path) -> None:
    stale = Controls(stale_s=60)
    async with house(tmp_path, ScriptedBackend(say("old"))) as gateway:
        await gateway.chat(QUESTION, controls=Controls(ttl_s=0.05))
        await asyncio.sleep(0.1)
        gateway.backend.script = [BackendUnavailable("down", retryable=False)]
        answers = [await gateway.chat(QUESTION, controls=stale)]
        await settled(gateway)
        answers.append(await gateway.chat(QUESTION, controls=stale))

        assert [said.choices[0].message["content"] for _, said in answers] == ["old", "old"]


async def test_max_age_refuses_an_older_answer(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat(QUESTION)
        await asyncio.sleep(0.02)

        assert (await gateway.chat(QUESTION, controls=Controls(max_age_s=0)))[0].tier == "full"
        assert (await gateway.chat(QUESTION, controls=Controls(max_age_s=60)))[0].tier == "exact"


async def test_a_forged_entry_under_the_same_key_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        await gateway.chat(QUESTION)
        await settled(gateway)
        gateway.answers.put_now(dataclasses.replace(await kept(gateway), canonical=b"{}"))
        outcome, _ = await gateway.chat(QUESTION, controls=Controls(tiers=frozenset({"exact"})))

        assert outcome.tier == "full"
        assert gateway.count("twicetold_lookups_total", tier="exact", outcome="miss", reason="collision") == 1


async def kept(gateway: House) -> Entry:
    """The entry that answers `QUESTION`."""
    outcome, _ = await gateway.chat(QUESTION)
    assert outcome.entry is not None
    entry = await gateway.answers.by_id(Scope("t", "scripted", "scripted-1").digest(SECRET), outcome.entry)
    assert entry is not None
    return entry


async def test_a_broken_store_is_a_miss_and_is_counted(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:

        class Broken:
            def mark(self) -> bytes:
                return b""

            def has_lost_elsewhere(self) -> bool:
                return False

            def __getattr__(self, name: str) -> object:
                async def fail(*_: object) -> None:
                    raise CacheError("disk on fire")

                return fail

        store, gateway.answers._store = gateway.answers._store, Broken()  # type: ignore[assignment]
        first, _ = await gateway.chat(QUESTION)
        again, _ = await gateway.chat(QUESTION)
        await settled(gateway)
        gateway.answers._store = store

        assert (first.tier, again.tier) == ("full", "exact")  # memory still works
        assert gateway.count("twicetold_cache_failures_total", step="exact_read") == 1
        assert gateway.count("twicetold_cache_failures_total", step="exact_write") == 1


async def test_cached_prompt_tokens_make_it_the_kv_tier(tmp_path: Path) -> None:
    warm = [
        Delta(fields={"role": "assistant"}, usage=Usage(10, 0, cached_tokens=8)),
        *say("hi")[1:3],
        Delta(usage=Usage(10, 1, 8)),
    ]
    async with house(tmp_path, ScriptedBackend(warm)) as gateway:
        outcome, _ = await gateway.chat(QUESTION)

        assert (outcome.tier, outcome.reason, outcome.saved_tokens) == ("kv", "prefix", 8)


async def test_each_tenant_roots_its_own_kv_chain(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        for tenant, salt in (("a", ""), ("b", ""), ("a", "s"), ("a", "")):
            await gateway.chat(QUESTION, tenant=tenant, salt=salt, controls=Controls(no_cache=True))
        a, b, salted, again = (request.kv_salt for request in gateway.backend.requests)

        assert len({a, b, salted}) == 3
        assert a == again


async def test_time_to_the_store_is_not_on_the_callers_road(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        reply = await gateway.ask(QUESTION)
        await read(reply)

        assert (await gateway.chat(QUESTION))[0].tier == "exact"  # from memory, whatever the store still has to do
        assert time.time() - 60 < (await kept(gateway)).created_s
