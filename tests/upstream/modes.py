"""How the test upstream answers one chat request: a table of modes, from polite to broken."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from tests.upstream.answers import Answer, error_body, fast_bodies
from tests.upstream.dialects import DIALECTS, Dialect

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = (b"content-type", b"application/json")
SSE_TYPE = (b"content-type", b"text/event-stream; charset=utf-8")


@dataclass(slots=True)
class Ask:
    """One request to the chat endpoint and the way to answer it."""

    body: dict[str, Any]
    raw: bytes
    headers: dict[str, str]
    argument: str
    send: Send
    dialect: Dialect = DIALECTS[""]

    @property
    def is_stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def body_read(self) -> dict[str, Any]:
        """The body as far as an answer depends on it; Anthropic's streams tell the usage unasked."""
        return {**self.body, "stream_options": {"include_usage": True}} if not self.dialect.done else self.body

    @property
    def answer(self) -> Answer:
        return Answer(self.body_read)

    async def start(self, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, body: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def reply(self, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await self.start(status, *(headers or (JSON_TYPE,)), (b"content-length", str(len(body)).encode()))
        await self.write(body, more=False)

    async def say(self, answer: Answer) -> None:
        """The answer, whole or streamed as was asked."""
        if self.is_stream:
            await self.events(self.pieces(answer))
            await self.write(self.dialect.done, more=False)
        else:
            await self.reply(self.whole(answer))

    def whole(self, answer: Answer) -> bytes:
        return orjson.dumps(self.dialect.whole(answer.completion()))

    def pieces(self, answer: Answer) -> list[dict[str, Any]]:
        return self.dialect.pieces(answer.chunks())

    async def events(self, chunks: list[dict[str, Any]], delay_s: float = 0.0) -> None:
        """Start an event stream and send `chunks`; the caller ends it."""
        await self.start(200, SSE_TYPE)
        for chunk in chunks:
            if delay_s:
                await asyncio.sleep(delay_s)
            await self.write(self.dialect.event(chunk))


async def normal(ask: Ask) -> None:
    """A whole answer; `slow:0.02` pauses before every token, `normal` not."""
    delay_s = float(ask.argument or 0)
    if ask.is_stream:
        await ask.events(ask.pieces(ask.answer), delay_s)
        await ask.write(ask.dialect.done, more=False)
    else:
        await asyncio.sleep(delay_s * ask.answer.num_tokens)
        await ask.reply(ask.whole(ask.answer))


async def fast(ask: Ask) -> None:
    """Prebuilt bytes, whatever was asked: the cost of the server itself, for benchmarks."""
    whole, streamed = FAST
    await (ask.reply(streamed, 200, SSE_TYPE) if ask.is_stream else ask.reply(whole))


async def flavoured(ask: Ask) -> None:
    """The normal answer with what the mode is named after: `tools`, `reasoning`, `refusal`, `no-usage`, `length`,
    `one-choice` (whatever n is, and no [DONE])."""
    answer = Answer(ask.body_read, flavour=ask.argument)
    if ask.is_stream and ask.argument == "one-choice":
        await ask.events(ask.pieces(answer))
        await ask.write(b"", more=False)
    else:
        await ask.say(answer)


async def say(ask: Ask) -> None:
    """`say:TEXT`: that text, whole."""
    await ask.say(Answer(ask.body_read, text=ask.argument))


async def no_stream(ask: Ask) -> None:
    """The whole answer as JSON, even when a stream was asked for."""
    await ask.reply(ask.whole(ask.answer))


async def pings(ask: Ask) -> None:
    """CRLF, comments between the events, one event in two pieces cut inside a character, no [DONE]."""
    await ask.start(200, SSE_TYPE)
    for chunk in ask.pieces(ask.answer):
        event = b": ping\r\n\r\ndata: " + orjson.dumps(chunk) + b"\r\n\r\n"
        cut = next((i for i, byte in enumerate(event) if byte >= 0x80), 20) + 1
        await ask.write(event[:cut])
        await asyncio.sleep(0)
        await ask.write(event[cut:])
    await ask.write(b"", more=False)


async def pings_only(ask: Ask) -> None:
    """Keep-alive comments for ever, never a token."""
    await ask.start(200, SSE_TYPE)
    while True:
        await ask.write(b": ping\n\n")
        await asyncio.sleep(0.01)


async def error(ask: Ask) -> None:
    """`error:429`: that status with OpenAI's error object; 429 and 503 name a wait of 7 seconds."""
    status = int(ask.argument)
    wait = [(b"retry-after", b"7")] if status in (429, 503, 529) else []
    said = ask.dialect.error(error_body(status, ask.headers), status)
    await ask.reply(orjson.dumps(said), status, JSON_TYPE, *wait)


async def refuses(ask: Ask) -> None:
    """`refuses:prediction`: a request with that field is refused as OpenAI does where a model has it not."""
    if ask.argument not in ask.body:
        await normal(replace(ask, argument=""))
        return
    said = f"Unsupported parameter: '{ask.argument}' is not supported with this model."
    named = {"message": said, "type": "invalid_request_error", "param": ask.argument, "code": "unsupported_parameter"}
    await ask.reply(orjson.dumps({"error": named}), 400)


async def html(ask: Ask) -> None:
    """`html:404`: an error page of something that is not an OpenAI server; 200 without an argument."""
    await ask.reply(b"<html><body>It works!</body></html>", int(ask.argument or 200), (b"content-type", b"text/html"))


async def raw(ask: Ask) -> None:
    """`raw:TEXT`: that text instead of a completion, or as the only event."""
    if ask.is_stream:
        await ask.reply(b"data: " + ask.argument.encode() + b"\n\n" + ask.dialect.done, 200, SSE_TYPE)
    else:
        await ask.reply(ask.argument.encode())


async def cut(ask: Ask) -> None:
    """The connection breaks in the middle of the answer."""
    if ask.is_stream:
        await ask.events(ask.pieces(ask.answer)[:3])
    else:
        await ask.start(200, JSON_TYPE)
        await ask.write(ask.whole(ask.answer)[:40])
    # uvicorn closes the connection of an app that returns without ending its response


async def truncated(ask: Ask) -> None:
    """`truncated:done`: the stream ends in good order, but before the answer does; with [DONE] when told."""
    await ask.events(ask.pieces(ask.answer)[:3])
    await ask.write(ask.dialect.done if ask.argument == "done" else b"", more=False)


async def hang(ask: Ask) -> None:
    """Never a byte; `hang:headers`: the headers, then nothing; `hang:mid`: three tokens, then nothing."""
    if ask.argument == "headers":
        await ask.start(200, SSE_TYPE if ask.is_stream else JSON_TYPE)
        await ask.write(b"")
    elif ask.argument == "mid":
        await ask.events(ask.pieces(ask.answer)[:3])
    elif ask.argument == "done":
        await ask.events(ask.pieces(ask.answer))
        await ask.write(ask.dialect.done)
    await asyncio.Event().wait()


async def error_mid(ask: Ask) -> None:
    """`error-mid:400`: an error object after three tokens."""
    status = int(ask.argument or 500)
    said = ask.dialect.error(error_body(status, ask.headers, code=True), status)
    await ask.events([*ask.pieces(ask.answer)[:3], said])
    await ask.write(ask.dialect.done, more=False)


async def huge(ask: Ask) -> None:
    """`huge:80`: an answer of that many MiB, as one event when streamed."""
    await ask.start(200, SSE_TYPE if ask.is_stream else JSON_TYPE)
    await ask.write(b"data: " if ask.is_stream else b"")
    for _ in range(int(ask.argument or 80)):
        await ask.write(b" " * 2**20)
    await ask.write(b"", more=False)


async def echo(ask: Ask) -> None:
    """The body exactly as it arrived, as the text of the answer."""
    await flavoured(replace(ask, body={**ask.body, "messages": ask.raw.decode()}, argument="echo"))


FAST = fast_bodies()
MODES: dict[str, Callable[[Ask], Awaitable[None]]] = {
    "normal": normal, "slow": normal, "fast": fast, "with": flavoured, "pings": pings, "pings-only": pings_only,
    "error": error, "refuses": refuses, "html": html, "raw": raw, "cut": cut, "truncated": truncated, "hang": hang,
    "error-mid": error_mid, "huge": huge, "echo": echo, "no-stream": no_stream, "say": say,
}  # fmt: skip
