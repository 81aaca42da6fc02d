"""A stream of prompts, and a cache that walks it: exact repeat, same wording, then a policy for what is near.

    prompt -> seen in these words? -> seen in its bare form, guards agree? -> policy: serve one of 8 neighbours, or not
                                                                              not: generate, learn, remember

Whatever is generated is remembered under its own words. An answer serves a prompt when both are of one class, and that
is all a policy is told, and only when an answer was generated: then the fresh one can be compared with every
neighbour's. A stream's `scope` parts the cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.datasets import DATA, read_rows
from bench.quality.memo import Memo
from bench.quality.readings import Readings
from embeddings.base import Reading
from embeddings.control import Neighbour
from embeddings.lexical import bare

CANDIDATES = 8
STREAMS = (
    "clinc150_static",
    "banking77",
    "disfl_qa",
    "spider",
    "mixed_zipf",
    "gsm_plus",
    "arena_hard_distinct",
    "gptcache_mock_replay",
    "xquad_en_zh",
    "crosswoz_zh",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt; `is_insert` fills the cache without asking it."""

    text: str
    class_id: str
    scope: str = ""
    is_insert: bool = False


@dataclass(frozen=True, eq=False)
class Stream:
    """Prompts in arrival order, with what the embedder makes of them."""

    name: str
    asked: Sequence[Asked]
    readings: Readings
    fingerprint: str

    @cached_property
    def rows(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(dict.fromkeys(one.text for one in self.asked))}

    @cached_property
    def similar(self) -> NDArray[np.float32]:
        """Cosines of all distinct texts, in the order of `rows`."""
        vectors = np.stack([self.readings[text].vector for text in self.rows])
        return vectors @ vectors.T

    @cached_property
    def memo(self) -> Memo:
        return Memo(self.name, [self.readings[text] for text in self.rows], self.fingerprint)

    def shuffled(self, seed: int | None) -> list[Asked]:
        """Another order of the same prompts, inserts still first; `None` is the stream's own."""
        if seed is None:
            return list(self.asked)
        order = np.random.default_rng(seed).permutation(len(self.asked))
        return sorted((self.asked[n] for n in order), key=lambda one: not one.is_insert)


@dataclass(frozen=True, slots=True)
class Question:
    """What a policy is asked."""

    reading: Reading
    neighbours: Sequence[Neighbour]  # nearest first


@dataclass(frozen=True, slots=True)
class Learned:
    """What a policy makes of a generated answer."""

    is_spent: bool = False  # the prompt would have been served, had it not been for learning
    is_remembered: bool = True  # others may find it


class Policy(Protocol):
    """Decides which neighbour's answer is served, and learns where none was."""

    def choose(self, question: Question) -> int | None: ...

    def learn(self, question: Question, is_right: Sequence[bool]) -> Learned: ...


@dataclass(slots=True)
class Tally:
    """What came of a stream."""

    prompts: int = 0
    answerable: int = 0  # one answer given before would have served
    repeats: int = 0  # served to the very same words
    rewordings: int = 0  # served to the same bare form
    near: int = 0  # served by the policy
    wrong_repeats: int = 0  # possible only where one text has several classes
    wrong_rewordings: int = 0
    wrong_near: int = 0
    spent: int = 0  # generations of would-be hits, to learn

    @property
    def hits(self) -> int:
        """What a semantic cache is judged by: everything served to other words."""
        return self.rewordings + self.near

    @property
    def wrong(self) -> int:
        return self.wrong_rewordings + self.wrong_near

    @property
    def served_share(self) -> float:
        """Of the answerable prompts, served rightly; repeats count."""
        right = self.repeats + self.hits - self.wrong - self.wrong_repeats
        return right / self.answerable if self.answerable else 0.0

    @property
    def wrong_rate(self) -> float:
        return self.wrong / self.hits if self.hits else 0.0


def load_asked(name: str, folder: Path = DATA / "streams") -> list[Asked]:
    """The prompts of a stream file. Raises `DataError` when a line is damaged."""
    return [
        Asked(row["prompt"], str(row["class_id"]), str(row.get("scope", "")), row.get("phase") == "insert")
        for row in read_rows(folder / f"{name}.jsonl.gz")
    ]


class Cache:
    """One scope: texts with the class of their answer."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.classes: dict[str, str] = {}
        self._rows: list[int] = []
        self._texts: list[str] = []
        self._wordings: dict[str, list[str]] = {}

    def remember(self, text: str, class_id: str, *, is_found: bool = True) -> None:
        if text not in self.classes and is_found:
            self._rows.append(self._stream.rows[text])
            self._texts.append(text)
            if wording := bare(text):
                self._wordings.setdefault(wording, []).append(text)
        self.classes[text] = class_id

    def same_wording(self, text: str) -> str | None:
        """A remembered text of the same bare form that no guard minds."""
        known = self._wordings.get(bare(text), []) if bare(text) else []
        return next((other for other in known if self._stream.memo.refusal(text, other) is None), None)

    def near(self, text: str) -> list[Neighbour]:
        if not self._rows:
            return []
        similar = self._stream.similar[self._stream.rows[text], self._rows]
        nearest = np.argsort(-similar, kind="stable")[:CANDIDATES]
        return [
            Neighbour(other, self._stream.readings[other], float(similar[n]), other.encode())
            for n, other in ((int(n), self._texts[n]) for n in nearest)
        ]


def walk(stream: Stream, asked: Sequence[Asked], policy: Policy, *, is_worded: bool = True) -> Tally:
    """Drive `policy` through prompts; `is_worded`: the same bare form is served before it is asked."""
    tally = Tally()
    caches: dict[str, Cache] = {}
    seen: set[tuple[str, str]] = set()
    for one in asked:
        cache = caches.setdefault(one.scope, Cache(stream))
        learned: Learned | None = Learned()
        if not one.is_insert:
            tally.prompts += 1
            tally.answerable += (one.scope, one.class_id) in seen
            learned = _asked(one, cache, stream, policy, tally, is_worded=is_worded)
        seen.add((one.scope, one.class_id))
        if learned is not None:
            cache.remember(one.text, one.class_id, is_found=learned.is_remembered)
    return tally


def _asked(
    one: Asked, cache: Cache, stream: Stream, policy: Policy, tally: Tally, *, is_worded: bool
) -> Learned | None:
    """None when the prompt was served."""
    if (known := cache.classes.get(one.text)) is not None:
        tally.repeats += 1
        tally.wrong_repeats += known != one.class_id
        return None
    if is_worded and (other := cache.same_wording(one.text)) is not None:
        tally.rewordings += 1
        tally.wrong_rewordings += cache.classes[other] != one.class_id
        return None
    question = Question(stream.readings[one.text], cache.near(one.text))
    if not question.neighbours:
        return Learned()
    is_right = [cache.classes[neighbour.reading.text] == one.class_id for neighbour in question.neighbours]
    if (chosen := policy.choose(question)) is not None:
        tally.near += 1
        tally.wrong_near += not is_right[chosen]
        return None
    learned = policy.learn(question, is_right)
    tally.spent += learned.is_spent
    return learned


def spread(streams: Sequence[Stream], seeds: Sequence[int | None]) -> Iterator[tuple[Stream, int | None, list[Asked]]]:
    """Every stream in every order."""
    for stream in streams:
        for seed in seeds:
            yield stream, seed, stream.shuffled(seed)
