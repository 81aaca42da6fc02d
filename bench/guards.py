"""How far a cosine alone can be trusted, and what the guards are worth: `python -m bench.guards [DATA]`.

Over labelled pairs: at each threshold the share of true pairs that would be served and the wrong share of what would
be served, without and with the guards; then what each guard stops and what it costs. Over streams: a cache that starts
empty, the nearest allowed candidate of eight, every question remembered. DATA defaults to the folder `shared/data`
beside the repository and is not part of it.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embeddings.base import Vectors
from embeddings.guards import GUARDS, first_refusal
from embeddings.index import Candidate, VectorIndex
from embeddings.local import SentenceTransformerEmbedder

THRESHOLDS = [round(0.90 + 0.01 * step, 2) for step in range(10)]
STREAMS = ("arena_hard_distinct", "clinc150_static", "disfl_qa", "gsm_plus", "mixed_zipf", "spider")
CANDIDATES = 8
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions, whether one answer serves both, and what the embedder and the guards say."""

    is_same: bool
    similarity: float
    refusals: frozenset[str]
    fits: bool  # the embedder sees all of both


@dataclass(frozen=True, slots=True)
class Hit:
    """What a stream's question would have been served with: the nearest candidate, and the nearest the guards allow."""

    is_repeat: bool  # a question of its class came before
    similarity: float
    is_right: bool
    guarded_similarity: float
    guarded_is_right: bool


def main(data: Path) -> None:
    if not (data / "pairs").is_dir():
        print(f"no evaluation data: {data / 'pairs'} is not there; give its parent folder as the first argument")
        return
    embedder = SentenceTransformerEmbedder().load()
    print(f"embedder {embedder.fingerprint}")
    for path in sorted((data / "pairs").glob("*.tsv.gz")):
        report_pairs(path.name.removesuffix(".tsv.gz"), read_pairs(path, embedder))
    for name in STREAMS:
        path = data / "streams" / f"{name}.jsonl.gz"
        if path.exists():
            report_stream(name, play(path, embedder))


def read_pairs(path: Path, embedder: SentenceTransformerEmbedder) -> list[Pair]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        next(lines)
        rows = [line.rstrip("\n").split("\t") for line in lines]
    left, right = (embed_all(embedder, [row[side] for row in rows]) for side in (1, 2))
    similarities = np.sum(left * right, axis=1)
    return [
        Pair(
            row[0] == "1",
            float(similarity),
            frozenset(name for name, may_share in GUARDS.items() if not may_share(row[1], row[2])),
            embedder.fits(row[1]) and embedder.fits(row[2]),
        )
        for row, similarity in zip(rows, similarities, strict=True)
    ]


def embed_all(embedder: SentenceTransformerEmbedder, texts: Sequence[str]) -> Vectors:
    """Each distinct text once."""
    distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = embedder.embed(list(distinct))
    return vectors[[distinct[text] for text in texts]]


def report_pairs(name: str, pairs: Sequence[Pair]) -> None:
    same = [pair for pair in pairs if pair.is_same]
    fitting = sum(pair.fits for pair in pairs)
    print(f"\n== pairs {name}: {len(same)} same, {len(pairs) - len(same)} different; {fitting} the embedder can read")
    print("threshold   cosine: served  wrong of hits   guarded: served  wrong of hits   and readable: served  wrong")
    for threshold in THRESHOLDS:
        near = [pair for pair in pairs if pair.similarity >= threshold]
        guarded = [pair for pair in near if not pair.refusals]
        readable = [pair for pair in guarded if pair.fits]
        cells = [f"{_served(rows, len(same))}  {_wrong(rows)}" for rows in (near, guarded, readable)]
        print(f"     {threshold:.2f}   " + "   ".join(f"{cell:>24}" for cell in cells))
    for low in (-1.0, THRESHOLDS[0]):
        report_guards([pair for pair in pairs if pair.similarity >= low], low)


def report_guards(pairs: Sequence[Pair], low: float) -> None:
    """Per guard: of different pairs stopped (and by it alone), of same pairs lost (and by it alone)."""
    stopped: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for pair in pairs:
        for guard in pair.refusals:
            stopped[f"{guard} {pair.is_same}"] += 1
            alone[f"{guard} {pair.is_same}"] += len(pair.refusals) == 1
    same = sum(pair.is_same for pair in pairs)
    where = "all pairs" if low < 0 else f"pairs at {low:.2f} and above"
    cells = [
        f"{guard} {stopped[f'{guard} False']} ({alone[f'{guard} False']}) / {stopped[f'{guard} True']}"
        f" ({alone[f'{guard} True']})"
        for guard in GUARDS
        if stopped[f"{guard} False"] or stopped[f"{guard} True"]
    ]
    print(f"  {where}: {len(pairs) - same} different, {same} same; stopped (alone) / lost (alone): {'; '.join(cells)}")


def play(path: Path, embedder: SentenceTransformerEmbedder) -> list[Hit]:
    """Run a stream through an empty cache. What the embedder cannot read whole is neither asked nor remembered."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    vectors = embed_all(embedder, [row["prompt"] for row in rows])
    index = VectorIndex(embedder.dim)
    seen: set[tuple[bytes, str]] = set()
    exact: set[tuple[bytes, str]] = set()
    hits = []
    for number, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
        scope, prompt = str(row.get("scope", "")).encode(), row["prompt"]
        is_repeat = (scope, row["class_id"]) in seen
        seen.add((scope, row["class_id"]))
        if (scope, prompt) in exact:
            continue  # the exact tier has answered
        exact.add((scope, prompt))
        if not embedder.fits(prompt):
            hits.append(Hit(is_repeat, -1.0, False, -1.0, False))
            continue
        found = index.search(scope, vector, CANDIDATES)
        hits.append(judge(prompt, row["class_id"], found, rows, is_repeat))
        index.add(scope, str(number), vector, prompt)
    return hits


def judge(prompt: str, wanted: str, found: Sequence[Candidate], rows: Sequence[dict[str, str]], is_repeat: bool) -> Hit:
    allowed = [
        candidate
        for candidate in found
        if candidate.similarity >= THRESHOLDS[0] and first_refusal(prompt, candidate.text) is None
    ]
    cells = [(first.similarity, rows[int(first.id)]["class_id"] == wanted) for first in _first_of_each(found, allowed)]
    (similarity, is_right), (guarded_similarity, guarded_is_right) = cells
    return Hit(is_repeat, similarity, is_right, guarded_similarity, guarded_is_right)


def _first_of_each(*rankings: Sequence[Candidate]) -> Iterator[Candidate]:
    for ranking in rankings:
        yield ranking[0] if ranking else Candidate("0", -1.0)


def report_stream(name: str, hits: Sequence[Hit]) -> None:
    repeats = sum(hit.is_repeat for hit in hits)
    print(f"\n== stream {name}: {len(hits)} questions beyond exact repeats, {repeats} of a class seen before")
    print("threshold   cosine: true hits of repeats, wrong of hits, wrong of all     guarded: the same")
    for threshold in THRESHOLDS:
        plain = [hit.is_right for hit in hits if hit.similarity >= threshold]
        guarded = [hit.guarded_is_right for hit in hits if hit.guarded_similarity >= threshold]
        cells = [
            f"{_percent(sum(rows), repeats)}  {_percent(len(rows) - sum(rows), len(rows))} ({len(rows) - sum(rows)})"
            f"  {_percent(len(rows) - sum(rows), len(hits))}"
            for rows in (plain, guarded)
        ]
        print(f"     {threshold:.2f}   {cells[0]:>34}   {cells[1]:>34}")


def _served(pairs: Sequence[Pair], same: int) -> str:
    return _percent(sum(pair.is_same for pair in pairs), same)


def _wrong(pairs: Sequence[Pair]) -> str:
    wrong = sum(not pair.is_same for pair in pairs)
    return f"{_percent(wrong, len(pairs))} ({wrong})"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:5.1f} %" if whole else "    - "


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
