"""Listening to an engine's KV events (vLLM: `--kv-events-config`) over ZeroMQ.

    PUB -> SUB         [topic, number, batch]: 8 bytes big-endian and msgpack; numbers follow each other
    ROUTER <-> DEALER  [number to begin with] -> [number, batch] ..., then [-1, nothing]: what was missed and is kept

Optional: needs the extra `kv-events`. Reports of cached tokens correct the router without it; with it the router learns
of restarts, flushes and the engine's room at once, and where prompts are keyed by token ids, of every block.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator

import zmq
import zmq.asyncio

from backends.routing.kv_blocks import Batch, EngineBlocks, read_batch

REPLAY_S = 2.0  # between two messages of a replay
MOST_WAITING = 100_000
MOST_BYTES = 64 * 2**20  # of a message

log = logging.getLogger(__name__)


class KVEvents:
    """Follows one engine as long as `follow` runs. ZeroMQ connects, and connects again, by itself."""

    def __init__(self, blocks: EngineBlocks, endpoint: str, *, replay: str = "", topic: str = "") -> None:
        self._blocks, self._endpoint, self._replay, self._topic = blocks, endpoint, replay, topic
        self._next = 0
        self._last_at = 0.0
        self.missed = 0  # batches that nobody could repeat
        self.broken = 0  # messages that were none

    async def follow(self) -> None:
        """Pass on what the engine says, until cancelled."""
        with zmq.asyncio.Context() as context, context.socket(zmq.SUB) as live:
            live.set(zmq.LINGER, 0)
            live.set(zmq.RCVHWM, MOST_WAITING)
            live.set(zmq.MAXMSGSIZE, MOST_BYTES)
            live.subscribe(self._topic)
            live.connect(self._endpoint)
            await self._catch_up(context, None)
            while True:
                await self._take(context, await live.recv_multipart())

    async def _take(self, context: zmq.asyncio.Context, frames: list[bytes]) -> None:
        numbered = self._read(frames[1:])
        if numbered is None:
            return
        number, batch = numbered
        if number < self._next:
            if batch.at <= self._last_at:
                return  # a replay has told it already
            log.info("%s began anew: what it held is forgotten", self._blocks.replica)
            self._blocks.clear()
            self._next = 0
        if number > self._next:
            await self._catch_up(context, number)
            self.missed += max(0, number - self._next)
        if number >= self._next:
            self._apply(number, batch)

    async def _catch_up(self, context: zmq.asyncio.Context, until: int | None) -> None:
        """Take in what was missed before `until`, or all that is kept."""
        async for number, batch in self._replayed(context):
            if until is not None and number >= until:
                return
            if number >= self._next:
                self.missed += number - self._next
                self._apply(number, batch)

    async def _replayed(self, context: zmq.asyncio.Context) -> AsyncGenerator[tuple[int, Batch], None]:
        if not self._replay:
            return
        with context.socket(zmq.DEALER) as socket:
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.MAXMSGSIZE, MOST_BYTES)
            socket.connect(self._replay)
            await socket.send_multipart([b"", self._next.to_bytes(8, "big")])
            while True:
                try:
                    frames = await asyncio.wait_for(socket.recv_multipart(), REPLAY_S)
                except TimeoutError:
                    return
                if not frames[-1]:
                    return
                numbered = self._read(frames[1:])
                if numbered is not None:
                    yield numbered

    def _apply(self, number: int, batch: Batch) -> None:
        self._blocks.apply(batch)
        self._next, self._last_at = number + 1, batch.at

    def _read(self, frames: list[bytes]) -> tuple[int, Batch] | None:
        try:
            number, payload = frames
            return int.from_bytes(number, "big"), read_batch(payload)
        except ValueError as error:
            self.broken += 1
            if self.broken == 1:
                log.warning("KV events of %s: %s", self._blocks.replica, error)
            return None
