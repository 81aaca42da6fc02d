"""llama.cpp's own server: as a backend, and behind a gateway."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest

from backends.base import AnyModelBackend
from backends.chat import ChatRequest, Usage
from backends.errors import RequestRejected
from backends.remote import RemoteSpec, remote
from tests.contracts.backend_contract import PROMISES, Subject, answer, ask
from tests.e2e.server import running_gateway
from tests.engines.llama import missing, running_llama, tool_template
from tests.loopback import LOOPBACK

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

QUESTION = ({"role": "user", "content": "What is a semantic cache?"},)
LONG = ({"role": "system", "content": "You answer questions about caches. " * 20}, *QUESTION)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_llama(tmp_path_factory.mktemp("llama")) as running:
        yield running


def ask_for(messages: tuple[dict[str, str], ...] = QUESTION, **params: object) -> ChatRequest:
    return ChatRequest("demo", messages, {"temperature": 0, "max_tokens": 24, **params}, stream=True)


@asynccontextmanager
async def subject(url: str) -> AsyncIterator[Subject]:
    backend = remote(RemoteSpec("llama", url, "llamacpp"))

    async def is_idle() -> bool:
        async with httpx.AsyncClient(**LOOPBACK) as client:
            slots = (await client.get(f"{url}/slots")).json()
        return not any(slot["is_processing"] for slot in slots)

    endless = ask_for(ignore_eos=True, max_tokens=1500)
    try:
        yield Subject(backend, ask_for(cache_prompt=False), endless, ask_for(max_tokens=-5), is_idle)
    finally:
        await backend.close()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_it_keeps_the_promises_of_a_backend(promise: Callable[[Subject], Awaitable[None]], url: str) -> None:
    async with subject(url) as tried:
        await promise(tried)


async def usage(backend: AnyModelBackend, request: ChatRequest) -> Usage:
    *_, last = [delta async for delta in backend.stream(request)]
    assert last.usage is not None
    return last.usage


@pytest.mark.parametrize("stream", [True, False])
async def test_it_tells_what_it_had_and_has_nothing_when_told_to_keep_nothing(url: str, stream: bool) -> None:
    backend = remote(RemoteSpec("llama", url, "llamacpp"))
    request = replace(ask_for(LONG), stream=stream)
    await usage(backend, request)
    warm, cold = await usage(backend, request), await usage(backend, replace(request, use_kv=False))
    await backend.close()

    assert warm.prompt_tokens - 1 == warm.cached_tokens > 100
    assert cold == replace(warm, cached_tokens=0, extra=cold.extra)


async def test_it_counts_its_requests(url: str) -> None:
    backend = remote(RemoteSpec("llama", url, "llamacpp"))
    health = await backend.health()
    await backend.close()

    assert (health.is_ready, health.figures) == (True, {"running": 0, "waiting": 0})


async def test_its_model_its_words_of_refusal_and_no_timings_are_known(url: str) -> None:
    async with subject(url) as tried:
        (model,) = await tried.backend.models()
        with pytest.raises(RequestRejected, match="max_tokens") as caught:
            await ask(tried, tried.failing)
        completion = await answer(tried, tried.plain)

    assert (model.name, model.context_tokens) == ("demo", 2048)
    assert caught.value.status == 400
    assert "timings" not in completion.extra


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


@pytest.mark.parametrize(
    ("content", "params"),
    [
        ([{"type": "text", "text": "What is this?"}, IMAGE], {}),
        ("word " * 4000, {}),
        ("hi", {"json_schema": {}, "grammar": "root ::= 5"}),
    ],
)
async def test_what_is_the_requests_fault_is_refused_and_no_failure(
    url: str, content: object, params: dict[str, object]
) -> None:
    async with subject(url) as tried:
        request = ChatRequest("demo", ({"role": "user", "content": content},), params)
        with pytest.raises(RequestRejected) as caught:
            await ask(tried, request)

    assert caught.value.status == 400


def test_behind_a_gateway_its_cache_is_the_kv_tier(url: str, tmp_path: Path) -> None:
    settings = {"cache__semantic": "false", "upstream_flavour": "llamacpp"}
    with running_gateway(tmp_path / "data", "--upstream", url, **settings) as gateway:
        gateway.wait("upstream")
        body = {"model": "demo", "max_tokens": 16, "temperature": 0}
        turns = [{"role": "system", "content": "Blocks, prefixes and tiers are what you know. " * 20}, *QUESTION]
        first = gateway.post({**body, "messages": turns}).json()
        turns += [first["choices"][0]["message"], {"role": "user", "content": "And an exact one?"}]
        second = gateway.post({**body, "messages": turns})
        totals = gateway.stats()

    cached = second.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached > 150
    assert (second.headers["x-twicetold-tier"], second.headers["x-twicetold-saved-tokens"]) == ("kv", str(cached))
    assert totals["tokens"]["saved_prompt"] >= cached


@pytest.mark.skipif(not tool_template().is_file(), reason="LLAMA_TEMPLATES names no chat templates of llama.cpp's")
async def test_a_tool_is_called_whole_and_streamed(tmp_path: Path) -> None:
    wish = {"type": "object", "properties": {"kind": {"enum": ["cache", "block"]}}, "required": ["kind"]}
    tool = {"type": "function", "function": {"name": "look_up", "description": "Look it up.", "parameters": wish}}
    with running_llama(tmp_path, tool_template()) as url:
        async with subject(url) as tried:
            request = ask_for(tools=[tool], tool_choice="required", max_tokens=100)
            streamed, whole = [
                (await answer(tried, replace(request, stream=stream))).choices[0] for stream in (True, False)
            ]

    (call,) = whole.message["tool_calls"]
    assert call["function"]["name"] == streamed.message["tool_calls"][0]["function"]["name"] == "look_up"
    assert orjson.loads(call["function"]["arguments"])["kind"] in ("cache", "block")
    assert streamed.message["tool_calls"][0]["function"]["arguments"] == call["function"]["arguments"]
    assert streamed.finish_reason == whole.finish_reason == "tool_calls"
