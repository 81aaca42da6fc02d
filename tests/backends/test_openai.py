"""An upstream that behaves, or misbehaves, as a real server over a real socket does."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson
import pytest

from backends.chat import ChatRequest, Completion, Delta, collect
from backends.errors import (
    BackendError,
    BackendGarbage,
    BackendTimeout,
    BackendUnavailable,
    RequestRejected,
    UpstreamAuth,
)
from backends.http import Timeouts
from backends.upstream import UpstreamBackend
from tests.upstream import RunningUpstream, running_upstream

KEY = "sk-very-secret"
MESSAGES = ({"role": "user", "content": "How long is a block?"},)
FIRST, IDLE, TOTAL = Timeouts(first_token_s=0.2), Timeouts(idle_s=0.3), Timeouts(total_s=0.3)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def upstream(server: RunningUpstream) -> RunningUpstream:
    server.control(reset=True)
    return server


@pytest.fixture
async def backend(upstream: RunningUpstream) -> AsyncIterator[UpstreamBackend]:
    backend = UpstreamBackend("upstream", upstream.base_url, api_key=KEY)
    yield backend
    await backend.close()


def ask_for(model: str, *, stream: bool = True, **params: Any) -> ChatRequest:
    return ChatRequest(model, MESSAGES, params, stream)


async def deltas_of(backend: UpstreamBackend, request: ChatRequest) -> list[Delta]:
    return [delta async for delta in backend.stream(request)]


async def answer(backend: UpstreamBackend, request: ChatRequest) -> Completion:
    return collect(await deltas_of(backend, request))


async def said(backend: UpstreamBackend, mode: str) -> Completion:
    """The answer in this mode, but for the model's name, which is the mode."""
    completion = await answer(backend, ask_for(mode))
    assert completion.extra["model"] == mode
    return replace(completion, extra={**completion.extra, "model": ""})


async def broken_off(backend: UpstreamBackend, request: ChatRequest) -> tuple[list[Delta], BackendError]:
    """What was said before the failure, and the failure."""
    seen: list[Delta] = []
    try:
        async for delta in backend.stream(request):
            seen.append(delta)  # noqa: PERF401 - what came before the error counts
    except BackendError as error:
        return seen, error
    pytest.fail("the answer was not broken off")


async def failure(backend: UpstreamBackend, request: ChatRequest) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await deltas_of(backend, request)
    return caught.value


# --- what is sent ---


async def test_the_body_arrives_as_the_caller_wrote_it(backend: UpstreamBackend, upstream: RunningUpstream) -> None:
    params: dict[str, Any] = {
        "temperature": 0,
        "top_k": 7,
        "vendor": {"deep": [1, None]},
        "stream_options": {"include_obfuscation": False},
    }
    await answer(backend, ask_for("any-model", **params))

    assert upstream.app.received[-1] == {
        "model": "any-model",
        "messages": [*MESSAGES],
        "stream": True,
        **params,
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }


async def test_without_streaming_no_usage_is_asked_for(backend: UpstreamBackend, upstream: RunningUpstream) -> None:
    await answer(backend, ask_for("any-model", stream=False, seed=3))

    assert upstream.app.received[-1] == {"model": "any-model", "messages": [*MESSAGES], "stream": False, "seed": 3}


async def test_the_key_and_own_headers_are_sent(upstream: RunningUpstream) -> None:
    backend = UpstreamBackend("upstream", upstream.base_url, api_key=KEY, headers={"x-team": "cache"})
    await answer(backend, ask_for("normal"))
    await backend.close()

    assert upstream.app.headers["authorization"] == f"Bearer {KEY}"
    assert upstream.app.headers["x-team"] == "cache"


async def test_what_cannot_be_written_as_json_is_the_callers_fault(backend: UpstreamBackend) -> None:
    assert isinstance(await failure(backend, ask_for("normal", seed=2**80)), RequestRejected)


# --- what comes back ---


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_call_comes_back_whole(backend: UpstreamBackend, stream: bool) -> None:
    choice = (await answer(backend, ask_for("with:tools", stream=stream))).choices[0]

    assert choice.finish_reason == "tool_calls"
    assert [call["id"] for call in choice.message["tool_calls"]] == ["call_0", "call_1"]
    assert all(orjson.loads(call["function"]["arguments"])["days"] == 3 for call in choice.message["tool_calls"])


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("normal", {}),
        ("normal", {"n": 3}),
        ("normal", {"logprobs": True, "n": 2}),
        ("with:tools", {}),
        ("with:reasoning", {}),
        ("with:refusal", {}),
        ("with:length", {}),
        ("fast", {}),
    ],
)
async def test_streamed_and_whole_are_the_same_answer(
    backend: UpstreamBackend, model: str, params: dict[str, Any]
) -> None:
    streamed = await answer(backend, ask_for(model, **params))
    whole = await answer(backend, ask_for(model, stream=False, **params))

    assert streamed == whole
    assert len(streamed.choices) == params.get("n", 1)


async def test_envelope_fields_of_the_provider_are_kept(backend: UpstreamBackend) -> None:
    completion = await answer(backend, ask_for("normal"))

    assert completion.extra == {"model": "normal", "service_tier": "default", "system_fingerprint": "fp_test"}
    assert completion.usage.extra["completion_tokens_details"] == {"reasoning_tokens": 0}


async def test_comments_line_ends_and_split_characters_do_not_matter(backend: UpstreamBackend) -> None:
    assert await said(backend, "pings") == await said(backend, "normal")


async def test_an_upstream_that_tells_no_usage_is_not_given_one(backend: UpstreamBackend) -> None:
    assert all(delta.usage is None for delta in await deltas_of(backend, ask_for("with:no-usage")))


async def test_a_stream_asked_for_and_not_given_is_read_anyway(backend: UpstreamBackend) -> None:
    assert await said(backend, "no-stream") == await said(backend, "normal")


async def test_a_connection_is_used_again_after_an_answer(backend: UpstreamBackend, upstream: RunningUpstream) -> None:
    for model in ("normal", "fast", "error:400", "pings", "normal"):
        if model.startswith("error"):
            await failure(backend, ask_for(model))
        else:
            await answer(backend, ask_for(model))

    assert len(set(upstream.app.clients)) == 1


async def test_a_server_that_lingers_after_done_does_not_hold_the_answer(backend: UpstreamBackend) -> None:
    assert await said(backend, "hang:done") == await said(backend, "normal")


# --- what goes wrong ---


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "kind", "status", "code", "is_retryable"),
    [
        ("error:400", RequestRejected, 400, "told_so", False),
        ("error:401", UpstreamAuth, 502, "upstream_auth", False),
        ("error:403", UpstreamAuth, 502, "upstream_auth", False),
        ("error:404", RequestRejected, 404, "model_not_found", False),
        ("error:408", BackendTimeout, 504, "backend_timeout", True),
        ("error:422", RequestRejected, 422, "told_so", False),
        ("error:429", RequestRejected, 429, "told_so", True),
        ("error:500", BackendError, 502, "backend_error", True),
        ("error:503", BackendError, 502, "backend_error", True),
        ("html", BackendGarbage, 502, "backend_bad_response", False),
        ("html:404", BackendGarbage, 502, "backend_bad_response", False),
        ("html:302", BackendGarbage, 502, "backend_bad_response", False),
        ("html:413", RequestRejected, 413, "invalid_request", False),
        ("raw:{", BackendGarbage, 502, "backend_bad_response", False),
        ("raw:{}", BackendGarbage, 502, "backend_bad_response", False),
        ("raw:[1]", BackendGarbage, 502, "backend_bad_response", False),
        ('raw:{"choices":null}', BackendGarbage, 502, "backend_bad_response", False),
        ('raw:{"choices":[]}', BackendGarbage, 502, "backend_bad_response", False),
        ('raw:{"choices":[7]}', BackendGarbage, 502, "backend_bad_response", False),
        ('raw:{"error":"out of memory"}', BackendError, 502, "backend_error", True),
        ('raw:{"error":{"message":"too long","code":400}}', RequestRejected, 400, "invalid_request", False),
        ("cut", BackendGarbage, 502, "backend_bad_response", False),
    ],
)
async def test_a_failure_is_named(
    backend: UpstreamBackend, model: str, kind: type, status: int, code: str, is_retryable: bool, stream: bool
) -> None:
    error = await failure(backend, ask_for(model, stream=stream))

    assert type(error) is kind
    assert (error.status, error.code, error.retryable) == (status, code, is_retryable)
    assert KEY not in repr(error)


@pytest.mark.parametrize(
    ("model", "status"),
    [("truncated", 502), ("truncated:done", 502), ("error-mid", 502), ("error-mid:400", 400), ("error-mid:401", 502)],
)
async def test_a_stream_that_fails_in_the_middle_gives_its_deltas_first(
    backend: UpstreamBackend, model: str, status: int
) -> None:
    seen, error = await broken_off(backend, ask_for(model))

    assert len(seen) == 3
    assert error.status == status


async def test_a_missing_choice_without_done_is_an_answer_cut_off(backend: UpstreamBackend) -> None:
    assert isinstance(await failure(backend, ask_for("with:one-choice", n=2)), BackendGarbage)


async def test_a_refusal_keeps_the_upstreams_words(backend: UpstreamBackend) -> None:
    error = await failure(backend, ask_for("error:429"))

    assert isinstance(error, RequestRejected)
    assert error.error == {"message": "status 429 as told", "type": "test_error", "param": None, "code": "told_so"}
    assert error.retry_after_s == 7


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_without_end_is_refused(backend: UpstreamBackend, stream: bool) -> None:
    assert isinstance(await failure(backend, ask_for("huge:100", stream=stream)), BackendGarbage)


@pytest.mark.parametrize(
    ("model", "stream", "limits", "num_deltas"),
    [
        ("hang", True, FIRST, 0),
        ("hang", False, TOTAL, 0),
        ("hang:headers", True, FIRST, 0),
        ("hang:headers", False, TOTAL, 0),
        ("hang:mid", True, IDLE, 3),
        ("pings-only", True, FIRST, 0),
    ],
)
async def test_a_silent_upstream_is_given_up_and_let_go(
    upstream: RunningUpstream, model: str, stream: bool, limits: Timeouts, num_deltas: int
) -> None:
    backend = UpstreamBackend("upstream", upstream.base_url, timeouts=limits)
    seen, error = await broken_off(backend, ask_for(model, stream=stream))

    await upstream.until("active", 0)
    await backend.close()
    assert isinstance(error, BackendTimeout)
    assert len(seen) == num_deltas


async def test_an_answer_that_goes_on_and_on_is_given_up(upstream: RunningUpstream) -> None:
    backend = UpstreamBackend("upstream", upstream.base_url, timeouts=TOTAL)
    seen, error = await broken_off(backend, ask_for("slow:0.1"))
    await backend.close()

    assert isinstance(error, BackendTimeout)
    assert len(seen) < 5


async def test_nobody_listening_is_unavailable() -> None:
    backend = UpstreamBackend("upstream", "http://127.0.0.1:9")
    error = await failure(backend, ask_for("normal"))

    assert isinstance(error, BackendUnavailable)
    assert error.retryable
    assert not (await backend.health()).is_ready
    await backend.close()


# --- letting go ---


@pytest.mark.parametrize("model", ["hang:mid", "slow:0.05", "pings-only"])
async def test_the_upstream_notices_when_the_reader_leaves(
    backend: UpstreamBackend, upstream: RunningUpstream, model: str
) -> None:
    async with aclosing(backend.stream(ask_for(model))) as deltas:
        reading = asyncio.ensure_future(anext(deltas))
        await asyncio.wait({reading}, timeout=0.1)
        reading.cancel()
        await asyncio.wait({reading})

    await upstream.until("disconnects", 1)
    assert upstream.counters()["active"] == 0
    assert backend.stats.active == 0


async def test_leaving_a_hundred_streams_leaves_no_connection(upstream: RunningUpstream) -> None:
    backend = UpstreamBackend("upstream", upstream.base_url)

    async def taste() -> None:
        async with aclosing(backend.stream(ask_for("hang:mid"))) as deltas:
            await anext(deltas)

    await asyncio.gather(*(taste() for _ in range(100)))
    await upstream.until("disconnects", 100)
    assert (await answer(backend, ask_for("normal"))).choices
    await backend.close()


# --- models and health ---


async def test_models_are_asked_for_once_a_minute(backend: UpstreamBackend, upstream: RunningUpstream) -> None:
    first, *_ = await asyncio.gather(*(backend.models() for _ in range(5)))

    assert [(model.name, model.owned_by, model.created) for model in first] == [("test-model", "tests", 1)]
    assert upstream.counters()["models"] == 1


async def test_an_upstream_without_a_list_takes_any_name(backend: UpstreamBackend, upstream: RunningUpstream) -> None:
    upstream.control(mode="error:404")

    assert await backend.models() == ()
    assert (await backend.health()).is_ready
    assert backend.model("whatever").name == "whatever"


async def test_configured_names_are_not_asked_for(upstream: RunningUpstream) -> None:
    backend = UpstreamBackend("upstream", upstream.base_url, model_names=["a", "b"])
    names = [model.name for model in await backend.models()]
    await backend.close()

    assert names == ["a", "b"]
    assert upstream.counters()["models"] == 0


async def test_a_revision_is_the_server_and_the_name() -> None:
    one, same, other = (UpstreamBackend("x", url) for url in ("http://a", "http://a/v1/", "http://b"))

    assert one.model("m").revision == same.model("m").revision
    assert len({one.model("m").revision, one.model("n").revision, other.model("m").revision}) == 3
    for backend in (one, same, other):
        await backend.close()


async def test_a_refused_key_makes_the_backend_unready(backend: UpstreamBackend, upstream: RunningUpstream) -> None:
    await failure(backend, ask_for("error:401"))

    health = await backend.health()
    assert not health.is_ready
    assert KEY not in health.detail
    await answer(backend, ask_for("normal"))
    assert (await backend.health()).is_ready
