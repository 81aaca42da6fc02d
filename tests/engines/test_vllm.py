"""A vLLM that is running, at VLLM_URL, started with --enable-prompt-tokens-details: it takes minutes to start."""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from backends.chat import ChatRequest, Usage
from backends.errors import RequestRejected
from backends.remote import RemoteSpec, remote
from tests.contracts.backend_contract import PROMISES, Subject, ask
from tests.loopback import LOOPBACK

URL = os.environ.get("VLLM_URL", "")
pytestmark = pytest.mark.skipif(not URL, reason="VLLM_URL names no running vLLM")

LONG = ({"role": "system", "content": "You answer questions about caches, blocks and tiers. " * 20},)
QUESTION = {"role": "user", "content": "What is a cache?"}


@asynccontextmanager
async def subject() -> AsyncIterator[Subject]:
    backend = remote(RemoteSpec("vllm", URL, "vllm"))
    (model,) = await backend.models()

    def ask_for(salt: str = "plain", *, use_kv: bool = True, stream: bool = True, **params: object) -> ChatRequest:
        given = {"temperature": 0, "max_tokens": 12, **params}
        return ChatRequest(model.name, (*LONG, QUESTION), given, stream, kv_salt=salt, use_kv=use_kv)

    async def is_idle() -> bool:
        async with httpx.AsyncClient(**LOOPBACK) as client:
            figures = (await client.get(f"{URL}/metrics")).text
        return not any(
            map(float, re.findall(r"^vllm:num_requests_(?:running|waiting){.*} (\S+)$", figures, re.MULTILINE))
        )

    endless = ask_for(ignore_eos=True, max_tokens=700)
    await ask(
        Subject(backend, ask_for(), endless, ask_for(), is_idle), ask_for()
    )  # what is counted as cached is steady
    try:
        yield Subject(backend, ask_for(), endless, ask_for(max_tokens=-5), is_idle)
    finally:
        await backend.close()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_it_keeps_the_promises_of_a_backend(promise: Callable[[Subject], Awaitable[None]]) -> None:
    async with subject() as tried:
        await promise(tried)


async def cached(tried: Subject, salt: str, *, use_kv: bool = True, stream: bool = True) -> int:
    request = ChatRequest(
        tried.plain.model, tried.plain.messages, tried.plain.params, stream, kv_salt=salt, use_kv=use_kv
    )
    *_, last = await ask(tried, request)
    assert isinstance(last.usage, Usage)
    return last.usage.cached_tokens


async def test_a_salt_is_a_wall_and_a_cold_run_leaves_nothing_to_find() -> None:
    salt = os.urandom(8).hex()
    async with subject() as tried:
        first, warm, whole = [await cached(tried, salt, stream=stream) for stream in (True, True, False)]
        other = await cached(tried, salt + "other")
        cold = [await cached(tried, salt, use_kv=False) for _ in range(2)]

    assert (first, other, *cold) == (0, 0, 0, 0)
    assert warm == whole > 100


async def test_it_counts_its_requests_and_what_it_found() -> None:
    async with subject() as tried:
        figures = (await tried.backend.health()).figures

    assert figures["running"] == figures["waiting"] == 0
    assert figures["prefix_queries"] > 0
    assert 0 <= figures["kv_usage"] <= 1


async def test_its_refusals_keep_its_words() -> None:
    async with subject() as tried:
        with pytest.raises(RequestRejected, match="max_tokens must be at least 1"):
            await ask(tried, tried.failing)
