"""Streams of prompts, each with the class of its answer: one class, one answer.

`scope` parts a cache, as a system prompt does. What the product would not even look at is told by `gate`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.datasets import DATA, read_rows
from bench.quality.memo import KEPT, Memo
from embeddings.base import Reading
from embeddings.lexical import bare
from gateway.identity.questions import is_volatile
from gateway.policy import Rules

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
    """Prompts in their order, with their readings."""

    name: str
    asked: Sequence[Asked]
    readings: Mapping[str, Reading]
    fingerprint: str
    fits: Callable[[str], bool] = lambda _: True  # whether the embedder sees the whole text
    kept: Path = KEPT  # where its memo is

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
        return Memo(self.name, [self.readings[text] for text in self.rows], self.fingerprint, self.kept)

    @cached_property
    def bare_forms(self) -> dict[str, str]:
        return {text: bare(text) for text in self.rows}

    @cached_property
    def gates(self) -> dict[str, str]:
        """Why the product looks for no other words of a text: "volatile" and "too_long" at all, "unread" by vectors."""
        found = {text: _gate(text, self.fits) for text in self.rows}
        return {text: gate for text, gate in found.items() if gate is not None}

    @cached_property
    def doubles(self) -> frozenset[str]:
        """Texts that stand under several classes: whatever is served to them, another row says that it is wrong."""
        classes: dict[tuple[str, str], set[str]] = {}
        for one in self.asked:
            classes.setdefault((one.scope, one.text), set()).add(one.class_id)
        return frozenset(text for (_, text), several in classes.items() if len(several) > 1)

    def shuffled(self, seed: int | None) -> list[Asked]:
        """Another order of the same prompts, inserts still first; `None` is the stream's own."""
        if seed is None:
            return list(self.asked)
        order = np.random.default_rng(seed).permutation(len(self.asked))
        return sorted((self.asked[n] for n in order), key=lambda one: not one.is_insert)


def load_asked(name: str, folder: Path = DATA / "streams") -> list[Asked]:
    """The prompts of a stream file. Raises `DataError` when a line is damaged."""
    return [
        Asked(row["prompt"], str(row["class_id"]), str(row.get("scope", "")), row.get("phase") == "insert")
        for row in read_rows(folder / f"{name}.jsonl.gz")
    ]


def _gate(text: str, fits: Callable[[str], bool]) -> str | None:
    """As `gateway.policy.semantic_refusal` and the tier have it, of a lone question."""
    if len(text) > Rules().max_question_chars:
        return "too_long"
    if is_volatile(text):
        return "volatile"
    return None if fits(text) else "unread"
