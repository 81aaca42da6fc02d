"""What it costs to keep an answer in the file, alone and when many come at once.

    python -m bench inserts

Answers of 1.5 KB with a vector each. Whatever waits together is one transaction: the more come at once, the fewer there
are. Each put returns when it is durable.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import orjson

from backends.chat import Completion
from bench.filled import body_of, entries_like
from bench.rows import Row, Scale
from gateway.answers.base import Entry
from gateway.answers.sqlite import SqliteAnswers

PUTS = 6_000
AT_ONCE = (1, 16, 128)


def run(scale: Scale) -> list[Row]:
    """In one file, one after the other and many at once."""
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        return asyncio.run(_rows(Path(folder) / "answers.db", scale.of(PUTS, 300)))


async def _rows(path: Path, puts: int) -> list[Row]:
    store = SqliteAnswers(path, budget_bytes=None)
    await store.open()
    entries, rows = entries_of(puts * len(AT_ONCE)), list[Row]()
    alone_us = 0.0
    for at_once in AT_ONCE:
        transactions = store.stats.transactions
        some = [next(entries) for _ in range(puts)]
        began_s = time.process_time()
        for start in range(0, puts, at_once):
            await asyncio.gather(*map(store.put, some[start : start + at_once]))
        each_us = (time.process_time() - began_s) / puts * 1e6
        together = puts / (store.stats.transactions - transactions)
        alone_us = alone_us or each_us
        note = f"{together:.1f} of them in a transaction"
        rows.append(Row("inserts", f"{at_once} at once: processor", each_us, "us", alone_us, "alone", note))
    await store.close()
    return rows


def entries_of(num: int) -> Iterator[Entry]:
    """Entries that no gateway has made."""
    first = Entry(
        "e", blake2b(b"scope", digest_size=32).digest(), b"", b"", orjson.dumps(body_of(0)), "", "m", Completion(()),
        1e9, None, 1.0, embedder="an embedder by its name and the digest of its weights", vector=b"",
        tenant="t" * 32, revision="r" * 16, schema=1, origin="backend",
    )  # fmt: skip
    return entries_like(first, 0, num)
