"""The gateway in front of an OpenAI-compatible server, met with the official client."""

import asyncio
from typing import Any

import httpx
import openai
import orjson
import pytest

from tests.e2e.server import Gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def tier(response: httpx.Response) -> str:
    return response.headers["x-twicetold-tier"]


def test_one_entry_serves_streaming_and_not(gateway: Gateway, upstream: RunningUpstream) -> None:
    client = gateway.openai()
    whole = client.chat.completions.create(model="m", messages=user("one entry"))
    chunks = list(client.chat.completions.create(model="m", messages=user("one entry"), stream=True))

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert upstream.counters()["requests"] == 1


def test_a_streamed_answer_is_kept_for_whoever_wants_it_whole(gateway: Gateway, upstream: RunningUpstream) -> None:
    client = gateway.openai()
    chunks = list(client.chat.completions.create(model="m", messages=user("streamed first"), stream=True))
    whole = client.chat.completions.create(model="m", messages=user("streamed first"))

    assert whole.choices[0].message.content == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert whole.usage is not None
    assert whole.usage.completion_tokens > 0
    assert upstream.counters()["requests"] == 1


@pytest.mark.parametrize("is_hit", [False, True])
def test_usage_comes_in_a_stream_exactly_when_asked(gateway: Gateway, is_hit: bool) -> None:
    client = gateway.openai()
    kwargs: dict[str, Any] = {"model": "m", "messages": user(f"usage {is_hit}"), "stream": True}
    if is_hit:
        list(client.chat.completions.create(**kwargs))
    asked = list(client.chat.completions.create(**kwargs, stream_options={"include_usage": True}))
    plain = list(client.chat.completions.create(**kwargs))

    assert asked[-1].choices == []
    assert asked[-1].usage is not None
    assert asked[-1].usage.prompt_tokens_details is not None
    assert asked[-1].usage.prompt_tokens_details.cached_tokens == 0
    assert all(chunk.usage is None for chunk in plain)
    assert all(chunk.choices for chunk in plain)


@pytest.mark.parametrize("flavour", ["with:tools", "with:reasoning"])
@pytest.mark.parametrize("streams_first", [True, False])
def test_tool_calls_and_reasoning_pass_through_and_are_replayed(
    gateway: Gateway, upstream: RunningUpstream, flavour: str, streams_first: bool
) -> None:
    body = {"model": flavour, "messages": user(f"{flavour} {streams_first}")}
    first = message_of(gateway.post({**body, "stream": streams_first}))
    again = message_of(gateway.post({**body, "stream": not streams_first}))

    assert first == again
    assert "tool_calls" in first or "reasoning_content" in first
    assert upstream.counters()["requests"] == 1


def message_of(response: httpx.Response) -> dict[str, Any]:
    """The assistant's message, however it was sent."""
    from backends.chat import Delta, collect

    assert response.status_code == 200
    if not response.headers["content-type"].startswith("text/event-stream"):
        message: dict[str, Any] = response.json()["choices"][0]["message"]
        return {key: value for key, value in message.items() if value is not None}
    events = [orjson.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    choices = [event["choices"][0] for event in events if event["choices"]]
    message = dict(
        collect(Delta(fields=choice["delta"], finish_reason=choice["finish_reason"]) for choice in choices)
        .choices[0]
        .message
    )
    return {key: value for key, value in message.items() if value is not None}


def test_unknown_fields_reach_the_upstream_untouched_and_ours_do_not(gateway: Gateway) -> None:
    body = {"model": "echo", "messages": user("x"), "odd_knob": {"deep": [1, None, "é"]}, "cache": {"ttl": 60}}
    response = gateway.post({**body, "cache_salt": "s"})
    seen = orjson.loads(response.json()["choices"][0]["message"]["content"])

    assert seen == {"model": "echo", "messages": user("x"), "odd_knob": {"deep": [1, None, "é"]}, "stream": False}


def test_a_hit_has_a_new_id_and_says_what_it_saved(gateway: Gateway) -> None:
    body = {"model": "m", "messages": user("headers")}
    first, hit = gateway.post(body), gateway.post(body)

    assert (tier(first), tier(hit)) == ("full", "exact")
    assert first.json()["id"] != hit.json()["id"]
    assert first.json()["usage"] == hit.json()["usage"]
    assert hit.headers["cache-status"] == "twicetold; hit; detail=exact"
    assert first.headers["cache-status"] == "twicetold; fwd=uri-miss; detail=full"
    assert hit.headers["x-twicetold-saved-tokens"] == str(hit.json()["usage"]["total_tokens"])
    assert int(hit.headers["age"]) >= 0
    assert float(hit.headers["x-twicetold-overhead-ms"]) >= 0
    assert first.headers["x-twicetold-entry"] == hit.headers["x-twicetold-entry"]


def test_a_ttl_is_shown_in_cache_status(gateway: Gateway) -> None:
    body = {"model": "m", "messages": user("with a ttl"), "cache": {"ttl": 1000}}
    gateway.post(body)

    assert gateway.post(body).headers["cache-status"] in {
        "twicetold; hit; ttl=999; detail=exact",
        "twicetold; hit; ttl=1000; detail=exact",
    }


def test_cache_control_is_obeyed(gateway: Gateway, upstream: RunningUpstream) -> None:
    body = {"model": "m", "messages": user("cache control")}

    assert gateway.post(body, **{"Cache-Control": "only-if-cached"}).status_code == 504
    assert tier(gateway.post(body, **{"Cache-Control": "no-store"})) == "full"
    assert tier(gateway.post(body)) == "full"
    assert tier(gateway.post(body, **{"Cache-Control": "no-cache"})) == "full"
    assert tier(gateway.post(body, **{"Cache-Control": "only-if-cached"})) == "exact"
    assert upstream.counters()["requests"] == 3


def test_cache_control_may_come_in_several_lines(gateway: Gateway, upstream: RunningUpstream) -> None:
    body = {"model": "m", "messages": user("two lines")}
    lines = [("Cache-Control", "max-age=60"), ("Cache-Control", "no-store")]
    httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=lines, **LOOPBACK)

    assert tier(gateway.post(body)) == "full"


def test_keys_salts_and_namespaces_are_walls(gateway: Gateway, upstream: RunningUpstream) -> None:
    body = {"model": "m", "messages": user("walls")}
    walls: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({}, {}),
        ({}, {"Authorization": "Bearer one"}),
        ({}, {"Authorization": "Bearer two"}),
        ({"cache_salt": "s"}, {}),
        ({"cache": {"namespace": "n"}}, {}),
    ]
    for _ in range(2):
        for extra, headers in walls:
            gateway.post({**body, **extra}, **headers)

    assert upstream.counters()["requests"] == len(walls)


async def test_a_hundred_identical_requests_at_once_make_one_generation(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    async with gateway.async_openai() as client:
        answers = await asyncio.gather(
            *(client.chat.completions.create(model="slow:0.02", messages=user("at once")) for _ in range(100))
        )

    assert len({answer.choices[0].message.content for answer in answers}) == 1
    assert upstream.counters()["requests"] == 1


async def test_a_follower_joins_a_stream_in_the_middle_and_gets_the_whole_text(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    async def stream(client: openai.AsyncOpenAI, heard: list[str]) -> None:
        chunks = await client.chat.completions.create(model="slow:0.05", messages=user("join me"), stream=True)
        async for chunk in chunks:
            heard.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - watched while it grows

    async with gateway.async_openai() as client:
        leader: list[str] = []
        follower: list[str] = []
        leading = asyncio.create_task(stream(client, leader))
        while len(leader) < 4:  # noqa: ASYNC110 - the official client has no event for it
            await asyncio.sleep(0.005)
        await asyncio.gather(leading, stream(client, follower))

    assert "".join(follower) == "".join(leader)
    assert len(follower) == len(leader)
    assert upstream.counters()["requests"] == 1


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_disconnect_cancels_the_generation_and_nothing_is_kept(
    gateway: Gateway, upstream: RunningUpstream, is_stream: bool
) -> None:
    entries = gateway.stats()["entries"]
    body = {"model": "hang:mid" if is_stream else "hang", "messages": user(f"leave {is_stream}"), "stream": is_stream}
    async with httpx.AsyncClient(**LOOPBACK) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=0.3)
    await upstream.until("active", 0)

    assert upstream.counters()["requests"] == 1
    assert upstream.counters()["disconnects"] == 1
    assert gateway.stats()["entries"] == entries


FAULTS: dict[str, tuple[str, int, str]] = {
    # mode, status, code
    "rejects": ("error:400", 400, ""),
    "no such model": ("error:404", 404, ""),
    "rate limited": ("error:429", 429, ""),
    "wrong key": ("error:401", 502, "upstream_auth"),
    "broken": ("error:500", 502, "backend_error"),
    "HTML": ("html", 502, "backend_bad_response"),
    "invalid JSON": ("raw:{oops", 502, "backend_bad_response"),
    "other JSON": ('raw:{"a":1}', 502, "backend_bad_response"),
    "cut off": ("cut", 502, "backend_bad_response"),
    "never a byte": ("hang", 504, "backend_timeout"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("is_stream", [True, False])
def test_a_faulty_upstream_is_a_clear_error_and_nothing_is_kept(
    gateway: Gateway, upstream: RunningUpstream, name: str, is_stream: bool
) -> None:
    mode, status, code = FAULTS[name]
    body = {"model": "m", "messages": user(f"fault {name} {is_stream}"), "stream": is_stream}
    upstream.control(mode=mode)
    response = gateway.post(body)
    if is_stream and name == "cut off":
        assert '"code":"backend_bad_response"' in response.text  # the headers were out: an event says it
        assert "[DONE]" not in response.text
    else:
        error = response.json()["error"]
        assert response.status_code == status
        assert code in (error["code"] or "")
        assert error["message"]

    upstream.control(mode="normal")
    assert tier(gateway.post(body)) == "full"


def test_a_rate_limit_says_when_to_come_back(gateway: Gateway, upstream: RunningUpstream) -> None:
    upstream.control(mode="error:429")
    response = gateway.post({"model": "m", "messages": user("slow down")})

    assert (response.status_code, response.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize("mode", ["hang:mid", "error-mid:500", "truncated:done"])
def test_a_stream_that_breaks_in_the_middle_ends_with_an_error_event(
    gateway: Gateway, upstream: RunningUpstream, mode: str
) -> None:
    upstream.control(mode=mode)
    with pytest.raises(openai.APIError):
        list(gateway.openai().chat.completions.create(model="m", messages=user(f"mid {mode}"), stream=True))

    upstream.control(mode="normal")
    assert tier(gateway.post({"model": "m", "messages": user(f"mid {mode}")})) == "full"


def test_models_and_probes(gateway: Gateway) -> None:
    assert [model.id for model in gateway.openai().models.list()]
    assert gateway.get("/healthz").json() == {"status": "ok"}
    assert gateway.get("/readyz").status_code == 200
    assert "twicetold_requests_total" in gateway.get("/metrics").text


USAGE = '{"prompt_tokens":100,"completion_tokens":%d,"prompt_tokens_details":{"cached_tokens":80}}'
CHOICE = '{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop","logprobs":%s}'


def raw_answer(completion_tokens: int = 3, logprobs: str = "null") -> str:
    return f'raw:{{"choices":[{CHOICE % logprobs}],"usage":{USAGE % completion_tokens}}}'


def test_tokens_an_upstream_had_cached_make_it_the_kv_tier(gateway: Gateway, upstream: RunningUpstream) -> None:
    upstream.control(mode=raw_answer())
    response = gateway.post({"model": "m", "messages": user("cached there")})

    assert response.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 80
    assert (tier(response), response.headers["x-twicetold-saved-tokens"]) == ("kv", "80")


@pytest.mark.parametrize("tokens", [-3, 10**18])
def test_counts_that_cannot_be_do_not_break_the_ledger(
    gateway: Gateway, upstream: RunningUpstream, tokens: int
) -> None:
    upstream.control(mode=raw_answer(tokens))
    body = {"model": "m", "messages": user(f"impossible {tokens}")}

    assert [tier(gateway.post(body)) for _ in range(2)] == ["kv", "exact"]
    assert 0 <= gateway.stats()["tokens"]["completion"] < 10**9


def test_log_probabilities_that_are_none_are_a_bad_response(gateway: Gateway, upstream: RunningUpstream) -> None:
    upstream.control(mode=raw_answer(logprobs='"high"'))
    response = gateway.post({"model": "m", "messages": user("sure?")})

    assert (response.status_code, response.json()["error"]["code"]) == (502, "backend_bad_response")


def test_the_model_an_upstream_names_is_told_also_on_a_hit(gateway: Gateway, upstream: RunningUpstream) -> None:
    upstream.control(mode="normal")
    body = {"model": "alias", "messages": user("which model")}

    assert [gateway.post(body).json()["model"] for _ in range(2)] == ["alias", "alias"]
