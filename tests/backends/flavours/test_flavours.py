"""What each flavour sends, and where it finds what was cached."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from backends.base import AnyModelBackend
from backends.chat import ChatRequest, Completion, collect
from backends.errors import BackendBusy, BackendError, BackendGarbage, RequestRejected, UpstreamAuth
from backends.flavours import FLAVOURS
from backends.flavours.base import Wishes
from backends.openai_wire import StreamReader
from backends.remote import RemoteSpec, remote
from tests.upstream import RunningUpstream, address, running_upstream

QUESTION = ({"role": "user", "content": "How long is a block of an engine, and who says so to whom?"},)
KEY = "sk-very-secret"
SALTED = ("vllm", "sglang", "twicetold")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def upstream(server: RunningUpstream) -> RunningUpstream:
    server.control(reset=True)
    return server


@asynccontextmanager
async def spoken(upstream: RunningUpstream, flavour: str, **more: Any) -> AsyncIterator[AnyModelBackend]:
    backend = remote(RemoteSpec("there", address(upstream, flavour), flavour, api_key=KEY, **more))
    yield backend
    await backend.close()


async def answer(backend: AnyModelBackend, model: str = "normal", *, stream: bool = True) -> Completion:
    request = ChatRequest(model, QUESTION, stream=stream, kv_salt="tenant")
    return collect([delta async for delta in backend.stream(request)])


def sent(flavour: str, request: ChatRequest | None = None, **params: Any) -> dict[str, Any]:
    asked = request or ChatRequest("m", QUESTION, params, kv_salt="tenant")
    body: dict[str, Any] = orjson.loads(FLAVOURS[flavour].write(asked, Wishes()))
    return body


# --- what is read ---


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
async def test_what_was_cached_is_counted_where_openai_counts_it(
    upstream: RunningUpstream, flavour: str, stream: bool
) -> None:
    async with spoken(upstream, flavour) as backend:
        usage = (await answer(backend, stream=stream)).usage

    told = usage.extra.get("prompt_tokens_details") or {}
    if flavour == "ollama":  # an older one: nothing told, and nothing is made up
        assert "cached_tokens" not in told
        assert usage.cached_tokens == 0
    else:
        assert told["cached_tokens"] == usage.cached_tokens == usage.prompt_tokens // 2 > 0
    assert usage.to_wire()["prompt_tokens_details"]["cached_tokens"] == usage.cached_tokens


@pytest.mark.parametrize("name", ["prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"])
def test_whoever_is_called_openai_is_understood(name: str) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, name: 4}
    wire = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": usage}

    assert FLAVOURS["openai"].read_whole(orjson.dumps(wire), "there").usage.cached_tokens == 4


async def test_the_wider_counts_of_a_provider_are_kept(upstream: RunningUpstream) -> None:
    found = {}
    for flavour in ("deepseek", "vllm", "anthropic"):
        async with spoken(upstream, flavour) as backend:
            found[flavour] = (await answer(backend)).usage

    half = found["vllm"].cached_tokens
    assert found["deepseek"].extra["prompt_cache_miss_tokens"] == found["deepseek"].prompt_tokens - half
    assert found["vllm"].to_wire()["prompt_tokens_details"]["created_cache_tokens"] == 16
    assert found["anthropic"].extra["cache_creation_input_tokens"] == 1
    assert found["anthropic"].extra["cache_creation"]["ephemeral_5m_input_tokens"] == 1


async def test_gemini_counts_what_it_thought(upstream: RunningUpstream) -> None:
    async with spoken(upstream, "gemini") as thinking, spoken(upstream, "openai") as plain:
        thought, said = (await answer(thinking)).usage, (await answer(plain)).usage

    assert thought.completion_tokens == said.completion_tokens + 7
    assert thought.extra["completion_tokens_details"] == {"reasoning_tokens": 7}
    assert thought.to_wire()["total_tokens"] == said.to_wire()["total_tokens"] + 7


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
@pytest.mark.parametrize(
    "usage", [[1], "many", {"prompt_tokens_details": 3, "prompt_tokens": "x", "input_tokens": "x"}]
)
def test_a_usage_that_is_none_is_garbage_and_not_a_crash(flavour: str, usage: Any) -> None:
    whole = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "content": [], "usage": usage}

    with pytest.raises(BackendGarbage):
        FLAVOURS[flavour].read_whole(orjson.dumps({**whole, "timings": {"cache_n": 1}}), "there")


async def test_timings_of_one_call_are_not_kept_with_the_answer(upstream: RunningUpstream) -> None:
    async with spoken(upstream, "llamacpp") as backend:
        assert "timings" not in (await answer(backend)).extra


def test_an_engine_that_only_times_its_answer_has_said_its_usage() -> None:
    reader = FLAVOURS["llamacpp"].reader("there", ChatRequest("m", ()))
    assert isinstance(reader, StreamReader)
    timings = {"cache_n": 236, "prompt_n": 1, "predicted_n": 35}
    pieces = [
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}], "timings": timings},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "timings": timings},
    ]
    counts = [d.usage for piece in pieces for d in reader.read(orjson.dumps(piece)) if d.usage]

    assert [(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) for usage in counts] == [(237, 35, 236)]


async def test_what_azures_filter_found_goes_along(upstream: RunningUpstream) -> None:
    async with spoken(upstream, "azure") as backend:
        streamed, whole = await answer(backend), await answer(backend, stream=False)

    assert streamed.extra == whole.extra
    assert whole.extra["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
    assert whole.extra["prompt_filter_results"][0]["prompt_index"] == 0


# --- what is sent ---


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_a_salt_is_a_digest_of_the_gateways_own_or_is_not_sent(flavour: str) -> None:
    body = sent(flavour, cache_salt="the client's", temperature=0.5)

    if flavour in SALTED:
        assert len(body["cache_salt"]) == 32
        assert body["cache_salt"] not in ("the client's", "tenant")
    elif flavour == "llamacpp":
        assert "cache_salt" not in body
    assert body["temperature"] == 0.5


@pytest.mark.parametrize("flavour", SALTED)
def test_tenants_have_salts_of_their_own_and_a_cold_run_one_nobody_has(flavour: str) -> None:
    def salt(tenant: str, *, use_kv: bool = True) -> str:
        return str(sent(flavour, ChatRequest("m", QUESTION, kv_salt=tenant, use_kv=use_kv))["cache_salt"])

    assert salt("a") == salt("a") != salt("b")
    assert len({salt("a"), salt("a", use_kv=False), salt("a", use_kv=False)}) == 3


def test_llamacpp_keeps_prompts_unless_told_not_to_and_chooses_its_slot() -> None:
    assert sent("llamacpp", id_slot=3) == {
        "model": "m", "messages": [*QUESTION], "stream": False, "cache_prompt": True,
    }  # fmt: skip
    assert sent("llamacpp", cache_prompt=False)["cache_prompt"] is False
    assert sent("llamacpp", ChatRequest("m", QUESTION, use_kv=False))["cache_prompt"] is False


@pytest.mark.parametrize(
    ("use_kv", "publish_kv", "wish"),
    [
        (True, True, {"tiers": ["kv"]}),
        (True, False, {"tiers": ["kv"], "no-store": True}),
        (False, False, {"tiers": [], "no-store": True}),
    ],
)
def test_another_gateway_is_asked_for_its_engine_alone(use_kv: bool, publish_kv: bool, wish: object) -> None:
    request = ChatRequest("m", QUESTION, {"cache": {"ttl": 5}}, use_kv=use_kv, publish_kv=publish_kv)

    assert sent("twicetold", request)["cache"] == wish


@pytest.mark.parametrize("flavour", ["openai", "deepseek", "gemini", "ollama", "azure"])
def test_the_rest_goes_as_it_came(flavour: str) -> None:
    assert sent(flavour, odd_knob={"deep": [1, None]}) == {
        "model": "m", "messages": [*QUESTION], "stream": False, "odd_knob": {"deep": [1, None]},
    }  # fmt: skip


def test_a_conversation_has_one_key_at_mistral_and_no_other_tenants() -> None:
    def key(text: str, *later: str, tenant: str = "a", **params: Any) -> Any:
        messages = tuple({"role": "user", "content": said} for said in ("Be brief.", text, *later))
        return sent("mistral", ChatRequest("m", messages, params, kv_salt=tenant)).get("prompt_cache_key")

    assert key("x") == key("x", "y", "z") != key("x", tenant="b")
    assert key("x") != key("y")
    assert key("x", prompt_cache_key="mine") == "mine"
    assert "prompt_cache_key" not in sent("mistral", ChatRequest("m", QUESTION, use_kv=False))


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_a_near_answer_is_a_prediction_where_the_api_has_them(flavour: str) -> None:
    request = ChatRequest("m", QUESTION, near_answer="Thirty-two tokens.")
    predicted, plain = (orjson.loads(FLAVOURS[flavour].write(request, Wishes(predicts=yes))) for yes in (True, False))

    assert ("prediction" in predicted) == (flavour in ("openai", "azure", "mistral", "twicetold"))
    assert "prediction" not in plain


# --- what fails ---


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", None),
        ("Context size has been exceeded.", "context_length_exceeded"),
        ("the request exceeds the available context size. try increasing it", "context_length_exceeded"),
        ("tools param requires --jinja flag", None),
    ],
)
def test_what_llamacpp_calls_its_failure_and_is_the_requests_is_refused(message: str, code: str | None) -> None:
    body = orjson.dumps({"error": {"code": 500, "message": message, "type": "server_error"}})
    reader = FLAVOURS["llamacpp"].reader("there", ChatRequest("m", ()))
    whole = FLAVOURS["llamacpp"].read_error(500, {}, body, "there")
    with pytest.raises(RequestRejected) as streamed:
        list(reader.read(body))

    for error in (whole, streamed.value):
        assert isinstance(error, RequestRejected)
        assert (error.status, error.message, error.code, error.retryable) == (
            400, message, code or "invalid_request", False,
        )  # fmt: skip
    assert type(FLAVOURS["openai"].read_error(500, {}, body, "there")) is BackendError
    assert type(FLAVOURS["llamacpp"].read_error(500, {}, b'{"error":{"message":"oom"}}', "there")) is BackendError


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_repeats_what_it_was_sent_gives_no_credential_away(
    upstream: RunningUpstream, stream: bool
) -> None:
    headers = {"x-team-token": "tm-0123456789", "authorization": "Bearer other-secret", "x-team": "blue"}
    said = f"I got {KEY}, tm-0123456789 and other-secret from blue"
    error = {"message": said, "code": KEY, "param": KEY, "details": [{KEY: f"Bearer {KEY}"}]}
    async with spoken(upstream, "openai", headers=headers) as backend:
        with pytest.raises(RequestRejected) as caught:
            await answer(backend, f"raw:{orjson.dumps({'error': {**error, 'code': 400}}).decode()}", stream=stream)

    told = caught.value
    assert told.message == "I got ***, *** and *** from blue"
    assert str(told) == told.message
    assert told.error is not None
    assert told.error["details"] == [{"***": "Bearer ***"}]
    assert not any(secret in repr((vars(told), told)) for secret in (KEY, "tm-0123456789", "other-secret"))


# --- where and who ---


@pytest.mark.parametrize(
    ("flavour", "path"),
    [
        ("openai", "/openai/v1/chat/completions"),
        ("vllm", "/vllm/v1/chat/completions"),
        ("anthropic", "/anthropic/v1/messages"),
        ("azure", "/azure/openai/deployments/gpt/chat/completions?api-version=2024-10-21"),
    ],
)
async def test_a_flavour_knows_its_address(upstream: RunningUpstream, flavour: str, path: str) -> None:
    async with spoken(upstream, flavour) as backend:
        await answer(backend)

    assert upstream.app.address == path


GA, PREVIEW = "?api-version=2024-10-21", "?api-version=2025-01-01-preview"


@pytest.mark.parametrize(
    ("path", "chat", "models", "health"),
    [
        ("/deployments/d", f"/deployments/d/chat/completions{GA}", "", f"/models{GA}"),
        (
            f"/deployments/d/chat/completions{PREVIEW}",
            f"/deployments/d/chat/completions{PREVIEW}",
            "",
            f"/models{PREVIEW}",
        ),
        ("/v1", "/chat/completions", "/models", ""),
        (f"/v1/{PREVIEW}", f"/chat/completions{PREVIEW}", f"/models{PREVIEW}", ""),
    ],
)
def test_azure_is_reached_by_deployment_or_by_resource(path: str, chat: str, models: str, health: str) -> None:
    at = FLAVOURS["azure"].endpoints(f"https://name.openai.azure.com/openai{path}")

    assert (at.chat, at.models, at.health) == (chat, models, health)


@pytest.mark.parametrize(
    ("flavour", "header", "value"),
    [("openai", "authorization", f"Bearer {KEY}"), ("azure", "api-key", KEY), ("anthropic", "x-api-key", KEY)],
)
async def test_a_key_is_shown_the_way_it_is_asked_for(
    upstream: RunningUpstream, flavour: str, header: str, value: str
) -> None:
    async with spoken(upstream, flavour, headers={"x-team": "cache"}) as backend:
        await answer(backend)

    headers = upstream.app.headers
    assert (headers[header], headers["x-team"]) == (value, "cache")
    assert ("authorization" in headers) == (flavour == "openai")


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_what_is_no_address_is_said_at_once(flavour: str) -> None:
    for url in ("nowhere", "ftp://x/v1", "http://"):
        with pytest.raises(ValueError, match="not an http"):
            remote(RemoteSpec("there", url, flavour))


def test_an_unknown_flavour_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no flavour 'vlm'; there are openai, azure, anthropic"):
        remote(RemoteSpec("there", "http://x", "vlm"))


async def test_replicas_of_a_model_share_what_they_answer() -> None:
    one, two = (remote(RemoteSpec(name, f"http://{name}", "vllm")) for name in "ab")
    other = remote(RemoteSpec("c", "http://a", "vllm", revision="2026-11"))

    assert one.model("m").revision == two.model("m").revision != other.model("m").revision
    assert one.model("m").revision != one.model("n").revision


@pytest.mark.parametrize("flavour", ["vllm", "sglang", "llamacpp", "twicetold", "azure"])
async def test_a_server_that_is_loading_is_not_ready(upstream: RunningUpstream, flavour: str) -> None:
    upstream.control(mode="error:503")
    async with spoken(upstream, flavour) as backend:
        loading = await backend.health()
    upstream.control(mode="normal")
    async with spoken(upstream, flavour) as backend:
        ready = await backend.health()

    assert (loading.is_ready, ready.is_ready) == (False, True)
    assert upstream.counters()["probes"] == 2


async def test_what_an_engine_counts_comes_with_its_health_where_it_tells(upstream: RunningUpstream) -> None:
    async with spoken(upstream, "vllm") as telling, spoken(upstream, "llamacpp") as silent:
        told, untold = await telling.health(), await silent.health()

    assert told.figures == {
        "running": 3, "waiting": 4, "kv_usage": 0.75, "prefix_queries": 1200, "prefix_hits": 1100,
    }  # fmt: skip
    assert (untold.is_ready, untold.figures) == (True, {})


async def test_a_request_that_cannot_be_written_says_nothing_of_the_server() -> None:
    backend = remote(RemoteSpec("there", "http://127.0.0.1:9", "anthropic"))
    request = ChatRequest("m", QUESTION, {"n": 2})
    before = await backend.health()
    with pytest.raises(RequestRejected):
        await anext(backend.stream(request))
    after = await backend.health()
    await backend.close()

    assert (before.is_ready, after.is_ready) == (False, False)


# --- errors ---


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("mode", "kind", "status", "code"),
    [
        ("error:400", RequestRejected, 400, "invalid_request_error"),
        ("error:401", UpstreamAuth, 502, "upstream_auth"),
        ("error:404", RequestRejected, 404, "not_found_error"),
        ("error:429", RequestRejected, 429, "rate_limit_error"),
        ("error:500", BackendError, 502, "backend_error"),
        ("error:529", BackendBusy, 503, "backend_overloaded"),
    ],
)
async def test_an_error_of_anthropic_is_named(
    upstream: RunningUpstream, mode: str, kind: type, status: int, code: str, stream: bool
) -> None:
    async with spoken(upstream, "anthropic") as backend:
        with pytest.raises(BackendError) as caught:
            await answer(backend, mode, stream=stream)

    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code) == (status, code)
    assert error.retry_after_s == (7 if mode in ("error:429", "error:529") else None)
    assert KEY not in repr(error)


def test_what_azures_filter_refuses_is_told_in_its_words() -> None:
    found = {"hate": {"filtered": True, "severity": "high"}}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": found}
    error = {"message": "filtered", "param": "prompt", "code": "content_filter", "status": 400, "innererror": inner}
    told = FLAVOURS["azure"].read_error(400, {}, orjson.dumps({"error": error}), "there")

    assert isinstance(told, RequestRejected)
    assert (told.code, told.error) == ("content_filter", error)


@pytest.mark.parametrize(
    ("mode", "status"), [("error-mid:529", 503), ("error-mid:400", 400), ("truncated", 502), ("cut", 502)]
)
async def test_a_message_that_breaks_off_is_an_error(upstream: RunningUpstream, mode: str, status: int) -> None:
    async with spoken(upstream, "anthropic") as backend:
        with pytest.raises(BackendError) as caught:
            await answer(backend, mode)

    assert caught.value.status == status
