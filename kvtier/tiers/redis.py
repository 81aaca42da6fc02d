"""Segments as values of a Redis, shared by every gateway that uses it: one key, one value, head and payload together.

    twicetold:<secret>:kv:<model>:<key>     expires when nobody has used it for `ttl_s`

Redis can only be asked for names. A prompt knows the keys of its full blocks, so a segment is found when the prompt
reaches its last full block; one that diverges inside a segment is not (the disk finds those). All blocks are asked
about in one round trip, and the values are fetched from the head of the chain in windows of bounded size. In a cluster
that is one to every node that has some of them; the keys of a chain have nothing in common, so they spread evenly.

Timeouts are short and there are no retries: while the server is away, a breaker answers in its place. Takes Redis 6.2
(GETEX) or what speaks like it.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import numpy as np
import redis

from kvtier.tiers.base import SEGMENT_BLOCKS, Found, Restored, Rows, Segment, TierError, Wanted
from kvtier.tiers.breaker import Breaker
from kvtier.tiers.codec import NotFinite, payload_bytes
from kvtier.tiers.redis_nodes import AWAY, Nodes
from kvtier.tiers.segment import ALIGN, MOST_HEAD_BYTES, NOBODY, BadSegment, SegmentForm, is_plain

log = logging.getLogger(__name__)

PREFIX = "twicetold"
TIMEOUT_S = 0.25
WRITE_TIMEOUT_S = 2.0  # nobody waits for a write
TTL_S = 7 * 86400
WINDOW_BYTES = 16 << 20
KNOWN_KEYS = 100_000
KNOWN_FOR_S = 600.0  # how long a key is believed to be there without asking
SCAN_COUNT = 1000
ERASE_TOGETHER = 100
PLAIN_BYTES = 12  # the first of a segment, that say of which version it is


class RedisTier:
    """The Redis at `url`; its memory limit and eviction policy are its own."""

    name = "redis"
    is_remote = True

    def __init__(self, url: str, form: SegmentForm, *, ttl_s: int = TTL_S, window_bytes: int = WINDOW_BYTES) -> None:
        self._form = form
        self._ttl_s = ttl_s
        self._window_bytes = window_bytes
        self._prefix = f"{PREFIX}:{form.namespace}:kv:{form.model}:".encode()
        self._reads = Nodes(url, TIMEOUT_S)
        self._writes = Nodes(url, WRITE_TIMEOUT_S)
        self._breaker = Breaker()
        self._fetcher = ThreadPoolExecutor(1, "kv-redis-read")
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, float] = OrderedDict()  # keys and until when they are believed to be there
        self._counts = {"writes": 0, "write_bytes": 0, "refused": 0, "errors": 0, "bad": 0, "evictions": 0}
        self._is_closed = False
        self._sweeper: threading.Thread | None = None
        if form.seal is not None:
            self._sweeper = threading.Thread(target=self._drop_plain, name="kv-redis-sweep", daemon=True)
            self._sweeper.start()

    def find(self, wanted: Wanted) -> Sequence[Found]:
        """The run of segments whose names the prompt reaches; asked in one round trip."""
        size = wanted.block_tokens
        blocks = range(wanted.first // size, min(wanted.stop // size, len(wanted.keys)))
        if not blocks:
            return []
        with self._asking():
            names = [self._name(wanted.keys[block]) for block in blocks]
            is_here = dict(zip(blocks, self._reads.each(names, lambda pipe, name: pipe.exists(name)), strict=True))
        run: list[Found] = []
        for first in range(blocks.start, blocks.stop, SEGMENT_BLOCKS):
            group = range(first, min(first + SEGMENT_BLOCKS, blocks.stop))
            last = max((block for block in group if is_here[block]), default=None)
            if last is None or (last + 1) * size <= wanted.start:
                break
            num_tokens = (last + 1 - first) * size
            num_bytes = ALIGN + payload_bytes(self._form.geometry, self._form.codec, num_tokens)
            run.append(Found(wanted.keys[last], first * size, (last + 1) * size, num_bytes))
            if num_tokens < wanted.segment_tokens:
                break
        return run

    def load(self, wanted: Wanted, run: Sequence[Found]) -> Iterator[Restored]:
        """Fetch a run window by window, and verify one while the next is on its way."""
        fetches = (self._fetcher.submit(self._fetch, window) for window in list(_windows(run, self._window_bytes)))
        ahead = next(fetches, None)
        while ahead is not None:
            fetched = ahead.result()
            ahead = next(fetches, None)
            for found, value in fetched:
                restored = self._verified(wanted, found, value)
                if restored is None:
                    return
                yield restored

    def holds(self, segment: Segment) -> bool:
        """Whether the segment was here not long ago."""
        with self._lock:
            return self._known.get(segment.key, 0.0) > time.monotonic()

    def save(self, segment: Segment, rows: Rows) -> bool:
        """Write a segment under the key of its last full block; False when it has none."""
        asked_key = segment.key
        if len(segment.packed) // 4 % self._form.geometry.block_tokens:
            segment = _without_tail(segment, self._form.geometry.block_tokens)
            if not segment.keys:
                self._count(refused=1)
                return False
            rows = _first_rows(rows, self._form, segment.num_tokens)
        name = self._name(segment.key)
        with self._asking():
            is_here = any(self._writes.each([name], lambda pipe, name: pipe.expire(name, self._ttl_s)))
        if is_here:  # another gateway wrote it
            self._know(asked_key)
            return True
        try:
            head, payload = self._form.write(segment, rows)
        except NotFinite:
            self._count(refused=1)
            return False
        value = b"".join((head, payload.data))
        with self._asking():
            self._writes.each([name], lambda pipe, name: pipe.set(name, value, ex=self._ttl_s))
        self._know(asked_key)
        self._count(writes=1, write_bytes=len(value))
        return True

    def clear(self) -> None:
        """Forget every segment of this model, whoever wrote it."""
        with self._lock:
            self._known.clear()
        with self._asking():
            for server in self._writes.every():
                names = server.scan_iter(self._prefix + b"*", count=SCAN_COUNT)
                for some in _chunks(names, SCAN_COUNT):
                    self._writes.each(some, lambda pipe, name: pipe.unlink(name))

    def erase(self, owner: str) -> int:
        """Delete the segments under a mark, of whatever model: every head is read, nothing else tells whose it is."""
        with self._lock:
            self._known.clear()
        pattern, count = f"{PREFIX}:{self._form.namespace}:kv:*".encode(), 0
        with self._asking():
            for server in self._writes.every():
                for some in _chunks(server.scan_iter(pattern, count=SCAN_COUNT), ERASE_TOGETHER):
                    heads = self._heads(some)
                    doomed = [name for name, head in heads.items() if self._owner(head) in (owner, NOBODY)]
                    count += sum(self._writes.each(doomed, lambda pipe, name: pipe.unlink(name))) if doomed else 0
        return count

    def _heads(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """The whole heads of segments, of whatever model; those that are long are asked for a second time."""
        starts = self._writes.each(names, lambda pipe, name: pipe.getrange(name, 0, ALIGN - 1))
        heads: dict[bytes, bytes] = dict(zip(names, starts, strict=True))
        sizes = {name: self._form.head_bytes(head) for name, head in heads.items()}
        long = [name for name, size in sizes.items() if ALIGN < size <= MOST_HEAD_BYTES]
        if long:
            rest = self._writes.each(long, lambda pipe, name: pipe.getrange(name, ALIGN, sizes[name] - 1))
            heads |= {name: heads[name] + more for name, more in zip(long, rest, strict=True)}
        return heads

    def _drop_plain(self) -> None:
        """Delete what was written before there was a key, of whatever model: nobody would read it again."""
        pattern = f"{PREFIX}:{self._form.namespace}:kv:*".encode()
        try:
            with self._asking():
                for server in self._writes.every():
                    for some in _chunks(server.scan_iter(pattern, count=SCAN_COUNT), SCAN_COUNT):
                        if self._is_closed:
                            return
                        heads = self._writes.each(some, lambda pipe, name: pipe.getrange(name, 0, PLAIN_BYTES - 1))
                        plain = [name for name, head in zip(some, heads, strict=True) if is_plain(head)]
                        if plain:
                            self._writes.each(plain, lambda pipe, name: pipe.unlink(name))
                            log.info("%d segments in redis were not sealed and are deleted", len(plain))
        except TierError as error:
            log.warning("segments in redis that are not sealed may be left until they expire: %s", error)

    def _owner(self, head: bytes) -> str | None:
        """Whose the segment of this head is; None for what is none of ours."""
        try:
            return self._form.read_owner(head)
        except BadSegment:
            return None

    def snapshot(self) -> dict[str, int]:
        """Counters; what is resident only the server knows."""
        with self._lock:
            return {**self._counts, "is_away": int(self._breaker.is_open)}

    def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.join()
        self._fetcher.shutdown(wait=False, cancel_futures=True)
        self._reads.close()
        self._writes.close()

    def _name(self, key: bytes) -> bytes:
        return self._prefix + key.hex().encode()

    def _fetch(self, window: Sequence[Found]) -> list[tuple[Found, bytes | None]]:
        names = [self._name(found.key) for found in window]
        with self._asking():
            values = self._reads.each(names, lambda pipe, name: pipe.getex(name, ex=self._ttl_s))  # used now
        return list(zip(window, values, strict=True))

    def _verified(self, wanted: Wanted, found: Found, value: bytes | None) -> Restored | None:
        """The rows in a value; None when it was evicted, or is not what its name says and is deleted."""
        if value is None:
            self._unknow(found.key)
            return None
        try:
            data = memoryview(value)
            head = self._form.read_head(data)
            if head.num_bytes != len(data):
                raise BadSegment("it is cut off")

            def read(piece: memoryview, at: int) -> None:
                piece[:] = data[at : at + len(piece)]

            restored = self._form.restore(head, wanted, found, self.name, read)
        except BadSegment:
            self._unknow(found.key)
            self._count(bad=1)
            with self._asking():
                self._reads.each([self._name(found.key)], lambda pipe, name: pipe.unlink(name))
            return None
        self._know(found.key)
        return restored

    def _know(self, key: bytes) -> None:
        with self._lock:
            self._known[key] = time.monotonic() + min(KNOWN_FOR_S, self._ttl_s / 2)
            self._known.move_to_end(key)
            if len(self._known) > KNOWN_KEYS:
                self._known.popitem(last=False)

    def _unknow(self, key: bytes) -> None:
        with self._lock:
            self._known.pop(key, None)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Around every word with the server. Raises `TierError`."""
        if self._breaker.is_open:
            raise TierError("redis is away")
        try:
            yield
        except (*AWAY, OSError) as error:
            self._breaker.fail()
            self._count(errors=1)
            raise TierError(f"redis is away: {type(error).__name__}") from error
        except redis.RedisError as error:  # it is there, and refuses: no memory, no permission
            self._count(errors=1)
            raise TierError(f"redis refused: {error}") from error
        self._breaker.succeed()

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, number in more.items():
                self._counts[name] += number


def _chunks(names: Iterator[bytes], most: int) -> Iterator[list[bytes]]:
    while some := list(islice(names, most)):
        yield some


def _windows(run: Sequence[Found], window_bytes: int) -> Iterator[list[Found]]:
    window: list[Found] = []
    num_bytes = 0
    for found in run:
        if window and num_bytes + found.num_bytes > window_bytes:
            yield window
            window, num_bytes = [], 0
        window.append(found)
        num_bytes += found.num_bytes
    if window:
        yield window


def _without_tail(segment: Segment, block_tokens: int) -> Segment:
    """The full blocks of a segment."""
    num_full = segment.num_tokens // block_tokens
    return replace(segment, keys=segment.keys[:num_full], packed=segment.packed[: num_full * block_tokens * 4])


def _first_rows(rows: Rows, form: SegmentForm, num_tokens: int) -> Rows:
    layers, two, heads, _, dim = form.geometry.block_shape
    item = form.geometry.bytes_per_token // (layers * two * heads * dim)
    by_token = rows.reshape(layers * two * heads, -1, dim * item)
    return np.ascontiguousarray(by_token[:, :num_tokens]).reshape(-1)
