"""Vectors that have no room in a replica's memory, searched inside the shared Redis where it can.

    vector sets     Redis 8: one set for each partition         <prefix>:near:<embedder>:<partition>
    query engine    Redis 8, Redis Stack: one hash a vector     <prefix>:near:<embedder>:<partition>:<entry>

Which it has is found out by asking, once. FAISS in memory comes first: what `cache.index_mb` has no room for is written
here instead of being let go, by whichever replicas have no room for it (twice is as once), and a search of a partition
that was not whole in memory looks here, too. A similarity from here chooses whom to look at; the one that decides is
computed from the words of the stored question. Written behind, in batches; what cannot be written is counted.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from embeddings.base import Vector
from embeddings.index import Candidate
from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Link, Refused, Value
from gateway.metrics import Sample

log = logging.getLogger(__name__)

TTL_S = 30 * 86400  # of a partition nobody writes to or searches
MOST_WAITING = 20_000
AT_ONCE = 8  # an insertion takes the server a millisecond or more
PAUSE_S = 1.0

Command = list[Value]


class Dialect(Protocol):
    """How a server is told: commands and replies, nothing is sent here."""

    @property
    def name(self) -> str: ...

    def setup(self) -> list[Command]: ...

    def keep(self, partition: bytes, id: str, raw: bytes) -> list[Command]: ...

    def drop(self, partition: bytes, id: str) -> list[Command]: ...

    def search(self, partition: bytes, raw: bytes, k: int) -> Command: ...

    def found(self, reply: Any) -> list[Candidate]: ...


class VectorSets:
    """VADD, VREM, VSIM. Numbers take a byte each; CAS looks for neighbours beside the one thread of the server."""

    name = "vector sets"

    def setup(self) -> list[Command]:
        return []

    def keep(self, partition: bytes, id: str, raw: bytes) -> list[Command]:
        return [["VADD", partition, "FP32", raw, id, "CAS", "Q8"], ["EXPIRE", partition, TTL_S]]

    def drop(self, partition: bytes, id: str) -> list[Command]:
        return [["VREM", partition, id]]

    def search(self, partition: bytes, raw: bytes, k: int) -> Command:
        return ["VSIM", partition, "FP32", raw, "WITHSCORES", "COUNT", k]

    def found(self, reply: Mapping[bytes, float] | None) -> list[Candidate]:
        """A score is (1 + cosine) / 2."""
        return [Candidate(id.decode(), 2 * float(score) - 1) for id, score in (reply or {}).items()]


@dataclass(frozen=True)
class QueryEngine:
    """FT.CREATE, FT.SEARCH: one index for an embedder, filtered by partition."""

    embedder: bytes
    dim: int
    name: str = "query engine"

    def setup(self) -> list[Command]:
        prefix: Command = ["ON", "HASH", "PREFIX", 1, self.embedder + b":"]
        field: Command = ["v", "VECTOR", "HNSW", 6, "TYPE", "FLOAT32", "DIM", self.dim, "DISTANCE_METRIC", "COSINE"]
        return [["FT.CREATE", self.embedder, *prefix, "SCHEMA", "p", "TAG", *field]]

    def keep(self, partition: bytes, id: str, raw: bytes) -> list[Command]:
        row = partition + b":" + id.encode()
        return [["HSET", row, "p", _tag(partition), "i", id, "v", raw], ["EXPIRE", row, TTL_S]]

    def drop(self, partition: bytes, id: str) -> list[Command]:
        return [["UNLINK", partition + b":" + id.encode()]]

    def search(self, partition: bytes, raw: bytes, k: int) -> Command:
        query = f"(@p:{{{_tag(partition)}}})=>[KNN {k} @v $q AS d]"
        words: Command = ["PARAMS", 2, "q", raw, "SORTBY", "d", "RETURN", 2, "i", "d", "LIMIT", 0, k, "DIALECT", 2]
        return ["FT.SEARCH", self.embedder, query, *words]

    def found(self, reply: Mapping[bytes, Any] | None) -> list[Candidate]:
        """A distance is 1 - cosine."""
        rows = [row[b"extra_attributes"] for row in (reply or {}).get(b"results", ())]
        return [Candidate(row[b"i"].decode(), 1 - float(row[b"d"])) for row in rows]


def _tag(partition: bytes) -> str:
    return partition.rpartition(b":")[2].decode()


class RedisVectors:
    """What the replicas of a deployment have no room for. Belongs to one event loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._embedder = b""
        self._dim = 0
        self._dialect: Dialect | None = None
        self._cannot = bool(
            link.seal.name
        )  # nobody can search there: the server has no vector search, or all is sealed
        self._partitions: set[bytes] = set()  # some of whose rows may lie there
        self._waiting: deque[tuple[bytes, str, bytes | None]] = deque()
        self._has_news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._num_on_their_way = 0
        self.num_kept = 0
        self.num_dropped = 0

    @property
    def state(self) -> str:
        """In words."""
        if self._link.seal.name:
            return "let go, what is kept in Redis is sealed and a sealed vector cannot be searched"
        if self._cannot:
            return "let go, this Redis has no vector search"
        return "not known yet" if self._dialect is None else f"searched in Redis ({self._dialect.name})"

    @property
    def num_waiting(self) -> int:
        """Writes still to come, those on their way included."""
        return len(self._waiting) + self._num_on_their_way

    def open(self, fingerprint: str, dim: int) -> None:
        """Take vectors of this embedder from now on."""
        digest = blake2b(f"{fingerprint}/{dim}".encode(), digest_size=4).hexdigest()
        self._embedder, self._dim = self._link.name("near", digest), dim
        self._task = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Stop. What waits is let go: the next start will want to write it again."""
        while self._task is not None and not self._task.done():  # redis-py may lose a cancellation
            self._task.cancel()
            await asyncio.wait([self._task], timeout=0.1)

    def keep(self, partition: bytes, id: str, vector: Vector) -> bool:
        """Write a vector soon; False where that is of no use."""
        if self._cannot:
            return False
        self._partitions.add(partition)
        self._put(partition, id, np.ascontiguousarray(vector, "<f4").tobytes())
        return True

    def drop(self, partition: bytes, id: str) -> None:
        """Forget a vector soon."""
        if self.has(partition):
            self._put(partition, id, None)

    def has(self, partition: bytes) -> bool:
        """Whether some of the partition may lie there."""
        return not self._cannot and partition in self._partitions

    async def search(self, partition: bytes, vector: Vector, k: int) -> list[Candidate]:
        """The up to `k` nearest that lie there, nearest first. Raises `CacheError`."""
        dialect = await self._known()
        if dialect is None:
            return []
        raw = np.ascontiguousarray(vector, "<f4").tobytes()
        return dialect.found(await self._link.call(*dialect.search(self._name(partition), raw, k)))

    def samples(self) -> Sequence[Sample]:
        """What lies there, for Prometheus."""
        help_ = "Vectors written to the shared Redis for want of memory here"
        lost = "Vectors that had no room here, and could not be written there"
        return (
            Sample("twicetold_index_passed_on", help_, self.num_kept, (), True),
            Sample("twicetold_index_passed_on_lost", lost, self.num_dropped, (), True),
        )

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _known(self) -> Dialect | None:
        """What the server understands. Raises `CacheError` while it cannot be asked."""
        if self._dialect is None and not self._cannot:
            found: Dialect | None = None
            if await self._understands("VCARD", self._embedder):
                found = VectorSets()
            elif await self._understands("FT._LIST"):
                found = QueryEngine(self._embedder, self._dim)
                for command in found.setup():
                    with suppress(Refused):  # it is there already
                        await self._link.call(*command)
            self._dialect, self._cannot = found, found is None
            log.info("vectors that memory has no room for: %s", self.state)
        return self._dialect

    async def _understands(self, *command: Value) -> bool:
        try:
            await self._link.call(*command)
        except Refused:
            return False
        return True

    def _name(self, partition: bytes) -> bytes:
        return self._embedder + b":" + self._link.names.mac(b"partition", partition).hex().encode()

    def _put(self, partition: bytes, id: str, raw: bytes | None) -> None:
        self._waiting.append((partition, id, raw))
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.num_dropped += 1
        self._has_news.set()

    async def _write(self) -> None:
        with suppress(CacheError):
            await self._known()
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while self._waiting:
                began_s = time.monotonic()
                try:
                    await self._flush()
                except CacheError:
                    await asyncio.sleep(PAUSE_S)
                await asyncio.sleep(time.monotonic() - began_s)  # as long again: the server has others to serve

    async def _flush(self) -> None:
        dialect = await self._known()
        if dialect is None:
            self._waiting.clear()
            return
        some = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
        commands: list[Command] = []
        for partition, id, raw in some:
            name = self._name(partition)
            commands += dialect.drop(name, id) if raw is None else dialect.keep(name, id, raw)
        self._num_on_their_way = len(some)
        try:
            replies = await self._link.together(commands)
        except CacheError:
            self._waiting.extendleft(reversed(some))
            raise
        finally:
            self._num_on_their_way = 0
        refused = sum(isinstance(reply, CacheError) for reply in replies)
        self.num_dropped += refused
        self.num_kept += max(0, sum(raw is not None for _, _, raw in some) - refused)
