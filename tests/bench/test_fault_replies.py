"""What the crash test compares: whole replies, and from when on an answer has to be there."""

import json
from typing import Any

import pytest

from bench.faults.crash import late_of
from bench.faults.traffic import FLAVOURS, Book, request_of, said_of, said_of_whole, unlike
from bench.http1 import Timed
from tests.upstream.answers import Answer

NUMBERS = {flavour: number for number, flavour in enumerate(FLAVOURS)}


def told(body: bytes, status: int = 200) -> Timed:
    return Timed(status, {}, body, 0.0, 0.0)


def streamed(flavour: str) -> list[dict[str, Any]]:
    asked = {**request_of(NUMBERS[flavour], flavour), "stream_options": {"include_usage": True}}
    return Answer(asked, flavour).chunks()


def events(chunks: list[dict[str, Any]], end: str = "[DONE]") -> bytes:
    return "".join(f"data: {said}\n\n" for said in [*map(json.dumps, chunks), end]).encode()


def book_of(kind: str) -> Book:
    return Book(varies=True, kinds=["put" if kind == "put" else "chat" for _ in FLAVOURS])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_stream_says_what_the_whole_answer_says_whatever_its_id(flavour: str) -> None:
    chunks = [{**chunk, "id": "another", "created": 7} for chunk in streamed(flavour)]
    said = said_of(told(events(chunks)))

    assert said is not None
    assert unlike(said, book_of("chat").reply(NUMBERS[flavour])) == ""
    assert said["choices"][0]["finish_reason"] == ("tool_calls" if flavour == "tools" else "stop")


@pytest.mark.parametrize("kind", ["chat", "put"])
def test_every_part_of_a_reply_counts(kind: str) -> None:
    reply = book_of(kind).reply(NUMBERS["tools"])
    choice = reply["choices"][0]
    calls = choice["message"]["tool_calls"]
    others = [
        {**reply, "usage": {**reply["usage"], "completion_tokens": 999}},
        {**reply, "system_fingerprint": "fp_other"},
        {**reply, "choices": [{**choice, "finish_reason": "stop"}]},
        {**reply, "choices": [{**choice, "message": {**choice["message"], "tool_calls": calls[:1]}}]},
        {name: value for name, value in reply.items() if name != "usage"},
    ]

    assert [unlike(other, reply) == "" for other in others] == [False] * 5
    assert unlike(said_of_whole({**reply, "id": "drawn", "created": 9}), reply) == ""


@pytest.mark.parametrize(
    "reply",
    [told(events(streamed("")[:3], "{}")), told(events([{"error": {}}])), told(b'{"error": {}}', 503)],
    ids=["cut off", "an error in the stream", "an error"],
)
def test_what_is_no_whole_answer_says_nothing(reply: Timed) -> None:
    assert said_of(reply) is None


def test_a_put_that_the_store_has_is_never_too_late() -> None:
    told_s = {0: 1.0, 1: 9.9, 2: 9.9}  # of them 1 and 2 in the last moment, and 2 with the store's word

    assert late_of(told_s, {2}, since_s=9.5) == [1]


def test_a_book_that_does_not_vary_has_texts_alone() -> None:
    book = Book(kinds=["chat", "put", "chat", "put"])

    assert {book.flavour(number) for number in range(4)} == {""}
    assert all(book.reply(number)["choices"][0]["message"]["content"] == book.expected(number) for number in range(4))
