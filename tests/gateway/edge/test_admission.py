"""So many requests under way, so many bytes of bodies: whoever is beyond hears 503, in the shape of the path."""

import asyncio
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from gateway.app import ERRORS
from gateway.edge.admission import Admission
from gateway.edge.memory import MemoryWatch, Use
from gateway.edge.rules import EdgeCounts, EdgeRules
from gateway.errors import Overloaded

CHAT = "/v1/chat/completions"


class Inside:
    """Reads the body, and answers when it may."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.refused = 0

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
        except Overloaded:
            self.refused += 1
            return
        await self.may_end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def ask(admission: Admission, path: str = CHAT, *pieces: bytes) -> list[Message]:
    said: list[Message] = []
    left = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    left.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Message) -> None:
        said.append(message)

    await admission({"type": "http", "path": path}, receive, send)
    return said


async def test_a_request_beyond_the_bound_is_told_to_come_back() -> None:
    inside, counts = Inside(), EdgeCounts()
    admission = Admission(inside, EdgeRules(requests=1), counts, ERRORS)
    first = asyncio.create_task(ask(admission))
    await asyncio.sleep(0)
    start, body = await ask(admission)
    inside.may_end.set()

    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert orjson.loads(body["body"])["error"]["code"] == "overloaded"
    assert (await first)[0]["status"] == 200
    assert (await ask(admission))[0]["status"] == 200
    assert (counts.requests, counts.refused["requests"]) == (0, 1)


async def test_it_is_said_as_the_path_says_errors() -> None:
    admission = Admission(Inside(), EdgeRules(), EdgeCounts(), ERRORS, memory=MemoryWatch(use=Use(99, 100)))
    _, told = await ask(admission, "/v1/messages")

    assert orjson.loads(told["body"])["type"] == "error"


async def test_probes_and_the_operator_are_let_in() -> None:
    inside = Inside()
    inside.may_end.set()
    admission = Admission(inside, EdgeRules(), EdgeCounts(), ERRORS, memory=MemoryWatch(use=Use(99, 100)))

    assert [(await ask(admission, path))[0]["status"] for path in ("/healthz", "/admin/api/stats")] == [200, 200]


async def test_bodies_are_bounded_together_and_are_given_back() -> None:
    inside, counts = Inside(), EdgeCounts()
    admission = Admission(inside, EdgeRules(body_bytes=10), counts, ERRORS)
    first = asyncio.create_task(ask(admission, CHAT, b"12345"))
    await asyncio.sleep(0)
    await ask(admission, CHAT, b"123", b"456")
    held = counts.body_bytes
    inside.may_end.set()
    await first

    assert (inside.refused, counts.refused["bodies"]) == (1, 1)
    assert (held, counts.body_bytes) == (5, 0)
