"""The lane's own verifier, fitted to its labels as they come: the product's functions, on numbers from the memo.

The product fits in the background, and a lane goes on with what it has; here a fit is there with the next prompt.
"""

import time
from collections.abc import Sequence

import numpy as np

from bench.quality.memo import Remembering
from embeddings.base import Reading
from embeddings.control import Label
from embeddings.verifier import dump, parse
from gateway.semantic.minds import TwoMinds
from gateway.semantic.refit import FEWEST, MOST, Work, folds_of, is_due, refit


class Refits:
    """Of one lane. Every pair of questions counts once, as its newest label has it."""

    def __init__(self, first: Remembering, uses: TwoMinds) -> None:
        self.kept = self.tried = 0
        self.seconds = 0.0
        self._start, self._memo, self._uses = first.verifier, first.memo, uses
        self._in_use = self._start
        self._until = 0  # labels that the one in use was fitted on
        self._total = self._since = 0
        self._labels: dict[tuple[str, str], tuple[int, Label]] = {}  # by pair, with its number

    def note(self, label: Label) -> None:
        """A label came."""
        self._total += 1
        self._since += 1
        pair = (min(label.question, label.stored), max(label.question, label.stored))
        self._labels.pop(pair, None)  # so that the newest is last
        self._labels[pair] = self._total, label
        if is_due(self._total, self._since):
            self._since = 0
            self._fit()

    def look_ahead(self, question: Reading, near: Sequence[Reading]) -> None:
        """Judge some pairs at once: one by one costs a hundred times as much."""
        if isinstance(self._uses.own, Remembering):
            self._uses.own.look_ahead(question, near)

    def _fit(self) -> None:
        latest = list(self._labels.values())[-MOST:]
        if len(latest) < FEWEST:
            return
        started = time.process_time()  # others may be computing, too
        labels = [label for _, label in latest]
        work = Work(
            self._memo.pairs([(label.question, label.stored) for label in labels]),
            np.array([label.is_right for label in labels], np.float64),
            folds_of([label.stored for label in labels]),
            sum(number <= self._until for number, _ in latest),
            dump(self._start),
            dump(self._in_use),
        )
        self.tried += 1
        if (outcome := refit(work)).verifier:
            self._in_use, self._until = parse(outcome.verifier), self._total
            self._uses.own = Remembering(self._in_use, self._memo)
            self.kept += 1
        self.seconds += time.process_time() - started
