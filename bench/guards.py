"""What the guards stop and what they cost, and what the whole decision makes of the hard set: `python -m bench guards`.

Pair files: how many of the different pairs each guard stops (and it alone), and how many of the same it loses, of
pairs that share at least half of their content words: those are what a cache mistakes. The bare form beside it: pairs
and prompts of streams that it would serve, and how many wrongly. No embedder is needed for these.

The hard set and its twins (tests/embeddings/hard): bare form, then guards, then verifier and lane with their defaults,
each pair asked of a lane that has served nothing yet; beside it the fixed cosine with the same guards. DATA defaults to
the folder `shared/data` beside the repository and is not part of it.
"""

import csv
import gzip
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.datasets import DATA, read_rows
from bench.rows import Row, Scale
from embeddings.base import Embedder, Reading
from embeddings.control import Lane, Neighbour
from embeddings.guards import GUARDS, NEAR_MISSES, first_refusal, near_misses, refusals
from embeddings.lexical import bare
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import load_verifier

HARD = Path(__file__).resolve().parents[1] / "tests" / "embeddings" / "hard"
PARTS = ("development", "held_out", "held_out_2")
TWINS = "twins"
COSINES = (0.90, 0.93, 0.94, 0.96)
ALIKE = 0.5
_SHARED = NEAR_MISSES.index("shared_words")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions, whether one answer serves both, and where they come from."""

    a: str
    b: str
    is_same: bool
    language: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the same pairs and of the different ones: how many there are, and how many are served."""

    same: int
    served_same: int
    different: int
    served_different: int

    def __str__(self) -> str:
        return (
            f"true served {_percent(self.served_same, self.same)}, "
            f"wrongly served {_percent(self.served_different, self.different)} of {self.different}"
        )


def run(scale: Scale) -> list[Row]:
    """The rows of `python -m bench guards`."""
    report(DATA, every=scale.of(1, 20))
    embedder = SentenceTransformerEmbedder().load()
    rows = []
    for part, pairs in {**hard_set(), TWINS: twins()}.items():
        for what, shares in decisions(pairs[:: scale.of(1, 8)], embedder).items():
            print(f"  hard set, {part}, {what}: {shares}")
            rows.append(_row(part, what, shares))
    return rows


def report(data: Path, *, every: int = 1) -> None:
    """Print what needs no embedder; `every` how manieth pair counts."""
    if not (data / "pairs").is_dir():
        print(f"no evaluation data: {data / 'pairs'} is not there; give its parent folder as the first argument")
        return
    for path in sorted((data / "pairs").glob("*.tsv.gz")):
        pairs = read_pairs(path)[::every]
        print(f"\n== {_name(path)}\n{guard_table(pairs)}\n{bare_line(pairs)}")
    print()
    for path in sorted((data / "streams").glob("*.jsonl.gz")):
        print(f"  stream {_name(path)}: {bare_stream(path)}")


def read_pairs(path: Path) -> list[Pair]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Pair(row["query_a"], row["query_b"], row["label"] == "1") for row in rows]


def hard_set() -> dict[str, list[Pair]]:
    """The hard set by files: those with a paraphrase beside every near twin."""
    return {part: list(_read_hard(HARD / f"{part}.tsv")) for part in PARTS}


def twins() -> list[Pair]:
    """Near twins of other kinds, without paraphrases."""
    return list(_read_hard(HARD / f"{TWINS}.tsv"))


def _read_hard(path: Path) -> Iterator[Pair]:
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield Pair(row["a"], row["b"], row["label"] == "1", row["language"], row["kind"])


def guard_table(pairs: Sequence[Pair]) -> str:
    """Per guard: of different pairs stopped (and by it alone) / of same pairs lost (and by it alone)."""
    stopped: Counter[tuple[str, bool]] = Counter()
    alone: Counter[tuple[str, bool]] = Counter()
    passed: Counter[tuple[bool, bool]] = Counter()
    count: Counter[tuple[bool, bool]] = Counter()
    for pair in pairs:
        found = refusals(pair.a, pair.b)
        is_alike = near_misses(pair.a, pair.b)[_SHARED] >= ALIKE
        count[pair.is_same, is_alike] += 1
        passed[pair.is_same, is_alike] += not found
        if is_alike:
            stopped.update((name, pair.is_same) for name in found)
            alone.update((name, pair.is_same) for name in found if len(found) == 1)
    cells = [
        f"{name} {stopped[name, False]} ({alone[name, False]}) / {stopped[name, True]} ({alone[name, True]})"
        for name in GUARDS
        if stopped[name, False] or stopped[name, True]
    ]
    shares = ", ".join(
        f"{'alike' if is_alike else 'other'} {'same' if is_same else 'different'} "
        f"{_percent(passed[is_same, is_alike], count[is_same, is_alike])} of {count[is_same, is_alike]}"
        for is_alike in (True, False)
        for is_same in (True, False)
    )
    return f"  pass the guards: {shares}\n  of alike ones stopped (alone) / lost (alone): {'; '.join(cells)}"


def bare_line(pairs: Sequence[Pair]) -> str:
    served = Counter(pair.is_same for pair in pairs if says_the_same(pair))
    return f"  bare form: serves {served[True]} same, {served[False]} different"


def bare_stream(path: Path) -> str:
    """What equal bare forms alone serve of a stream that starts empty."""
    kept: dict[tuple[str, str], list[tuple[str, str]]] = {}
    exact: set[tuple[str, str]] = set()
    count: Counter[str] = Counter()
    for row in read_rows(path):
        scope, prompt, wanted = str(row.get("scope", "")), row["prompt"], str(row["class_id"])
        if (scope, prompt) in exact:
            continue
        exact.add((scope, prompt))
        count["prompts"] += 1
        key = bare(prompt)
        served = next(
            (c for text, c in kept.get((scope, key), ()) if key and first_refusal(prompt, text) is None), None
        )
        if served is not None:
            count["right" if served == wanted else "wrong"] += 1
        kept.setdefault((scope, key), []).append((prompt, wanted))
    return f"{count['prompts']} distinct prompts, bare form serves {count['right']} rightly, {count['wrong']} wrongly"


def says_the_same(pair: Pair) -> bool:
    key = bare(pair.a)
    return key != "" and key == bare(pair.b) and first_refusal(pair.a, pair.b) is None


def decisions(pairs: Sequence[Pair], embedder: Embedder) -> dict[str, Shares]:
    """What each way to decide serves of `pairs`."""
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.a, pair.b)))
    readings = dict(zip(texts, embedder.read(texts), strict=True))
    can_read = {text: embedder.fits(text) for text in texts}
    verifier = load_verifier(embedder.fingerprint)

    def by_lane(pair: Pair) -> bool:
        if says_the_same(pair):
            return True
        if not (can_read[pair.a] and can_read[pair.b]):
            return False
        lane = Lane(verifier, shadow_rate=0.0)
        return lane.decide(readings[pair.a], [_neighbour(readings, pair)]).action == "serve"

    def by_cosine(pair: Pair, least: float) -> bool:
        if says_the_same(pair):
            return True
        is_near = can_read[pair.a] and can_read[pair.b] and _cosine(readings, pair) >= least
        return is_near and first_refusal(pair.a, pair.b) is None

    served = {"as shipped": [by_lane(pair) for pair in pairs]}
    for least in COSINES:
        served[f"cosine {least:.2f} and guards"] = [by_cosine(pair, least) for pair in pairs]
    found = {what: _shares(pairs, which) for what, which in served.items()}
    for language in sorted({pair.language for pair in pairs}):
        of_it = [n for n, pair in enumerate(pairs) if pair.language == language]
        which = [served["as shipped"][n] for n in of_it]
        found[f"as shipped, {language}"] = _shares([pairs[n] for n in of_it], which)
    return found


def _shares(pairs: Sequence[Pair], served: Sequence[bool]) -> Shares:
    same = [is_served for pair, is_served in zip(pairs, served, strict=True) if pair.is_same]
    different = [is_served for pair, is_served in zip(pairs, served, strict=True) if not pair.is_same]
    return Shares(len(same), sum(same), len(different), sum(different))


def _neighbour(readings: dict[str, Reading], pair: Pair) -> Neighbour:
    return Neighbour("1", readings[pair.b], _cosine(readings, pair), b"answer")


def _cosine(readings: dict[str, Reading], pair: Pair) -> float:
    return float(np.dot(readings[pair.a].vector, readings[pair.b].vector))


def _row(part: str, what: str, shares: Shares) -> Row:
    wrong = shares.served_different / shares.different if shares.different else 0.0
    return Row(
        "guards",
        f"hard set, {part}, {what}: true ones served",
        100 * shares.served_same / max(shares.same, 1),
        "%",
        None,
        "",
        f"wrongly served {100 * wrong:.1f} % of {shares.different} near twins",
    )


def _name(path: Path) -> str:
    return path.name.split(".")[0]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


if __name__ == "__main__":
    report(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
