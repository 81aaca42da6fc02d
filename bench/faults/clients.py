"""What a client of each API asks, and what it makes of what comes back: a whole answer, a clear error, or neither."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from bench.http1 import Timed

WORDS = "cache block prefix token answer layer chain root tier store index scope naïve 你好 mémoire request key salt"
Kind = Literal["complete", "error", "bad"]
Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What one client was told."""

    kind: Kind
    detail: str  # the code of an error, what is bad about the rest


@dataclass(frozen=True, slots=True)
class Api:
    """One API: its path, its body, and how its answers are read."""

    path: str
    body: Callable[[str], Fields]
    whole: Callable[[Fields], str]
    piece: Callable[[Fields], str]  # the text of one event of a stream
    is_end: Callable[[bytes], bool]  # of the data of the last event


def question(number: int) -> str:
    """The question of this number."""
    return f"Question {number}: what is to be said of {' '.join(Random(number).choices(WORDS.split(), k=8))}?"


def _chat_piece(event: Fields) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


def _chat_whole(answer: Fields) -> str:
    assert answer["choices"][0]["finish_reason"] is not None
    return str(answer["choices"][0]["message"]["content"])


def _messages_piece(event: Fields) -> str:
    return str(event["delta"].get("text", "")) if event.get("type") == "content_block_delta" else ""


def _responses_whole(answer: Fields) -> str:
    parts = [part for item in answer["output"] for part in item.get("content", ())]
    return "".join(str(part.get("text", "")) for part in parts)


def _responses_piece(event: Fields) -> str:
    return str(event["delta"]) if event.get("type") == "response.output_text.delta" else ""


APIS = {
    "chat": Api(
        "/v1/chat/completions",
        lambda text: {"model": "m", "messages": [{"role": "user", "content": text}]},
        _chat_whole,
        _chat_piece,
        lambda data: data == b"[DONE]",
    ),
    "messages": Api(
        "/v1/messages",
        lambda text: {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": text}]},
        lambda answer: "".join(str(part.get("text", "")) for part in answer["content"]),
        _messages_piece,
        lambda data: b'"message_stop"' in data,
    ),
    "responses": Api(
        "/v1/responses",
        lambda text: {"model": "m", "input": text, "store": False},  # nobody goes on from it
        _responses_whole,
        _responses_piece,
        lambda data: b'"response.completed"' in data,
    ),
}


def judge(api: Api, timed: Timed, expected: str, *, is_stream: bool) -> Told:
    """What it was told. A complete answer has the expected words, all of them."""
    try:
        if timed.status != 200:
            return _error(json.loads(timed.body), timed.status)
        if not is_stream:
            return _compare(api.whole(json.loads(timed.body)), expected)
        return _stream(api, timed.body, expected)
    except (ValueError, KeyError, IndexError, TypeError, AssertionError) as error:
        return Told("bad", f"{timed.status} {type(error).__name__}: {error}: {timed.body[-200:]!r}")


def _stream(api: Api, body: bytes, expected: str) -> Told:
    datas = list(_datas(body))
    if not datas:
        return Told("bad", "a stream without an event")
    events = [json.loads(data) for data in datas if data != b"[DONE]"]
    failed = next((event for event in events if _is_error(event)), None)
    if failed is not None:
        return _error(failed, 200)
    if not api.is_end(datas[-1]):
        return Told("bad", f"a stream without an end: {datas[-1][-200:]!r}")
    return _compare("".join(api.piece(event) for event in events), expected)


def _datas(body: bytes) -> Iterator[bytes]:
    return (line[6:].strip() for line in body.split(b"\n") if line.startswith(b"data: "))


def _is_error(event: Fields) -> bool:
    return "error" in event or event.get("type") in ("error", "response.failed")


def _error(body: Fields, status: int) -> Told:
    """A clear error names itself, in words and by a code."""
    error = body.get("error") or (body.get("response") or {}).get("error") or body
    code = error.get("code") or error.get("type")
    if not error.get("message") or not code or code == "internal":
        return Told("bad", f"{status}: an error that says nothing: {json.dumps(body)[:200]}")
    return Told("error", f"{status} {code}")


def _compare(text: str, expected: str) -> Told:
    return Told("complete", "") if text == expected else Told("bad", f"{text[:100]!r} is not {expected[:100]!r}")
