"""A gateway at the SDK's own edge: what it was asked, and what it answers, without a socket."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from twicetold import AsyncTwicetold, Retries, Twicetold

HIT = {
    "x-twicetold-tier": "semantic",
    "x-twicetold-reason": "same_question",
    "x-twicetold-entry": "e_1",
    "x-twicetold-similarity": "0.9812",
    "x-twicetold-saved-tokens": "40",
    "x-twicetold-overhead-ms": "3.00",
    "age": "12",
}
FULL = {"x-twicetold-tier": "full", "x-twicetold-reason": "miss", "x-twicetold-overhead-ms": "1.00"}
AT_ONCE = Retries(first_s=0.0)

Reply = httpx.Response | httpx.HTTPError


def completion(text: str = "Paris.", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    usage = {
        "prompt_tokens": 8,
        "completion_tokens": 2,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "m", "choices": [choice]} | {
        "usage": usage
    }


def said(body: Any = None, status: int = 200, headers: Mapping[str, str] = FULL) -> httpx.Response:
    return httpx.Response(status, json=completion() if body is None else body, headers=headers)


def refusal(status: int, headers: Mapping[str, str] | None = None, **error: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": "no", "type": "t", **error}}, headers=headers or {})


def events(*wires: Any, headers: Mapping[str, str] = FULL, done: bool = True) -> httpx.Response:
    lines = [f"data: {json.dumps(wire)}\n\n".encode() for wire in wires] + ([b"data: [DONE]\n\n"] if done else [])
    return httpx.Response(200, stream=Pieces(lines), headers={**headers, "content-type": "text/event-stream"})


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces, for both clients; an exception among them is raised there."""

    def __init__(self, pieces: Sequence[bytes | Exception]) -> None:
        self._pieces = pieces
        self.was_closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.was_closed = True

    async def aclose(self) -> None:
        self.was_closed = True


@dataclass
class Server:
    """Answers with `replies` in turn, the last one for ever."""

    replies: list[Reply]
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, httpx.HTTPError):
            raise reply
        is_stream = isinstance(reply.stream, Pieces)
        body: dict[str, Any] = {"stream": reply.stream} if is_stream else {"content": reply.content}
        return httpx.Response(reply.status_code, headers=reply.headers, **body)  # a client spoils what it was given

    def body(self, at: int = -1) -> Any:
        return json.loads(self.asked[at].content)


def client_of(*replies: Reply, **config: Any) -> tuple[Twicetold, Server]:
    server = Server(list(replies))
    http = httpx.Client(transport=httpx.MockTransport(server))
    return Twicetold("http://gw", model="m", **{"retries": AT_ONCE, **config}, http_client=http), server


def async_client_of(*replies: Reply, **config: Any) -> tuple[AsyncTwicetold, Server]:
    server = Server(list(replies))
    http = httpx.AsyncClient(transport=httpx.MockTransport(server))
    return AsyncTwicetold("http://gw", model="m", **{"retries": AT_ONCE, **config}, http_client=http), server


Ask = Callable[[], Any]
