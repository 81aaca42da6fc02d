"""What stored answers of 1.5 KB take of a gateway's memory, the embedder included.

    python -m bench memory                                    10,000 and 100,000 entries
    python -m bench.memory --folder DIR --entries 1000000     DIR is filled the first time, and kept
    ... --in-peace                                            nobody asks while it starts, which then takes less long

Resident memory of the whole process: with nothing stored, with all vectors at hand, and after so many exact hits that
the memory in front of the store is full. The parts are filled in processes of their own, by what those grew.

The start beside it: one caller asks for what is stored, one entry after the other and none twice, from the first hit
until all is found by meaning, and again afterwards; and by meaning, in the partition with half of all entries: each of
`NEAR` questions that are stored there, in other words, a first time and once more when it was read before. What was no
hit by meaning is left out of those times.

A MB here, as everywhere in bench, is a million bytes.
"""

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import orjson
import psutil
from rich.console import Console

from bench.figures import median, percentile
from bench.filled import CHAT, body_of, client_of, fill, is_whole, semantic_part, started, wait_for_vectors
from bench.inserts import entries_of
from bench.lookup.texts import DIM
from bench.processes import ROOT
from bench.questions import questions, reworded
from bench.rows import Row, Scale, show
from embeddings.index import VectorIndex
from gateway.answers.base import unembedded_of
from gateway.answers.memory import MemoryAnswers
from gateway.heap import settle
from gateway.semantic.found import SAME_QUESTION
from gateway.semantic.wordings import Wordings

GOAL_MB = 400.0
GOAL_ENTRIES = 100_000
ASKED = 16_000  # exact hits: more than the default memory holds
PARTS = ("memory", "index", "wordings")
PART_ENTRIES = 50_000
MEMORY_MIB = 48  # the default
WITHIN_S = 1200.0
NEAR = 50
STRIDE = 7_919  # between two entries that are asked for: a prime, so that all have their turn
LOOK_EVERY = 50  # requests between two looks at how far a start is


def run(scale: Scale) -> list[Row]:
    """Fill, and measure."""
    rows = []
    for num in (1_000,) if scale.quick else (10_000, GOAL_ENTRIES):
        with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
            rows += measure(Path(folder), num)
    return rows + parts(scale.of(PART_ENTRIES, 1_000))


def measure(folder: Path, num: int, *, is_in_peace: bool = False) -> list[Row]:
    """A gateway without entries, and one with `num`; nobody asks that one while it starts if it `is_in_peace`."""
    fill(folder / "filled", num)
    (folder / "none").mkdir(exist_ok=True)
    with started(folder / "none", num=num) as server, client_of(server) as client:
        wait_for_vectors(client, WITHIN_S)
        none_mb = resident_mb(server.pid)
    began_s = time.perf_counter()
    with started(folder / "filled", num=num) as server, client_of(server) as client:
        while not _is_hit(client, num // 2):
            assert time.perf_counter() - began_s < WITHIN_S, "what is stored is not served"
        serving_s = time.perf_counter() - began_s
        loading = _while_loading(client, num, began_s, is_in_peace=is_in_peace)
        ready_s = time.perf_counter() - began_s
        near = _near(client)
        ready_mb = resident_mb(server.pid)
        later = Asked()
        later.ask(client, range(min(num, ASKED)))
        asked_mb = resident_mb(server.pid)
        vectors = _vectors(client)
    assert later.hits >= 0.99 * later.num, f"{later.hits} exact hits of {later.num}"
    note = f"{vectors:,} vectors"
    goal = (GOAL_MB, "the goal") if num == GOAL_ENTRIES else (None, "")
    each_kb = (asked_mb - none_mb) * 1e3 / num
    found = f"all rows read after {loading.read_s or ready_s:.1f} s"
    return [
        Row("memory", f"{num:,} entries: an exact hit after", serving_s, "s", ready_s, "until all is ready", found),
        *loading.asked.rows(f"{num:,} entries, exact requests until then"),
        *later.rows(f"{num:,} entries, exact requests afterwards"),
        *(one.row(f"{num:,} entries: asked by meaning, {what}") for what, one in near.items()),
        Row("memory", f"{num:,} entries: ready", ready_mb, "MB", none_mb, "without entries", note),
        Row("memory", f"{num:,} entries: after {later.hits:,} exact hits", asked_mb, "MB", *goal),
        Row("memory", f"{num:,} entries: each", each_kb, "KB", note="all that came with them, shared by all"),
    ]


@dataclass(slots=True)
class Asked:
    """Exact requests of one caller, and what came of them."""

    num: int = 0
    hits: int = 0
    taken_ms: list[float] = field(default_factory=list)

    def ask(self, client: httpx.Client, numbers: Iterable[int]) -> None:
        for number in numbers:
            began_s = time.perf_counter()
            self.hits += _is_hit(client, number)
            self.taken_ms.append((time.perf_counter() - began_s) * 1e3)
            self.num += 1

    def rows(self, what: str) -> list[Row]:
        if not self.num:
            return []
        return [
            Row("memory", f"{what}: hits", 100 * self.hits / self.num, "%", note=f"{self.hits:,} of {self.num:,}"),
            Row("memory", f"{what}: p50", median(self.taken_ms), "ms", note=f"at most {max(self.taken_ms):.0f} ms"),
            Row("memory", f"{what}: p99", percentile(self.taken_ms, 99), "ms"),
        ]


@dataclass(slots=True)
class Loading:
    """What came of requests during a start, and when all rows were read: lists of large partitions are made then."""

    asked: Asked = field(default_factory=Asked)
    read_s: float = 0.0


def _while_loading(client: httpx.Client, num: int, began_s: float, *, is_in_peace: bool) -> Loading:
    """Ask for what is stored until all of it is found by meaning."""
    loading, number = Loading(), 1
    while not is_whole(client):
        assert time.perf_counter() - began_s < WITHIN_S, "no semantic tier"
        if not loading.read_s and not semantic_part(client).startswith("loading"):
            loading.read_s = time.perf_counter() - began_s
        if is_in_peace:
            time.sleep(0.5)
            continue
        loading.asked.ask(client, ((number + turn) * STRIDE % num for turn in range(LOOK_EVERY)))
        number += LOOK_EVERY
    return loading


def resident_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def _is_hit(client: httpx.Client, number: int) -> bool:
    body = orjson.dumps(body_of(number))
    answer = client.post(CHAT, content=body, headers={"cache-control": "only-if-cached"})
    return bool(answer.headers.get("x-twicetold-tier") == "exact")


@dataclass(slots=True)
class Near:
    """Questions in other words than the stored ones."""

    asked: int = 0
    taken_ms: list[float] = field(default_factory=list)  # of hits by meaning
    by_form: int = 0  # found by the bare form, without a search

    def ask(self, client: httpx.Client, question: str) -> None:
        body = orjson.dumps(_request(question))
        began_s = time.perf_counter()
        answer = client.post(CHAT, content=body, headers={"cache-control": "only-if-cached"})
        taken_ms = (time.perf_counter() - began_s) * 1e3
        self.asked += 1
        if answer.headers.get("x-twicetold-reason") == SAME_QUESTION:
            self.taken_ms.append(taken_ms)
        else:
            self.by_form += answer.headers.get("x-twicetold-tier") == "semantic"

    def row(self, what: str) -> Row:
        hits = len(self.taken_ms)
        missed = self.asked - hits - self.by_form
        note = (
            f"{hits} hits by meaning of {self.asked} distinct questions, {self.by_form} by bare form, {missed} missed"
        )
        return Row("memory", f"{what}, p50", median(self.taken_ms) if hits else None, "ms", note=note)


def _near(client: httpx.Client) -> dict[str, Near]:
    """Lookups by meaning, each question for the first time, and then all but the embedder: it was read before."""
    stored = questions(NEAR)
    _keep(client, stored)
    found = {"new words": Near(), "question read before": Near()}
    for near in found.values():
        for question in stored:
            near.ask(client, reworded(question))
    return found


def _keep(client: httpx.Client, stored: Sequence[str]) -> None:
    """Store what an earlier run has not, in the large partition, and wait until it is found by meaning."""
    before, new = _vectors(client), 0
    for question in stored:
        request = _request(question)
        there = client.post(CHAT, json=request, headers={"cache-control": "only-if-cached"})
        if there.headers.get("x-twicetold-tier") != "exact":
            body = {"request": request, "answer": f"{question} That depends.", "elapsed_s": 1.0}
            client.put("/v1/cache/entries", json=body).raise_for_status()
            new += 1
    until_s = time.monotonic() + WITHIN_S
    while _vectors(client) < before + new:
        assert time.monotonic() < until_s, "what was stored is not found by meaning"
        time.sleep(0.05)


def _vectors(client: httpx.Client) -> int:
    return int(client.get("/admin/api/stats").json()["vectors"])


def _request(question: str) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": question}]}


# -- the parts ---------------------------------------------------------------------------------------------------------


def parts(num: int) -> list[Row]:
    """What an entry takes in each place, and what that place says that it takes."""
    rows = []
    for part in PARTS:
        said = subprocess.run(
            [sys.executable, "-m", "bench.memory", "--part", part, "--entries", str(num)],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        kept, real, counted = orjson.loads(said.splitlines()[-1])
        rows.append(
            Row("memory", f"{part}: an entry", real, "bytes", counted or None, "by its own count", f"{kept:,} entries")
        )
    return rows


def part(name: str, num: int) -> tuple[int, float, float]:
    """Entries kept, and bytes of each: by what the process grew, and by the part's own count."""
    fills = {"memory": _memory, "index": _index, "wordings": _wordings}
    fills[name](64)  # what is imported and made once is no entry's
    before = _resident_mb()
    what, kept, counted = fills[name](num)
    grown = _resident_mb() - before
    del what
    return kept, grown * 1e6 / kept, counted / kept


def _resident_mb() -> float:
    gc.collect()
    settle()
    return resident_mb(os.getpid())


def _memory(num: int) -> tuple[object, int, float]:
    memory = MemoryAnswers(MEMORY_MIB << 20)
    for entry in entries_of(num):
        memory.put_now(entry)
    return memory, len(memory), memory.bytes_kept


def _index(num: int) -> tuple[object, int, float]:
    index = VectorIndex(DIM)
    index.open("bench memory")
    for entry in entries_of(num):
        index.add(entry.scope + entry.compat, entry.id, np.frombuffer(entry.vector or b"", "<f4"))
    index.start()
    while not index.settle():
        time.sleep(0.01)
    return index, len(index), index.nbytes


def _wordings(num: int) -> tuple[object, int, float]:
    wordings = Wordings(MemoryAnswers(0))
    for entry in entries_of(num):
        if (row := unembedded_of(entry)) is not None:
            wordings.add(row)
    return wordings, len(wordings), 0.0


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description="What stored answers take of memory.")
    parser.add_argument("--folder", type=Path, help="where answers lie; filled if it is empty")
    parser.add_argument("--part", choices=PARTS, help="what an entry takes in one place, as JSON")
    parser.add_argument("--entries", type=int, default=GOAL_ENTRIES)
    parser.add_argument("--in-peace", action="store_true", help="nobody asks while it starts")
    options = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.part:
        print(orjson.dumps(part(options.part, options.entries)).decode())
        return
    if options.folder is None:
        parser.error("--folder is missing")
    options.folder.mkdir(parents=True, exist_ok=True)
    show(Console(width=150), measure(options.folder, options.entries, is_in_peace=options.in_peace))


if __name__ == "__main__":
    main()
