"""What a seal costs: an answer read from disk and put there, one in Redis, and kept prefixes brought back from disk.

Two stores lie side by side, one sealed and one in plain, and take turns; each figure is the median of its turns.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from statistics import median

import numpy as np

from backends.chat import Choice, Completion, Usage
from bench.redis_server import redis_server
from bench.rows import Row, Scale
from gateway.answers.base import Entry
from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.seal import NO_SEAL, Seal
from gateway.seal.ring import KeyRing, key_of
from kvtier.geometry import KVGeometry
from kvtier.keys import Chain, pack
from kvtier.tiers.base import Found, Segment, Wanted
from kvtier.tiers.sealing import SegmentSeal
from kvtier.tiers.segment import SegmentForm

RING = KeyRing([key_of("a key for a benchmark")])
SCOPE, SECRET = bytes(32), b"s" * 32
DEMO = KVGeometry(num_layers=8, num_kv_heads=4, head_dim=64, dtype="float32", block_tokens=32)  # 4 MB in 256 tokens
TOKENS = 256
PAIRS_AT_ONCE = 16

Store = SqliteAnswers | RedisAnswers


def run(scale: Scale) -> list[Row]:
    """Answers and prefixes, sealed beside plain."""
    rows = asyncio.run(_answers(scale.of(100, 20)))
    return [*rows, *_segments(scale.of(60, 6))]


async def _answers(turns: int) -> list[Row]:
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(redis_server(folder))
        for place in ("file", "redis"):
            stores: list[Store] = [await _opened(stack, folder, url, place, seal) for seal in (RING, NO_SEAL)]
            for what, ask in (("put", _put), ("exact hit", _get)):
                sealed, plain = await _in_turns(turns, stores, ask)
                note = "3 KB of request and answer, 384 numbers"
                rows.append(Row("seal", f"{what}, {place}", 1e6 * sealed, "us", 1e6 * plain, "not sealed", note))
    return rows


async def _opened(stack: AsyncExitStack, folder: Path, url: str, place: str, seal: Seal) -> Store:
    store: Store
    if place == "file":
        store = SqliteAnswers(folder / f"{seal.name or 'plain'}.db", budget_bytes=1 << 30, seal=seal)
    else:
        link = Link(url, SECRET if seal.name else b"t" * 32, seal=seal)
        stack.push_async_callback(link.close)
        store = RedisAnswers(link, replica=b"bench", budget_bytes=1 << 30)
    await store.open()
    stack.push_async_callback(store.close)
    return store


async def _in_turns(
    turns: int, stores: list[Store], ask: Callable[[Store, int], Awaitable[None]]
) -> tuple[float, float]:
    """Seconds of one, for each store."""
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns):
        for number in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            for one in range(PAIRS_AT_ONCE):
                await ask(stores[number], turn * PAIRS_AT_ONCE + one)
            took[number].append((time.perf_counter() - began) / PAIRS_AT_ONCE)
    return median(took[0]), median(took[1])


async def _put(store: Store, number: int) -> None:
    await store.put(_entry(number))


async def _get(store: Store, number: int) -> None:
    assert await store.get(SCOPE, _exact(number)) is not None


def _exact(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=32).digest()


_WORDS = " ".join(blake2b(b"%d" % number, digest_size=4).hexdigest() for number in range(170))
_FIRST = Entry(
    id="", scope=SCOPE, exact=b"", compat=bytes(32), canonical=_WORDS.encode(), question="How is a block made?",
    model="m", completion=Completion((Choice({"role": "assistant", "content": _WORDS}, "stop"),), Usage(300, 300)),
    created_s=1.7e9, expires_s=None, elapsed_s=1.0, tags=("a",), embedder="e",
    vector=np.random.default_rng(1).standard_normal(384, np.float32).tobytes(),
)  # fmt: skip


def _entry(number: int) -> Entry:
    return replace(_FIRST, id=f"e_{number}", exact=_exact(number))


def _segments(turns: int) -> list[Row]:
    """A segment of 256 tokens, read whole from the page cache and verified, as a restore does."""
    ids = list(range(TOKENS))
    chain = Chain(bytes(32), DEMO.block_tokens)
    keys = chain.keys(pack(ids))
    segment = Segment(bytes(32), tuple(keys), pack(ids), 0)
    wanted, found = Wanted(bytes(32), keys, pack(ids), 0, TOKENS, DEMO.block_tokens), Found(keys[-1], 0, TOKENS, 0)
    rows = np.random.default_rng(2).integers(0, 255, TOKENS * DEMO.bytes_per_token, dtype=np.uint8)
    seals = (SegmentSeal([b"k" * 32]), None)
    forms = [SegmentForm(DEMO, secret=SECRET, model="m", tokenizer="t", seal=seal) for seal in seals]
    wrote: tuple[list[float], list[float]] = ([], [])
    took: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns):
            for number in (0, 1) if turn % 2 else (1, 0):
                form, path = forms[number], Path(folder) / str(number)
                began = time.perf_counter()
                head, payload = form.write(segment, rows)
                with path.open("wb") as out:
                    out.write(head)
                    out.write(payload.data)
                wrote[number].append(time.perf_counter() - began)
                began = time.perf_counter()
                with path.open("rb", buffering=0) as file:
                    known = form.read_head(file.read(4096 * 4))

                    def read(piece: memoryview, at: int, file=file) -> None:  # type: ignore[no-untyped-def]
                        file.seek(at)
                        assert file.readinto(piece) == len(piece)

                    restored = form.restore(known, wanted, found, "disk", read)
                took[number].append(time.perf_counter() - began)
                assert np.array_equal(restored.rows, rows)
    megabytes = rows.size / 1e6
    note = f"{megabytes:.1f} MB of {TOKENS} tokens; sealed pieces verify themselves, plain ones have a MAC"
    return [
        Row(
            "seal", f"segment of prefixes, {what}", 1e3 * median(one[0]), "ms", 1e3 * median(one[1]), "not sealed", note
        )
        for what, one in (("written", wrote), ("restored", took))
    ]
