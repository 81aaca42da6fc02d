"""Public system prompts: every tenant's first request begins from them, and says the same as a cold one."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from backends.chat import ChatRequest
from backends.local.backend import LocalBackend
from tests.backends.local.engines import opened
from tests.backends.local.test_lookahead import LONG, complete, done

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(checkpoints: Callable[[str], Path]) -> AsyncIterator[LocalBackend]:
    async with opened(checkpoints("llama"), public_prompts=(LONG,), exact=True, prefill_chunk=32) as backend:
        await done(backend, 1)
        yield backend


def chat(system: str, text: str, salt: str, *, use_kv: bool = True) -> ChatRequest:
    messages = ({"role": "system", "content": system}, {"role": "user", "content": text})
    params = {"max_tokens": 12, "ignore_eos": True, "temperature": 0}
    return ChatRequest("tiny", messages, params, kv_salt=salt, owner=salt, use_kv=use_kv)


async def test_the_first_request_of_every_tenant_begins_from_a_public_prompt(local: LocalBackend) -> None:
    for salt in ("a", "b", "public"):
        answer = await complete(local, chat(LONG, f"hello {salt}", salt))
        cold = await complete(local, chat(LONG, f"hello {salt}", salt, use_kv=False))

        assert answer.usage.cached_tokens >= 64
        assert answer.usage.cached_tokens % 32 == 0  # blocks that lie wholly inside
        assert (answer.text, cold.usage.cached_tokens) == (cold.text, 0)


async def test_what_a_tenant_says_behind_it_is_no_other_tenants_prefix(local: LocalBackend) -> None:
    words = "and these words are mine alone, however many of them there are. " * 4
    public = (await complete(local, chat(LONG, "x", "c"))).usage.cached_tokens
    first = await complete(local, chat(LONG, words, "c"))
    mine = await complete(local, chat(LONG, words, "c"))
    theirs = await complete(local, chat(LONG, words, "d"))

    assert first.usage.cached_tokens >= public
    assert mine.usage.cached_tokens > public + 32
    assert theirs.usage.cached_tokens == public
    assert mine.text == theirs.text


async def test_no_request_makes_a_system_prompt_public(local: LocalBackend) -> None:
    other = "Another system prompt, which somebody would like everybody to have. " * 6
    await complete(local, chat(other, "hello", "public"))
    await complete(local, replace(chat(other, "hello", ""), owner="public"))

    assert (await complete(local, chat(other, "hello", "e"))).usage.cached_tokens == 0
