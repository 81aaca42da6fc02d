"""Hundreds of streaming clients of one gateway, until they are told to go; and how many streams they had open."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bench.faults.clients import question
from bench.faults.reading import How, Streams, read_stream

CHAT = "/v1/chat/completions"
LOCAL, SLOW, LEAVING, REPEATING = 0.1, 0.15, 0.15, 0.3  # of clients, of clients, of requests, of requests
PAUSE_S = (0.0, 2.0)  # between two requests of a client
START_S = 20.0  # they come one by one
FILLING_S = 30.0  # after a rest, until as many ask as will
COUNT_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Count:
    """Streams that were open at one moment under load."""

    at_s: float
    open: int
    slow: int  # of them, read slowly


@dataclass
class Crowd:
    """All clients, and what they have seen."""

    url: str
    rng: Random
    asked: int = 0
    out: int = 0
    sent: int = 0
    slowly: int = 0  # streams that were read slowly to their end
    left_within: int = 0  # before they had the whole answer
    seen: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    _streams: Streams = field(default_factory=Streams)
    _may_ask: asyncio.Event = field(default_factory=asyncio.Event)
    _asks_since_s: float = 0.0  # time.monotonic()
    _has_ended: bool = False

    async def run(self, count: int) -> None:
        """So many clients, until `end`."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._client(number, Random(self.rng.random())))

    async def count(self, began_s: float) -> None:
        """Count open streams for ever; not at rest, nor while they begin again."""
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            now_s = time.monotonic()
            if self._may_ask.is_set() and not self._has_ended and now_s - self._asks_since_s > FILLING_S:
                self.counts.append(Count(now_s - began_s, self._streams.now, self._streams.slow))

    def ask(self) -> None:
        """Begin, or go on."""
        self._asks_since_s = time.monotonic()
        self._may_ask.set()

    def rest(self) -> None:
        """Ask nothing more for now; what is under way goes on."""
        self._may_ask.clear()

    def end(self) -> None:
        """Everybody goes when the answer under way is over."""
        self._has_ended = True
        self._may_ask.set()

    async def _client(self, number: int, rng: Random) -> None:
        is_local, is_slow = rng.random() < LOCAL, rng.random() < SLOW
        await asyncio.sleep(rng.uniform(0, START_S))
        while True:
            await self._may_ask.wait()
            if self._has_ended:
                return
            leave_after_s = rng.uniform(0.0, 20.0) if rng.random() < LEAVING else None
            pause_s = rng.uniform(0.05, 0.3) if is_slow else 0.0
            self.out += 1
            self.sent += 1
            try:
                body = self._body(is_local=is_local)
                how = await read_stream(
                    self.url, CHAT, body, pause_s=pause_s, leave_after_s=leave_after_s, streams=self._streams
                )
            finally:
                self.out -= 1
            self._note(number, how, is_slow=is_slow)
            await asyncio.sleep(rng.uniform(*PAUSE_S))

    def _note(self, number: int, how: How, *, is_slow: bool) -> None:
        self.seen[how.kind] += 1
        self.slowly += is_slow and how.kind == "complete"
        self.left_within += how.kind == "left" and not how.has_all
        if how.kind == "bad":
            self.bad.append(f"client {number}: {how.detail}")

    def _body(self, *, is_local: bool) -> bytes:
        """A question, mostly a new one."""
        if self.asked and self.rng.random() < REPEATING:
            number = self.rng.randrange(max(0, self.asked - 2000), self.asked)
        else:
            number, self.asked = self.asked, self.asked + 1
        request: dict[str, Any] = {"messages": [{"role": "user", "content": question(number)}], "stream": True}
        request |= {"model": "demo", "max_tokens": 16} if is_local else {"model": "m"}
        return json.dumps(request).encode()
