"""Chats through the engine process: deltas, usage, refusals, cancellation, death and recovery."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from backends.chat import COUNT, PROMPT, ChatRequest, Completion, Delta, Usage, collect
from backends.errors import BackendBusy, BackendError, BackendUnavailable, RequestRejected
from backends.local.backend import LocalBackend
from backends.local.decoder.config import CheckpointError
from backends.local.settings import LocalSettings
from backends.local.speech.tokenizer import ChatTokenizer
from tests.backends.local import tiny
from tests.backends.local.engines import opened, reference

pytestmark = pytest.mark.asyncio(loop_scope="module")
Checkpoints = Callable[[str], Path]
LONG = "A cache keeps what was computed so that it need not be computed again. " * 6
ENDLESS: dict[str, Any] = {"max_tokens": 800, "ignore_eos": True}


def settings(**overrides: Any) -> LocalSettings:
    fields: dict[str, Any] = {"secret": b"secret", "kv_budget_bytes": 32 << 20, "slab_budget_bytes": 64 << 20}
    return LocalSettings(**{**fields, "threads": 1, **overrides})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(checkpoints: Checkpoints) -> AsyncIterator[LocalBackend]:
    """One engine for all who leave it alive."""
    async with opened(checkpoints("llama"), max_running=4, max_waiting=2) as local:
        yield local


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doomed(checkpoints: Checkpoints) -> AsyncIterator[LocalBackend]:
    """An engine to be killed."""
    async with opened(checkpoints("llama"), max_running=4) as local:
        yield local


def ask(text: str = LONG, /, *, salt: str = "", **params: Any) -> ChatRequest:
    message = {"role": "user", "content": text}
    return ChatRequest("tiny", (message,), {"max_tokens": 16, **params}, kv_salt=salt)


async def deltas(backend: LocalBackend, request: ChatRequest) -> list[Delta]:
    return [delta async for delta in backend.stream(request)]


async def complete(backend: LocalBackend, request: ChatRequest) -> Completion:
    return collect(await deltas(backend, request))


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something the engine process does; the test's own limit ends a wait in vain."""
    while not is_so():  # noqa: ASYNC110 - it happens in another process
        await asyncio.sleep(0.01)


def texts(completion: Completion) -> list[str]:
    return [choice.message["content"] for choice in completion.choices]


async def test_the_answer_is_what_transformers_would_say(backend: LocalBackend, checkpoints: Checkpoints) -> None:
    tokenizer = ChatTokenizer(checkpoints("llama"))
    prompt = tokenizer.encode_chat(ask().messages)

    cold = await complete(backend, ask(salt="new"))
    warm = await complete(backend, ask(salt="new"))

    assert texts(cold) == texts(warm) == [tokenizer.decode(reference(checkpoints("llama"), prompt, 16))]
    assert cold.usage.prompt_tokens == warm.usage.prompt_tokens == len(prompt)
    assert await deltas(backend, replace(ask(), purpose=COUNT)) == [Delta(usage=Usage(len(prompt)))]
    assert (cold.usage.cached_tokens, warm.usage.cached_tokens) == (0, len(prompt) - 1)


async def test_anthropics_clients_hear_which_stop_string_ended_an_answer(backend: LocalBackend) -> None:
    stop = texts(await complete(backend, ask()))[0][2:5]
    request = ask(stop=["never said", stop])

    told = await complete(backend, replace(request, dialect="anthropic"))

    assert told.extra == {"stop_reason": "stop_sequence", "stop_sequence": stop}
    assert (await complete(backend, request)).extra == {}


async def test_the_first_delta_says_what_was_cached_and_the_last_the_totals(backend: LocalBackend) -> None:
    await complete(backend, ask())

    first, *middle, last = await deltas(backend, ask(ignore_eos=True))

    assert first.fields == {"role": "assistant", "content": ""}
    assert first.usage is not None
    assert last.usage is not None
    assert first.usage.cached_tokens == last.usage.cached_tokens > 0
    assert (first.usage.completion_tokens, last.usage.completion_tokens) == (0, 16)
    assert [delta.finish_reason for delta in middle if delta.finish_reason] == ["length"]
    assert all(delta.usage is None for delta in middle)


async def test_a_stop_string_ends_the_answer_and_is_not_shown(backend: LocalBackend) -> None:
    whole = texts(await complete(backend, ask(max_tokens=200, ignore_eos=True)))[0]
    stop = whole[20:24]

    stopped = await complete(backend, ask(max_tokens=200, ignore_eos=True, stop=[stop, "no such text"]))

    assert texts(stopped) == [whole[: whole.index(stop)]]
    assert stopped.choices[0].finish_reason == "stop"
    assert 0 < stopped.usage.completion_tokens < 200
    await until(lambda: backend.stats()["running"] == 0)


async def test_several_choices_come_back_in_order_with_their_own_ends(backend: LocalBackend) -> None:
    request = ask(n=3, seed=5, temperature=1.3, ignore_eos=True)

    completion, again = await complete(backend, request), await complete(backend, request)

    assert len(set(texts(completion))) == 3
    assert texts(completion) == texts(again)
    assert [choice.finish_reason for choice in completion.choices] == ["length"] * 3
    assert completion.usage.completion_tokens == 48


async def test_log_probabilities_have_openais_shape(backend: LocalBackend) -> None:
    completion = await complete(backend, ask(logprobs=True, top_logprobs=2, ignore_eos=True))

    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    content = logprobs["content"]
    assert len(content) == 16
    assert (
        b"".join(bytes(entry["bytes"]) for entry in content)
        .decode(errors="replace")
        .startswith(texts(completion)[0][:5])
    )
    for entry in content:
        assert sorted(entry) == ["bytes", "logprob", "token", "top_logprobs"]
        assert [sorted(top) for top in entry["top_logprobs"]] == [["bytes", "logprob", "token"]] * 2
        assert entry["top_logprobs"][0]["logprob"] == entry["logprob"] <= 0  # greedy takes the likeliest


async def test_tenants_do_not_see_each_others_prefixes(backend: LocalBackend) -> None:
    cached = [(await complete(backend, ask(salt=salt))).usage.cached_tokens for salt in ("one", "other", "one")]

    assert cached[:2] == [0, 0]
    assert cached[2] > 0


async def test_a_prompt_beyond_the_context_is_refused(backend: LocalBackend) -> None:
    with pytest.raises(RequestRejected) as refused:
        await deltas(backend, ask(LONG * 50))

    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")


async def test_a_limit_beyond_the_context_is_the_context(backend: LocalBackend) -> None:
    completion = await complete(backend, ask(max_tokens=10**6, ignore_eos=True))

    assert completion.usage.prompt_tokens + completion.usage.completion_tokens == 1024
    assert completion.choices[0].finish_reason == "length"


async def test_the_operator_may_limit_answers_that_name_no_limit(checkpoints: Checkpoints) -> None:
    request = ChatRequest("tiny", ask().messages, {"ignore_eos": True})

    async with opened(checkpoints("llama"), max_new_tokens=5) as local:
        completion = await complete(local, request)

    assert (completion.usage.completion_tokens, completion.choices[0].finish_reason) == (5, "length")


async def test_closing_the_stream_frees_the_slot(backend: LocalBackend) -> None:
    before = backend.stats()

    async with aclosing(backend.stream(ask(**ENDLESS))) as stream:
        async for delta in stream:
            if delta.text:
                break

    await until(lambda: backend.stats()["aborts"] == before["aborts"] + 1)
    stats = backend.stats()
    assert (stats["running"], stats["slab_tokens"], stats["kv"]["blocks_leased"]) == (0, 0, 0)
    assert stats["decode_tokens"] < before["decode_tokens"] + 800


async def test_a_cancelled_task_frees_the_slot(backend: LocalBackend) -> None:
    task = asyncio.create_task(deltas(backend, ask(**ENDLESS)))
    await until(lambda: backend.stats()["running"] == 1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: backend.stats()["running"] == 0)


async def test_a_full_queue_is_said_at_once(backend: LocalBackend) -> None:
    running = [asyncio.create_task(deltas(backend, ask(str(i), **ENDLESS))) for i in range(6)]
    await until(lambda: backend.stats()["running"] + backend.stats()["waiting"] == 6)

    with pytest.raises(BackendBusy):
        await deltas(backend, ask())

    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_killed_engine_breaks_what_runs_and_comes_back(doomed: LocalBackend) -> None:
    before, stats = await complete(doomed, ask()), doomed.stats()
    task = asyncio.create_task(deltas(doomed, ask("go on", **ENDLESS)))
    await until(lambda: doomed.stats()["decode_tokens"] > stats["decode_tokens"] + 12)

    _kill(doomed)

    with pytest.raises(BackendError, match="middle of the answer") as broken:
        await task
    assert not broken.value.retryable
    after = await complete(doomed, ask())
    assert texts(after) == texts(before)
    assert after.usage.cached_tokens == 0
    assert doomed.stats()["restarts"] == stats["restarts"] + 1


async def test_a_request_without_a_token_is_put_to_the_next_process(doomed: LocalBackend) -> None:
    retries = doomed.stats()["retries"]
    running = [asyncio.create_task(deltas(doomed, ask(str(i), **ENDLESS))) for i in range(4)]
    await until(lambda: doomed.stats()["running"] == 4)
    waiting = asyncio.create_task(deltas(doomed, ask()))
    await until(lambda: doomed.stats()["waiting"] == 1)

    _kill(doomed)

    ends = await asyncio.gather(*running, return_exceptions=True)
    assert any(isinstance(end, BackendError) for end in ends)
    assert len(await waiting) > 1
    assert doomed.stats()["retries"] > retries


async def test_a_closed_backend_leaves_no_process(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama")) as local:
        await complete(local, ask())
        pid = local.pid
        assert pid is not None

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_weights_that_cannot_be_loaded_are_told_to_who_asks(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for file in checkpoints("llama").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights.replace(b"model.norm.weight", b"model.nurm.weight"))
    async with opened(tmp_path) as local:
        with pytest.raises(BackendUnavailable, match=r"no 'model.norm.weight'"):
            await deltas(local, ask())
        health = await local.health()

    assert not health.is_ready
    assert "model.norm.weight" in health.detail


async def test_a_checkpoint_that_is_none_stops_the_start(tmp_path: Path) -> None:
    local = LocalBackend(tmp_path, served_name="tiny", settings=settings())

    with pytest.raises(CheckpointError, match=r"no config\.json"):
        await local.open()


async def test_the_model_names_its_revision_context_and_defaults(checkpoints: Checkpoints) -> None:
    local = LocalBackend(checkpoints("qwen3"), served_name="mine", settings=settings(context_tokens=256))
    assert await local.models() == ()
    await local.open()
    (model,) = await local.models()
    await local.close()

    assert (model.name, model.context_tokens, model.defaults) == ("mine", 256, {"temperature": 0.0})
    assert model.revision.endswith("-float32")


async def test_tokens_that_the_model_was_never_given_are_refused_on_every_road(tmp_path: Path) -> None:
    """A tokenizer with 405 tokens, and a model with 320."""
    text = "A cache keeps what was computed"
    async with opened(tiny.build("llama", tmp_path, vocab_size=320), warm_prompts=(text,)) as local:
        kept = await local.warm(({"role": "user", "content": "¶"},), (), "", "")
        process = local.pid
        with pytest.raises(RequestRejected, match=r"token \d+ is none of the model's 320"):
            await local.warm(({"role": "user", "content": text},), (), "", "")
        with pytest.raises(RequestRejected, match=r"token \d+ is none of the model's 320"):
            await deltas(local, ask(text))
        drafted = await complete(local, replace(ask("¶", ignore_eos=True), near_answer=text))
        with pytest.raises(BackendError, match="no token of the model can follow"):
            await complete(local, ask("¶", guided_choice=[text], max_tokens=100))

        assert (local.pid, local.stats()["restarts"]) == (process, 0)
    assert kept["tokens"] > 0
    assert drafted.usage.completion_tokens == 16


def _kill(backend: LocalBackend) -> None:
    assert backend.pid is not None
    os.kill(backend.pid, signal.SIGKILL)


async def test_a_raw_prompt_is_continued_as_it_stands(backend: LocalBackend, checkpoints: Checkpoints) -> None:
    tokens = ChatTokenizer(checkpoints("llama")).encode_chat(ask().messages)
    told, as_text = ([{"type": "tokens", "tokens": tokens}], "A cache keeps")
    chat = await complete(backend, ask(salt="raw"))
    raw = await complete(backend, replace(ask(salt="raw"), messages=({"role": PROMPT, "content": told},)))
    brief = await complete(backend, ChatRequest("tiny", ({"role": PROMPT, "content": as_text},), {"ignore_eos": True}))

    assert texts(raw) == texts(chat)
    assert raw.usage.cached_tokens > 0
    assert brief.usage.completion_tokens == 16  # OpenAI's own limit where the caller says none


@pytest.mark.parametrize("param", ["suffix", "best_of", "echo"])
async def test_what_no_raw_prompt_can_have_here_is_refused_by_name(backend: LocalBackend, param: str) -> None:
    with pytest.raises(RequestRejected) as refused:
        await complete(backend, ChatRequest("tiny", ({"role": PROMPT, "content": "A"},), {param: 2}))
    assert refused.value.param == param
