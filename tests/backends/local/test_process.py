"""The engine process stops, hangs, dies and runs out of memory, and its callers are told the truth."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.chat import ChatRequest, Completion, collect
from backends.errors import BackendError, BackendNotReady, BackendUnavailable
from backends.local.backend import LocalBackend
from tests.backends.local import tiny
from tests.backends.local.engines import opened

Checkpoints = Callable[[str], Path]
ENDLESS: dict[str, Any] = {"max_tokens": 900, "ignore_eos": True}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads a long prompt for seconds."""
    return tiny.build("llama", tmp_path_factory.mktemp("long"), max_position_embeddings=1 << 17, num_hidden_layers=8)


def ask(text: str = "Who goes there?", **params: Any) -> ChatRequest:
    return ChatRequest("tiny", ({"role": "user", "content": text},), {"max_tokens": 8, **params})


async def complete(backend: LocalBackend, request: ChatRequest) -> Completion:
    return collect([delta async for delta in backend.stream(request)])


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - it happens in another process
        await asyncio.sleep(0.01)


async def until_busy_after(backend: LocalBackend, restarts: int) -> None:
    await until(lambda: backend.stats()["restarts"] == restarts and backend.stats()["running"] == 1)


def stop(backend: LocalBackend, how: signal.Signals) -> None:
    assert backend.pid is not None
    os.kill(backend.pid, how)


async def test_a_silent_engine_is_ended_and_the_next_one_answers_but_for_what_was_under_way(
    checkpoints: Checkpoints,
) -> None:
    async with opened(checkpoints("llama"), hang_s=1.0) as local:
        before = await complete(local, ask())
        stop(local, signal.SIGSTOP)
        await asyncio.sleep(0.6)
        frozen = await local.health()
        after = await complete(local, ask())
        stats = local.stats()
        task = asyncio.create_task(complete(local, ask(**ENDLESS)))
        await until(lambda: local.stats()["decode_tokens"] > stats["decode_tokens"] + 5)
        stop(local, signal.SIGSTOP)
        with pytest.raises(BackendError, match=r"no sign of life for 1 s .* in the middle of the answer") as told:
            await task

    assert (frozen.is_ready, frozen.detail) == (False, "the engine process is silent for 1 s")
    assert after.choices == before.choices
    assert told.value.retry_after_s == 5
    assert (stats["hangs"], stats["restarts"], stats["retries"]) == (1, 1, 1)
    assert not told.value.retryable


async def test_an_idle_engine_answers_pings_and_is_left_alone(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama"), hang_s=0.4) as local:
        await complete(local, ask())
        pid = local.pid
        await asyncio.sleep(1.5)  # several pings long
        stats = local.stats()
        is_same = local.pid == pid

    assert is_same
    assert (stats["hangs"], stats["restarts"]) == (0, 0)


async def test_a_start_without_progress_is_ended_too(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama"), load_s=0.05) as local:
        await until(lambda: local.stats()["hangs"] > 0)
        await until(lambda: "no sign of life" in _detail(local))
        with pytest.raises(BackendUnavailable, match="while it was loading"):
            await complete(local, ask())


async def test_a_start_tells_its_stages_to_who_asks_and_to_who_waits_in_vain(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama"), ready_wait_s=0.01) as local:
        with pytest.raises(BackendNotReady, match="loading: ") as told:
            await complete(local, ask())
        seen = set()
        while not (health := await local.health()).is_ready:
            seen.add(health.detail)
            await asyncio.sleep(0.005)

    assert told.value.status == 503
    assert told.value.retry_after_s
    assert {"loading: importing torch"} < seen


async def test_a_request_that_ends_two_processes_is_not_given_a_third_and_who_shares_them_is_answered(
    long: Path,
) -> None:
    """Retried requests go one by one: the second death takes only the one that causes it."""
    async with opened(long, max_running=1) as local:
        await complete(local, ask())
        poison = asyncio.create_task(complete(local, ask("poison " * 3000)))
        await until(lambda: local.stats()["running"] == 1)
        others = [asyncio.create_task(complete(local, ask(f"innocent {n}"))) for n in range(2)]
        await until(lambda: local.stats()["waiting"] == 2)
        stop(local, signal.SIGKILL)
        await until_busy_after(local, 1)
        stop(local, signal.SIGKILL)
        with pytest.raises(BackendUnavailable, match=r"killed \(perhaps for want of memory\) twice") as told:
            await poison
        ends = await asyncio.gather(*others, return_exceptions=True)
        healthy = await complete(local, ask())

    assert not told.value.retryable
    assert all(isinstance(end, Completion) for end in ends), ends
    assert healthy.choices


async def test_a_request_that_waits_in_the_queue_of_a_dying_engine_is_answered_by_the_next(
    checkpoints: Checkpoints,
) -> None:
    async with opened(checkpoints("llama"), max_running=1) as local:
        running = asyncio.create_task(complete(local, ask(**ENDLESS)))
        await until(lambda: local.stats()["decode_tokens"] > 5)
        waiting = asyncio.create_task(complete(local, ask("Me too")))
        await until(lambda: local.stats()["waiting"] == 1)
        stop(local, signal.SIGSEGV)
        with pytest.raises(BackendError, match="ended by signal 11"):
            await running

        assert (await waiting).choices


async def test_draining_refuses_who_comes_and_lets_finish_who_is_there(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama")) as local:
        running = asyncio.create_task(complete(local, ask(**ENDLESS)))
        await until(lambda: local.stats()["decode_tokens"] > 5)
        draining = asyncio.create_task(local.drain(30))
        await asyncio.sleep(0)
        with pytest.raises(BackendNotReady, match="unloaded"):
            await complete(local, ask())

        assert await draining
        assert (await running).usage.completion_tokens == 900


async def test_draining_ends_after_its_time(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama")) as local:
        running = asyncio.create_task(complete(local, ask(**ENDLESS)))
        await until(lambda: local.stats()["decode_tokens"] > 5)
        is_empty = await local.drain(0.01)
    with pytest.raises(BackendError):
        await running

    assert not is_empty


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is on what Linux counts as data")
async def test_what_does_not_fit_the_memory_limit_is_told_and_takes_no_more(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama"), memory_bytes=2 << 30, kv_budget_bytes=16 << 30) as local:
        with pytest.raises(BackendUnavailable, match=r"cannot load the model: .*memory"):
            await complete(local, ask())
    async with opened(checkpoints("llama"), memory_bytes=2 << 30) as local:
        assert (await complete(local, ask())).choices


def _detail(backend: LocalBackend) -> str:
    assert backend._loaded is not None
    return backend._loaded.engine.detail
