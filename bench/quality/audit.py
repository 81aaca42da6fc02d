"""Wrong hits, read by a human eye: labels say "wrong" of many pairs that ask the same.

    bench/out/quality-wrong.tsv     every distinct wrong hit at the default target: classes, cosine, in how many runs
    bench/quality/audited.tsv       those that were read: "same" only where no careful reader could tell the
                                    answers apart

What nobody has read counts as wrong, unless it is a double, a text that stands under several classes in its stream:
whichever of the equal rows is served, the others' label says that it is wrong.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.quality.risk import DEFAULT, Run
from bench.quality.streams import Stream
from bench.quality.walk import Outcome

READ = Path(__file__).parent / "audited.tsv"
COLUMNS = ("stream", "runs", "kind", "cosine", "class_asked", "class_served", "question", "stored")
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """The semantic hits of some runs: wrong by label, and how many of these are not, to a reader."""

    hits: int
    wrong: int
    same: int
    doubles: int

    @property
    def left(self) -> int:
        """Wrong to a reader, too, or not read."""
        return self.wrong - self.same - self.doubles

    @property
    def counted(self) -> int:
        """Hits without those whose label says nothing."""
        return self.hits - self.same - self.doubles


def judged(runs: Iterable[Run], streams: Mapping[str, Stream]) -> Judged:
    """All together."""
    hits = wrong = same = doubles = 0
    for run in runs:
        kinds = Counter(kind_of(streams[run.task.stream], one) for one in run.tally.mistakes)
        hits, wrong = hits + run.tally.hits, wrong + run.tally.wrong
        same, doubles = same + kinds["same"], doubles + kinds["double"]
    return Judged(hits, wrong, same, doubles)


def kind_of(stream: Stream, mistake: Outcome) -> str:
    """ "same", "different", or of what nobody read "double" or "unread"."""
    is_double = {mistake.asked.text, mistake.stored} & stream.doubles
    unread = "double" if is_double else "unread"
    return readings().get(_key(stream.name, mistake.asked.text, mistake.stored or ""), unread)


@cache
def readings(path: Path = READ) -> dict[Key, str]:
    """How pairs were read; whichever of the two was asked."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {_key(row["stream"], row["question"], row["stored"]): row["reading"] for row in rows}


def wrong_rows(runs: Sequence[Run], streams: Mapping[str, Stream]) -> list[tuple[str, ...]]:
    """Every distinct wrong hit of the lane at the default target, the most frequent first."""
    found: Counter[Key] = Counter()
    kept: dict[Key, Outcome] = {}
    for run in runs:
        if run.task.policy in ("lane", "unfitted") and run.task.at == DEFAULT:
            for one in run.tally.mistakes:
                key = _key(run.task.stream, one.asked.text, one.stored or "")
                found[key] += 1
                kept.setdefault(key, one)
    order = sorted(found, key=lambda key: (key[0], -found[key], key))
    return [_row(streams[key[0]], kept[key], found[key]) for key in order]


def write(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(row) for row in (COLUMNS, *rows)) + "\n", "utf-8")


def _row(stream: Stream, one: Outcome, runs: int) -> tuple[str, ...]:
    stored = one.stored or ""
    cosine = stream.similar[stream.rows[one.asked.text], stream.rows[stored]]
    classes = (one.asked.class_id, one.served_class or "")
    texts = (" ".join(text.split()) for text in (one.asked.text, stored))
    return (stream.name, str(runs), kind_of(stream, one), f"{cosine:.3f}", *classes, *texts)


def _key(stream: str, a: str, b: str) -> Key:
    first, second = sorted((" ".join(a.split()), " ".join(b.split())))
    return stream, first, second
