"""Clients that know what they must be told: every question has one right answer, known before it is asked.

    chat    a question to the upstream, whole or streamed    the upstream's words, chosen by the question
    put     an answer of the app's own, up to some 20 kB     made from the question's number
    local   one of a few prompts to the local model          what the model said to it cold, at the very beginning

Where a book `varies`, every fourth answer calls tools, every fourth reasons, every fourth has log probabilities. A book
notes which questions were asked, when the asker had the whole answer (from then on it is *told*), and what that said:
everything, but for names and times that are drawn for each response.
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

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("weather", "time")]
FLAVOURS = ("", "reasoning", "logprobs", "tools")  # of a book that varies, by number
NO_USAGE = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "prompt_tokens_details": {"cached_tokens": 0},
}
DRAWN = frozenset({"id", "object", "created", "choices", "usage"})  # of a response: its own, or read apart

Said = dict[str, Any]  # a whole reply
Kind = Literal["chat", "put", "local"]
Fate = Literal["told", "refused", "broken"]


@dataclass(slots=True)
class Book:
    """What was asked, in order, and when it was told. A number is the place of a question in it."""

    varies: bool = False
    kinds: list[Kind] = field(default_factory=list)
    told_s: dict[int, float] = field(default_factory=dict)
    said: dict[int, Said] = field(default_factory=dict)  # to whoever was told first, of what the upstream answers
    sure: set[int] = field(default_factory=set)  # put, and the gateway said that its store has it
    in_memory: int = 0  # put, and it said that its memory alone has it
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

    def flavour(self, number: int) -> str:
        return FLAVOURS[number % len(FLAVOURS)] if self.varies else ""

    def expected(self, number: int) -> str:
        """The text of the only right answer."""
        if self.kinds[number] == "put":
            draws = Random(number)
            return " ".join(draws.choices(WORDS.split(), k=draws.choice((1, 10, 100, 3000))))
        return "".join(Answer({"messages": messages(number)}).tokens(0))

    def reply(self, number: int) -> Said:
        """All of the only right answer."""
        flavour = self.flavour(number)
        if self.kinds[number] == "chat":
            return said_of_whole(Answer(request_of(number, flavour), flavour).completion())
        if flavour:
            return said_of_whole(self.response(number))
        message = {"role": "assistant", "content": self.expected(number)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return said_of_whole({"model": "m", "choices": [choice], "usage": NO_USAGE})

    def response(self, number: int) -> Said:
        """The chat completion that a put gives."""
        flavour = self.flavour(number)
        return Answer(request_of(number, flavour), flavour, self.expected(number)).completion()

    def chat(self, number: int, *, stream: bool = False, tiers: Sequence[str] = ("exact",)) -> bytes:
        return chat_body(number, stream=stream, tiers=tiers, flavour=self.flavour(number))

    def put(self, number: int) -> bytes:
        if not (flavour := self.flavour(number)):
            return put_body(number, self.expected(number))
        return json.dumps({"request": request_of(number, flavour), "response": self.response(number)}).encode()


def messages(number: int) -> list[dict[str, str]]:
    topic = " ".join(Random(number).choices(WORDS.split(), k=8))
    return [{"role": "user", "content": f"Question {number}: what is to be said of {topic}?"}]


def prompt(number: int) -> list[dict[str, str]]:
    """Of the local model: six systems of some 150 tokens, and questions over them."""
    system = " ".join(Random(number % 6).choices(WORDS.split(), k=80))
    return [{"role": "system", "content": system}, {"role": "user", "content": f"Say more, number {number}."}]


def request_of(number: int, flavour: str = "") -> dict[str, Any]:
    """The question; the test upstream reads from the model's name how it is to be answered."""
    if flavour == "logprobs":
        return {"model": "m", "messages": messages(number), "logprobs": True}
    if flavour == "tools":
        return {"model": "with:tools", "messages": messages(number), "tools": TOOLS}
    return {"model": f"with:{flavour}" if flavour else "m", "messages": messages(number)}


def chat_body(number: int, *, stream: bool = False, tiers: Sequence[str] = ("exact",), flavour: str = "") -> bytes:
    body = {**request_of(number, flavour), "stream": stream, "cache": {"tiers": tiers}}
    return json.dumps(body | ({"stream_options": {"include_usage": True}} if stream else {})).encode()


def local_body(number: int, tiers: list[str], *, stream: bool = False) -> bytes:
    body = {"model": "demo", "messages": prompt(number), "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    return json.dumps({**body, "stream": stream, "cache": {"tiers": tiers}}).encode()


def put_body(number: int, answer: str) -> bytes:
    return json.dumps({"request": request_of(number), "answer": answer}).encode()


def text_of(timed: Timed) -> str | None:
    """The text of a complete answer; None when it is an error or was cut off."""
    said = said_of(timed)
    return None if said is None else str(said["choices"][0]["message"].get("content", ""))


def said_of(timed: Timed) -> Said | None:
    """All that a complete answer says, whole or streamed; None when it is an error or was cut off."""
    if timed.status != 200:
        return None
    if not timed.body.startswith(b"data:"):
        return said_of_whole(json.loads(timed.body))
    events = [line[6:] for line in timed.body.split(b"\n") if line.startswith(b"data: ")]
    if not events or events[-1].strip() != b"[DONE]":
        return None
    chunks: list[dict[str, Any]] = [json.loads(event) for event in events[:-1]]
    return None if any("error" in chunk for chunk in chunks) else said_of_whole(_folded(chunks))


def said_of_whole(completion: Said) -> Said:
    """A completion without the names and times that are drawn for each response; what is null is not said."""
    kept = {name: value for name, value in completion.items() if name not in DRAWN}
    said: Said = _without_nulls({**kept, "choices": completion["choices"], "usage": completion.get("usage")})
    return said


def _folded(chunks: Iterable[Said]) -> Said:
    """The completion that chunks spell."""
    whole: Said = {}
    choices: dict[int, Said] = {}
    for chunk in chunks:
        whole |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], {"index": piece["index"], "message": {}})
            _extend(choice["message"], piece["delta"])
            for token in (piece.get("logprobs") or {}).get("content") or ():
                choice.setdefault("logprobs", {"content": []})["content"].append(token)
            choice["finish_reason"] = piece.get("finish_reason") or choice.get("finish_reason")
    return {**whole, "choices": [choices[index] for index in sorted(choices)]}


def _extend(message: Said, delta: Said) -> None:
    """Texts grow; a role, a name and a type are said once."""
    for name, value in delta.items():
        if name == "tool_calls":
            calls = message.setdefault(name, [])
            for call in value:
                calls += [{} for _ in range(call["index"] + 1 - len(calls))]
                _extend(calls[call["index"]], {key: part for key, part in call.items() if key != "index"})
        elif isinstance(value, dict):
            _extend(message.setdefault(name, {}), value)
        elif isinstance(value, str) and name not in ("role", "type"):
            message[name] = message.get(name, "") + value
        elif value is not None:
            message[name] = value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def unlike(said: Said, expected: Said) -> str:
    """Where two replies differ first, and how; empty when they say the same."""
    for name in sorted(said.keys() | expected.keys()):
        ours, theirs = said.get(name), expected.get(name)
        if ours != theirs:
            return (
                f"{name} {json.dumps(ours, ensure_ascii=False):.300}, not {json.dumps(theirs, ensure_ascii=False):.300}"
            )
    return ""


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
            number = draws.choice(list(book.local))
            body = local_body(number, ["kv"], stream=draws.random() < 0.5)
        else:
            again = book.repeat(draws) if kind == "chat" and draws.random() < 0.3 else None
            number = book.new(kind) if again is None else again
            body = book.put(number) if kind == "put" else self._chat(number)
        fate = await self._fate(lane, kind, number, body)
        book.fates[fate] = book.fates.get(fate, 0) + 1

    def _chat(self, number: int) -> bytes:
        return self._book.chat(number, stream=self._draws.random() < 0.5, tiers=self._tiers)

    async def _fate(self, lane: Connection, kind: Kind, number: int, body: bytes) -> Fate:
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
            is_told = self._is_kept(number, timed)
            book.sent += timed.status != 200
        else:
            said = said_of(timed)
            book.sent += 1
            is_told = said is not None
            if said is not None:
                self._compare(kind, number, said)
        if is_told and kind != "local":
            book.told_s.setdefault(number, time.monotonic())
        return "told" if is_told else "refused"

    def _is_kept(self, number: int, timed: Timed) -> bool:
        """Whether a put was taken; where, the book notes."""
        if timed.status != 200 or not (kept := json.loads(timed.body))["kept"]:
            return False
        if kept["reason"] == "complete":
            self._book.sure.add(number)
        else:
            self._book.in_memory += 1
        return True

    def _compare(self, kind: Kind, number: int, said: Said) -> None:
        """Note what was told first; whoever asks again is told the same."""
        book = self._book
        if kind == "local":
            text = said["choices"][0]["message"].get("content", "")
            wrong = "" if text == book.local[number] else f"{text!r:.80}, not {book.local[number]!r:.80}"
        else:
            wrong = unlike(said, book.reply(number)) or unlike(said, book.said.setdefault(number, said))
        if wrong:
            book.faults.append(f"{kind} {number} was told {wrong}")
