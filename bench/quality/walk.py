"""A cache that walks a stream: exact repeat, equal bare form, then a policy for what is near.

    prompt -> these words? -> gate? -> its bare form, guards agree? -> policy: serve, or not
                                    -> 8 neighbours                 -> policy: serve, or not
                                                                       not: generate, learn, remember

Whatever is generated is remembered under its own words. An answer serves a prompt when both are of one class, and that
is all a policy is told, and only when an answer was generated: then the fresh one can be compared with the stored ones.
Gates and bare forms are the product's; the policies beside it have the exact map and the neighbours alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from bench.quality.streams import Asked, Stream
from embeddings.base import Reading
from embeddings.control import Neighbour
from gateway.semantic.search import CANDIDATES
from gateway.semantic.wordings import SAME_AT_MOST

How = Literal["repeat", "wording", "near", "generated"]


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


class Worded(Protocol):
    """Decides whether the answer to an equal bare form is served, and learns where it was not."""

    def choose_wording(self, text: str, stored: str) -> bool: ...

    def learn_wording(self, text: str, stored: str, *, is_right: bool) -> Learned: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a prompt."""

    asked: Asked
    is_answerable: bool  # one answer given before would have served
    how: How
    stored: str | None = None  # whose answer was served
    served_class: str | None = None
    is_spent: bool = False  # generated to learn, where there was a hit

    @property
    def is_wrong(self) -> bool:
        return self.served_class is not None and self.served_class != self.asked.class_id


@dataclass(slots=True)
class Tally:
    """What came of a stream."""

    prompts: int = 0
    answerable: int = 0
    repeats: int = 0  # served to the very same words
    wrong_repeats: int = 0  # possible only where one text has several classes
    rewordings: int = 0  # served to the same bare form
    near: int = 0  # served by the policy
    spent: int = 0  # generations of would-be hits, to learn
    mistakes: list[Outcome] = field(default_factory=list)  # wrong hits

    @property
    def hits(self) -> int:
        """What a semantic cache is judged by: everything served to other words."""
        return self.rewordings + self.near

    @property
    def wrong(self) -> int:
        return len(self.mistakes)

    @property
    def served_share(self) -> float:
        """Of the answerable prompts, served rightly; repeats count."""
        right = self.repeats + self.hits - self.wrong - self.wrong_repeats
        return right / self.answerable if self.answerable else 0.0

    @property
    def wrong_rate(self) -> float:
        return self.wrong / self.hits if self.hits else 0.0


def tally_of(outcomes: Iterable[Outcome]) -> Tally:
    """Walk to the end, and count."""
    tally = Tally()
    for one in outcomes:
        tally.prompts += 1
        tally.answerable += one.is_answerable
        tally.repeats += one.how == "repeat"
        tally.wrong_repeats += one.how == "repeat" and one.is_wrong
        tally.rewordings += one.how == "wording"
        tally.near += one.how == "near"
        tally.spent += one.is_spent
        if one.is_wrong and one.how != "repeat":
            tally.mistakes.append(one)
    return tally


class Cache:
    """One scope: texts with the class of their answer."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.classes: dict[str, str] = {}
        self._rows = np.empty(len(stream.rows), np.int64)  # of `_texts`
        self._texts: list[str] = []
        self._wordings: dict[str, list[str]] = {}

    def remember(self, text: str, class_id: str, gate: str | None, *, is_found: bool = True) -> None:
        if text not in self.classes and is_found:
            if gate is None:
                self._rows[len(self._texts)] = self._stream.rows[text]
                self._texts.append(text)
            if gate in (None, "unread") and (wording := self._stream.bare_forms[text]):
                self._wordings.setdefault(wording, []).append(text)
        self.classes[text] = class_id

    def same_wording(self, text: str) -> str | None:
        """A remembered text of the same bare form that no guard minds; the newest, as the product has it."""
        said = self._stream.bare_forms[text]
        known = self._wordings.get(said, [])[: -SAME_AT_MOST - 1 : -1] if said else []
        return next((other for other in known if self._stream.memo.refusal(text, other) is None), None)

    def near(self, text: str) -> list[Neighbour]:
        similar = self._stream.similar[self._stream.rows[text], self._rows[: len(self._texts)]]
        far = len(similar) - CANDIDATES
        some = np.argpartition(similar, far)[far:] if far > 0 else np.arange(len(similar))
        nearest = some[np.lexsort((some, -similar[some]))]
        return [
            Neighbour(other, self._stream.readings[other], float(similar[n]), other.encode())
            for n, other in ((int(n), self._texts[n]) for n in nearest)
        ]


def walk(stream: Stream, asked: Sequence[Asked], policy: Policy, worded: Worded | None = None) -> Iterator[Outcome]:
    """Drive `policy` through prompts, one outcome for each that is asked; `worded`: with the product's gates and bare
    forms before it."""
    caches: dict[str, Cache] = {}
    seen: set[tuple[str, str]] = set()
    for one in asked:
        cache = caches.setdefault(one.scope, Cache(stream))
        gate = stream.gates.get(one.text) if worded is not None else None
        learned: Learned | None = Learned()
        if not one.is_insert:
            is_answerable = (one.scope, one.class_id) in seen
            how, stored, learned = _asked(one, gate, cache, stream, policy, worded)
            served_class = cache.classes[stored] if stored is not None else None
            yield Outcome(one, is_answerable, how, stored, served_class, learned is not None and learned.is_spent)
        seen.add((one.scope, one.class_id))
        if learned is not None:
            cache.remember(one.text, one.class_id, gate, is_found=learned.is_remembered)


def _asked(
    one: Asked, gate: str | None, cache: Cache, stream: Stream, policy: Policy, worded: Worded | None
) -> tuple[How, str | None, Learned | None]:
    """How it was served and with whose answer; or what was learned from its own."""
    if one.text in cache.classes:
        return "repeat", one.text, None
    if gate in ("too_long", "volatile"):
        return "generated", None, Learned()
    if worded is not None and (other := cache.same_wording(one.text)) is not None:
        if worded.choose_wording(one.text, other):
            return "wording", other, None
        is_right = cache.classes[other] == one.class_id
        return "generated", None, worded.learn_wording(one.text, other, is_right=is_right)
    question = Question(stream.readings[one.text], cache.near(one.text) if gate is None else [])
    if not question.neighbours:
        return "generated", None, Learned()
    if (chosen := policy.choose(question)) is not None:
        return "near", question.neighbours[chosen].reading.text, None
    are_right = [cache.classes[neighbour.reading.text] == one.class_id for neighbour in question.neighbours]
    return "generated", None, policy.learn(question, are_right)
