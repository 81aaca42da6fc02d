"""One size in one number of partitions: our index and plain FAISS flat over the same rows, asked in turns."""

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
import psutil

from bench.figures import median, percentile
from bench.lookup.texts import DIM, Floats, like, middles
from bench.processes import ROOT
from bench.rows import Row, Scale
from embeddings.index import VectorIndex

NEAREST = 8
TURN = 20  # questions
CHANGED = 300  # rows removed, and added again
KEPT = ROOT / "bench" / "out" / "lookup"  # what was trained: a second run starts from it


@dataclass(slots=True)
class Cell:
    """What was measured."""

    ours_ms: list[float] = field(default_factory=list)
    flat_ms: list[float] = field(default_factory=list)
    remove_ms: list[float] = field(default_factory=list)
    add_ms: list[float] = field(default_factory=list)
    found: int = 0
    asked: int = 0
    worst: float = 0.0  # difference of a score from the exact one
    ours_mb: float = 0.0
    flat_mb: float = 0.0
    counted_mb: float = 0.0
    lists_s: float = 0.0
    meanwhile_ms: list[float] = field(default_factory=list)
    probes: int = 0


def run_cells(sizes: tuple[int, ...], scale: Scale) -> list[Row]:
    """Every size in one partition and in a thousand."""
    faiss.omp_set_num_threads(1)
    sys.setswitchinterval(0.001)  # as the gateway does
    real, source = middles()
    rows = []
    for size in sizes:
        for partitions in (1, 1000):
            rows += _rows(measure(real, size, partitions, scale), size, partitions, source)
            gc.collect()
    return rows


def measure(real: Floats, size: int, partitions: int, scale: Scale) -> Cell:
    """Fill both, ask both in turns, then take rows out and put them back."""
    cell = Cell()
    count = scale.of(100 if size > 200_000 else 400, 20)
    queries = np.concatenate(list(like(real, count, seed=2)))
    with _resident() as grown:
        flats = _flats(real, size, partitions)
    cell.flat_mb = grown[0]
    with _resident() as grown:
        index = _index(real, size, partitions, cell)
    cell.ours_mb, cell.counted_mb = grown[0], index.nbytes / 1e6
    cell.probes = max(index.probes().values(), default=0)
    for start in range(0, count, TURN):
        _ask(cell, index, flats, queries[start : start + TURN], start)
    _change(cell, index, flats, size)
    index.close()
    return cell


def _ask(cell: Cell, index: VectorIndex, flats: list[Any], queries: Floats, start: int) -> None:
    """A turn of each: either finds the caches as it left them, but for its first questions."""
    parts = [(start + number) * 37 % len(flats) for number in range(len(queries))]
    found, true = [], []
    for part, query in zip(parts, queries, strict=True):
        name, began = b"%d" % part, time.perf_counter()
        found.append(index.search(name, query, NEAREST))
        cell.ours_ms.append((time.perf_counter() - began) * 1e3)
    for part, query in zip(parts, queries, strict=True):
        flat, began = flats[part], time.perf_counter()
        scores, rows = flat.search(query[None], min(NEAREST, flat.ntotal))
        cell.flat_ms.append((time.perf_counter() - began) * 1e3)
        ids = [str(row * len(flats) + part) for row in rows[0].tolist()]
        true.append(dict(zip(ids, scores[0].tolist(), strict=True)))
    for ours, exact in zip(found, true, strict=True):
        here = [one for one in ours if one.id in exact]
        cell.asked, cell.found = cell.asked + len(exact), cell.found + len(here)
        cell.worst = max([cell.worst, *(abs(one.similarity - exact[one.id]) for one in here)])


def _change(cell: Cell, index: VectorIndex, flats: list[Any], size: int) -> None:
    partitions = len(flats)
    step = max(1, size // CHANGED)
    for number in range(0, size, step):
        name, id = b"%d" % (number % partitions), str(number)
        row = flats[number % partitions].reconstruct(number // partitions)
        started = time.perf_counter()
        index.remove(name, id)
        between = time.perf_counter()
        index.add(name, id, row)
        cell.remove_ms.append((between - started) * 1e3)
        cell.add_ms.append((time.perf_counter() - between) * 1e3)


def _flats(real: Floats, size: int, partitions: int) -> list[Any]:
    """Row r of partition p is number r * partitions + p."""
    flats: list[Any] = [faiss.IndexFlatIP(DIM) for _ in range(partitions)]
    for flat in flats:  # room for all at once: growing would hold twice as much
        flat.codes.resize(size // partitions * DIM * 4)
        flat.codes.resize(0)
    start = 0
    for rows in like(real, size, seed=1):
        for part in range(partitions):
            flats[part].add(np.ascontiguousarray(rows[(part - start) % partitions :: partitions]))
        start += len(rows)
    return flats


def _index(real: Floats, size: int, partitions: int, cell: Cell) -> VectorIndex:
    index = VectorIndex(DIM, snapshots=KEPT / f"{size}-{partitions}")
    index.open("bench lookup")
    names = [b"%d" % part for part in range(partitions)]
    number = 0
    for rows in like(real, size, seed=1):
        for row in rows:
            index.add(names[number % partitions], str(number), row)
            number += 1
    started = time.perf_counter()
    index.start()
    while not index.settle():  # somebody writes meanwhile, and nobody waits for the thread
        between = time.perf_counter()
        index.add(names[0], "another", row)
        index.remove(names[0], "another")
        cell.meanwhile_ms.append((time.perf_counter() - between) * 1e3)
        time.sleep(0.005)
    cell.lists_s = time.perf_counter() - started
    return index


@contextmanager
def _resident() -> Iterator[list[float]]:
    """How many MB the process grew by."""
    process = psutil.Process()
    before, grown = process.memory_info().rss, [0.0]
    yield grown
    grown[0] = (process.memory_info().rss - before) / 1e6


def _rows(cell: Cell, size: int, partitions: int, source: str) -> list[Row]:
    where = f"{size:,} rows in {partitions:,}"
    how = f"{cell.probes} lists read" if cell.probes else "every row read"
    note = f"{how}, recall@8 {cell.found / cell.asked:.4f}, scores within {cell.worst:.0e}"
    ours, flat, own = cell.ours_ms, cell.flat_ms, f"{cell.counted_mb:,.0f} by its own count"
    rows = [
        Row("lookup", f"{where}: search p50", median(ours), "ms", median(flat), "FAISS flat", note),
        Row("lookup", f"{where}: search p99", percentile(ours, 99), "ms", percentile(flat, 99), "FAISS flat"),
        Row("lookup", f"{where}: memory", cell.ours_mb, "MB", cell.flat_mb, "FAISS flat, no ids", own),
        _timed(f"{where}: remove", cell.remove_ms),
        _timed(f"{where}: add", cell.add_ms),
    ]
    if cell.probes:
        rows.append(Row("lookup", f"{where}: lists ready after", cell.lists_s, "s", note=source))
    if cell.meanwhile_ms:
        rows.append(_timed(f"{where}: add and remove meanwhile", cell.meanwhile_ms))
    return rows


def _timed(what: str, taken_ms: list[float]) -> Row:
    note = f"p99 {percentile(taken_ms, 99):.3f}, longest {max(taken_ms):.3f} of {len(taken_ms)}"
    return Row("lookup", f"{what} p50", median(taken_ms), "ms", note=note)
