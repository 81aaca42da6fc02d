"""One chat request over HTTP, and everything that can be seen of its answer from outside."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

CHAT = "/v1/chat/completions"


@dataclass(slots=True)
class Seen:
    """One answer, or the error that came instead. Times are seconds from the moment of asking."""

    tier: str = ""
    reason: str = ""
    entry: str | None = None
    similarity: float | None = None
    saved_tokens: int = 0  # by the header, known when the answer starts
    overhead_ms: float | None = None  # what the gateway says its own lookups took
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: str | None = None
    error: str | None = None  # the code, when there is no answer
    first_s: float | None = None  # to the first text; a whole answer has all its text at its end
    total_s: float = 0.0
    message: dict[str, Any] = field(default_factory=lambda: {"role": "assistant", "content": ""})


def open_client(url: str, connections: int, timeout_s: float = 600.0) -> httpx.AsyncClient:
    """A keep-alive client that ignores proxies."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(base_url=url, timeout=timeout_s, limits=limits, trust_env=False)


async def ask(client: httpx.AsyncClient, body: Mapping[str, Any]) -> Seen:
    """Send one chat request. Errors of the server and of the connection are in the result, not raised."""
    seen, started = Seen(), time.perf_counter()
    try:
        if body.get("stream"):
            wish = {**body, "stream_options": {"include_usage": True}}
            async with client.stream("POST", CHAT, json=wish) as response:
                await _read_stream(response, seen, started)
        else:
            _read_whole(await client.post(CHAT, json=body), seen)
    except httpx.TransportError as error:
        seen.error = type(error).__name__
    seen.total_s = time.perf_counter() - started
    if seen.first_s is None and not body.get("stream"):
        seen.first_s = seen.total_s
    return seen


def _read_whole(response: httpx.Response, seen: Seen) -> None:
    _read_headers(response, seen)
    if response.status_code != 200:
        seen.error = error_code(response.status_code, response.content)
        return
    answer = response.json()
    choice = answer["choices"][0]
    seen.message = {"role": "assistant", "content": choice["message"].get("content") or ""}
    seen.finish_reason = choice["finish_reason"]
    _read_usage(answer.get("usage"), seen)


async def _read_stream(response: httpx.Response, seen: Seen, started: float) -> None:
    _read_headers(response, seen)
    if response.status_code != 200:
        seen.error = error_code(response.status_code, await response.aread())
        return
    has_ended = False
    async for data in _events(response):
        if data == "[DONE]":
            has_ended = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            seen.error = error_code(200, data.encode())
            return
        _read_chunk(chunk, seen, started)
    if not has_ended:
        seen.error = "stream_cut"


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield line[6:]


def _read_chunk(chunk: Mapping[str, Any], seen: Seen, started: float) -> None:
    _read_usage(chunk.get("usage"), seen)
    for choice in chunk["choices"]:
        if text := choice["delta"].get("content"):
            if seen.first_s is None:
                seen.first_s = time.perf_counter() - started
            seen.message["content"] += text
        seen.finish_reason = choice.get("finish_reason") or seen.finish_reason


def _read_usage(usage: Mapping[str, Any] | None, seen: Seen) -> None:
    if usage:
        seen.prompt_tokens = int(usage["prompt_tokens"])
        seen.completion_tokens = int(usage["completion_tokens"])
        seen.cached_tokens = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


def _read_headers(response: httpx.Response, seen: Seen) -> None:
    headers = response.headers
    seen.tier = headers.get("x-twicetold-tier", "")
    seen.reason = headers.get("x-twicetold-reason", "")
    seen.entry = headers.get("x-twicetold-entry")
    seen.saved_tokens = int(headers.get("x-twicetold-saved-tokens", 0))
    similarity, overhead = headers.get("x-twicetold-similarity"), headers.get("x-twicetold-overhead-ms")
    seen.similarity = None if similarity is None else float(similarity)
    seen.overhead_ms = None if overhead is None else float(overhead)


def error_code(status: int, body: bytes) -> str:
    """The code of an OpenAI error object; the status where there is none."""
    try:
        error = json.loads(body)["error"]
        return str(error.get("code") or error.get("type") or status)
    except (ValueError, KeyError, TypeError, AttributeError):
        return str(status)
