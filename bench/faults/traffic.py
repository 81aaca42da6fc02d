"""Clients that know what they must be told: every question has one right answer, known before it is asked.

    chat    a question to the upstream, whole or streamed    the upstream's words, chosen by the question
    put     an answer of the app's own, up to some 20 kB     made from the question's number
    local   one of a few prompts to the local model          what the model said to it cold, at the very beginning

A book notes which questions were asked, and when the asker had the whole answer: from then on it is *told*.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from bench.http1 import Connection, Timed
from tests.upstream.answers import Answer

CHAT, ENTRIES = "/v1/chat/completions", "/v1/cache/entries"
PATIENCE_S = 300.0  # nobody is let wait for longer, whatever was killed, on a machine with much else to do
BROKEN = (OSError, EOFError, ValueError)  # a connection that ends in the middle: of a head, a piece, a length
WORDS = "cache block prefix token answer layer chain root tier store index scope naïve 你好 mémoire request key salt"

Kind = Literal["chat", "put", "local"]
Fate = Literal["told", "refused", "broken"]


@dataclass(slots=True)
class Book:
    """What was asked, in order, and when it was told. A number is the place of a question in it."""

    kinds: list[Kind] = field(default_factory=list)
    told_s: dict[int, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    sent: int = 0  # requests that the gateway of this life has seen to their end, as its ledger counts them
    fates: dict[str, int] = field(default_factory=dict)
    local: dict[int, str] = field(default_factory=dict)  # by number of the prompt: what the model says to it

    def new(self, kind: Kind) -> int:
        self.kinds.append(kind)
        return len(self.kinds) - 1

    def repeat(self, draws: Random) -> int | None:
        """Some question to the upstream that was told before; while a store is away it is answered anew, and alike."""
        number = draws.choice(list(self.told_s)) if self.told_s else None
        return number if number is not None and self.kinds[number] == "chat" else None

    def expected(self, number: int) -> str:
        """The only right answer."""
        if self.kinds[number] == "put":
            draws = Random(number)
            return " ".join(draws.choices(WORDS.split(), k=draws.choice((1, 10, 100, 3000))))
        return "".join(Answer({"messages": messages(number)}).tokens(0))


def messages(number: int) -> list[dict[str, str]]:
    topic = " ".join(Random(number).choices(WORDS.split(), k=8))
    return [{"role": "user", "content": f"Question {number}: what is to be said of {topic}?"}]


def prompt(number: int) -> list[dict[str, str]]:
    """Of the local model: six systems of some 150 tokens, and questions over them."""
    system = " ".join(Random(number % 6).choices(WORDS.split(), k=80))
    return [{"role": "system", "content": system}, {"role": "user", "content": f"Say more, number {number}."}]


def chat_body(number: int, *, stream: bool = False, tiers: Sequence[str] = ("exact",)) -> bytes:
    body = {"model": "m", "messages": messages(number), "stream": stream, "cache": {"tiers": tiers}}
    return json.dumps(body).encode()


def local_body(number: int, tiers: list[str], *, stream: bool = False) -> bytes:
    body = {"model": "demo", "messages": prompt(number), "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    return json.dumps({**body, "stream": stream, "cache": {"tiers": tiers}}).encode()


def put_body(number: int, answer: str) -> bytes:
    return json.dumps({"request": {"model": "m", "messages": messages(number)}, "answer": answer}).encode()


def text_of(timed: Timed) -> str | None:
    """The text of a complete answer; None when it is an error or was cut off."""
    if timed.status != 200:
        return None
    if not timed.body.startswith(b"data:"):
        return str(json.loads(timed.body)["choices"][0]["message"]["content"])
    events = [line[6:] for line in timed.body.split(b"\n") if line.startswith(b"data: ")]
    if not events or events[-1].strip() != b"[DONE]":
        return None
    chunks: list[dict[str, Any]] = [json.loads(event) for event in events[:-1]]
    if any("error" in chunk for chunk in chunks):
        return None
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


class Clients:
    """Askers at `url`, until they are stopped or what they ask is gone."""

    def __init__(self, url: str, book: Book, kinds: Iterable[Kind], seed: int, tiers: Sequence[str]) -> None:
        self._url = url
        self._book = book
        self._kinds = list(kinds)
        self._draws = Random(seed)
        self._tiers = tiers
        self._is_over = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as lanes:
            for kind in self._kinds:
                lanes.create_task(self._lane(kind))

    def stop(self) -> None:
        self._is_over = True

    async def _lane(self, kind: Kind) -> None:
        method, path = ("PUT", ENTRIES) if kind == "put" else ("POST", CHAT)
        while not self._is_over:
            try:
                async with Connection(self._url, path, method=method) as lane:
                    while not self._is_over:
                        await self._ask(lane, kind)
            except BROKEN:
                await asyncio.sleep(0.05)

    async def _ask(self, lane: Connection, kind: Kind) -> None:
        book, draws = self._book, self._draws
        if kind == "local":
            number, expected = (chosen := draws.choice(list(book.local))), book.local[chosen]
            body = local_body(number, ["kv"], stream=draws.random() < 0.5)
        else:
            again = book.repeat(draws) if kind == "chat" and draws.random() < 0.3 else None
            number = book.new(kind) if again is None else again
            expected = book.expected(number)
            body = put_body(number, expected) if kind == "put" else self._chat(number)
        fate = await self._fate(lane, kind, number, body, expected)
        book.fates[fate] = book.fates.get(fate, 0) + 1

    def _chat(self, number: int) -> bytes:
        return chat_body(number, stream=self._draws.random() < 0.5, tiers=self._tiers)

    async def _fate(self, lane: Connection, kind: Kind, number: int, body: bytes, expected: str) -> Fate:
        book = self._book
        try:
            async with asyncio.timeout(PATIENCE_S):
                timed = await lane.post(body)
        except TimeoutError:
            book.faults.append(f"{kind} {number} was never answered")
            raise EOFError from None
        except BROKEN:
            book.fates["broken"] = book.fates.get("broken", 0) + 1
            raise
        if kind == "put":
            is_told = timed.status == 200 and json.loads(timed.body)["kept"]
            book.sent += timed.status != 200
        else:
            text = text_of(timed)
            book.sent += 1
            is_told = text is not None
            if is_told and text != expected:
                book.faults.append(f"{kind} {number} was told {text!r:.80} instead of {expected!r:.80}")
        if is_told and kind != "local":
            book.told_s.setdefault(number, time.monotonic())
        return "told" if is_told else "refused"
