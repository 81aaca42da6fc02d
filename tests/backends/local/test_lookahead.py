"""The backend looks ahead: the next turn, the operator's prompts; and requests carry their priority and their time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio

from backends.chat import ChatRequest, Completion, Delta, collect
from backends.errors import BackendTimeout, RequestRejected
from backends.local.backend import LocalBackend, _rests
from backends.local.process import EngineProcess
from backends.local.speech.ahead import after_answer
from backends.local.wire import Stats
from tests.backends.local.engines import opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
Checkpoints = Callable[[str], Path]
LONG = "A cache keeps what was computed so that it need not be computed again. " * 6
SYSTEM = {"role": "system", "content": LONG}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(checkpoints: Checkpoints) -> AsyncIterator[LocalBackend]:
    async with opened(checkpoints("llama"), warm_prompts=(LONG,), warm_salt="theirs", prefill_chunk=128) as local:
        await done(local, 1)
        yield local


def chat(*texts: str, **params: Any) -> ChatRequest:
    """A conversation in which user and assistant take turns."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return ChatRequest("tiny", tuple(messages), {"max_tokens": 24, "ignore_eos": True, "temperature": 0, **params})


async def complete(local: LocalBackend, request: ChatRequest) -> Completion:
    return collect([delta async for delta in local.stream(request)])


async def collected(deltas: AsyncIterator[Delta]) -> Completion:
    return collect([delta async for delta in deltas])


async def done(local: LocalBackend, idle_tasks: int) -> None:
    async with asyncio.timeout(90):
        while local.stats().get("idle_tasks", 0) < idle_tasks:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("exact", [False, True], ids=["fast", "exact"])
async def test_the_next_turn_finds_the_whole_history_computed(
    exact: bool, shared: LocalBackend, checkpoints: Checkpoints
) -> None:
    one = opened(checkpoints("llama"), exact=True, prefill_chunk=32) if exact else nullcontext(shared)
    async with one as local:
        idle_tasks = local.stats().get("idle_tasks", 0)
        answer = await complete(local, chat(LONG))
        said = answer.choices[0].message["content"]
        await done(local, idle_tasks + 1)
        before = local.stats()["prefill_tokens"]

        again = await complete(local, chat(LONG, said, "x"))

        history = answer.usage.prompt_tokens + 24
        assert again.usage.cached_tokens > answer.usage.prompt_tokens
        assert again.usage.cached_tokens >= (history - 32 if exact else history)
        assert local.stats()["prefill_tokens"] - before < 64


@pytest.mark.parametrize("fields", [{"use_kv": False}, {"publish_kv": False}], ids=["a cold run", "nothing left"])
async def test_who_leaves_nothing_behind_is_not_looked_ahead_for(shared: LocalBackend, fields: dict[str, Any]) -> None:
    request, before = chat(LONG), shared.stats()["idle_tasks"]
    await complete(shared, ChatRequest(request.model, request.messages, request.params, **fields))
    await asyncio.sleep(0.3)

    assert shared.stats()["idle_tasks"] == before


async def test_nothing_is_read_for_a_next_turn_before_the_engine_rests(
    shared: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, may_rest = 0, asyncio.Event()

    def counted(*chat: Any) -> list[int]:
        nonlocal read
        read += 1
        return after_answer(*chat)

    async def rests(engine: EngineProcess) -> bool:
        await may_rest.wait()
        return await _rests(engine)

    monkeypatch.setattr("backends.local.backend.after_answer", counted)
    monkeypatch.setattr("backends.local.backend._rests", rests)
    idle_tasks = shared.stats()["idle_tasks"]
    await complete(shared, chat("What is read, and when?"))
    await asyncio.sleep(0.2)
    read_before = read
    may_rest.set()
    await done(shared, idle_tasks + 1)

    assert (read_before, read) == (0, 1)


async def test_an_engine_that_does_not_come_to_rest_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = cast("EngineProcess", SimpleNamespace(stats=Stats(running=1)))
    monkeypatch.setattr("backends.local.backend.REST_WITHIN_S", 0.1)
    is_at_rest = await _rests(engine)
    soon = asyncio.create_task(_rests(engine))
    await asyncio.sleep(0)
    engine.stats = Stats()

    assert not is_at_rest
    assert await soon


async def test_whose_words_were_forgotten_meanwhile_is_not_looked_ahead_for(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama")) as local:
        for forget in (local.clear_kv, lambda: local.erase_kv("anybody")):
            request = local.stream(chat("What is forgotten?", max_tokens=60))
            await anext(request)
            if (erasure := forget()) is not None:
                await erasure
            await collected(request)
            await asyncio.sleep(0.5)

        assert local.stats()["idle_tasks"] == 0


async def test_looking_ahead_can_be_switched_off(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama"), idle_work=False) as local:
        await complete(local, chat(LONG))
        await asyncio.sleep(0.3)

        assert local.stats()["idle_tasks"] == 0


async def test_an_operators_prompt_is_warm_before_anybody_asks(shared: LocalBackend) -> None:
    question = {"role": "user", "content": "So?"}

    first = await complete(shared, ChatRequest("tiny", (SYSTEM, question), {"max_tokens": 2}, kv_salt="theirs"))
    other = await complete(shared, ChatRequest("tiny", (SYSTEM, question), {"max_tokens": 2}, kv_salt="another's"))

    assert first.usage.cached_tokens >= first.usage.prompt_tokens - 16
    assert other.usage.cached_tokens == 0


async def test_whoever_warms_a_prompt_learns_how_much_is_kept(shared: LocalBackend) -> None:
    kept = await shared.warm((SYSTEM,), (), "salt", "owner", pin=False)

    assert kept["tokens"] > 100
    assert kept["pinned"] == 0


async def test_a_request_that_takes_too_long_is_told_so(shared: LocalBackend) -> None:
    with pytest.raises(BackendTimeout, match=r"the request's timeout of 0.05 s passed after \d+ tokens") as told:
        await complete(shared, chat("Go on", max_tokens=900, timeout=0.05))

    assert (told.value.status, told.value.retryable) == (504, False)
    assert (await complete(shared, chat("Go on", timeout=60, priority=-1))).choices[0].finish_reason == "length"


async def test_to_stop_at_a_stop_string_is_no_abort(shared: LocalBackend) -> None:
    whole = (await complete(shared, chat(LONG, max_tokens=60))).choices[0].message["content"]
    before = shared.stats()["aborts"]

    cut = await complete(shared, chat(LONG, max_tokens=60, stop=[whole[len(whole) // 2 :][:3]]))
    await complete(shared, chat(LONG))

    assert cut.choices[0].finish_reason == "stop"
    assert shared.stats()["aborts"] == before


async def test_a_request_whose_time_is_over_before_its_first_token_has_no_first_delta(shared: LocalBackend) -> None:
    deltas = shared.stream(chat("Go on. " * 100, timeout=0.001, max_tokens=5))

    with pytest.raises(BackendTimeout):
        await anext(deltas)


@pytest.mark.parametrize("params", [{"priority": "high"}, {"timeout": -1}])
async def test_priorities_and_timeouts_are_checked(shared: LocalBackend, params: dict[str, Any]) -> None:
    with pytest.raises(RequestRejected):
        await complete(shared, chat("So?", **params))
