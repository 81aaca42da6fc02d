"""Surveys of the kept prefixes, made a little at a time between the steps of the engine."""

from collections import deque
from typing import TYPE_CHECKING

from backends.local.wire import Survey, Surveyed

if TYPE_CHECKING:
    from backends.local.engine.engine import Engine
    from kvtier.survey import Survey as Work

SLICE_S = 0.0005  # after every step, while one is being made


class Surveys:
    """Those that are wanted; one is made at a time."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._wanted: deque[Survey] = deque()
        self._work: Work | None = None

    @property
    def has_work(self) -> bool:
        return bool(self._wanted)

    def add(self, survey: Survey) -> None:
        """Take one more."""
        self._wanted.append(survey)

    def step(self) -> list[Surveyed]:
        """Go on for a moment; the survey that is done by now, if one is."""
        if not self._wanted:
            return []
        if self._work is None:
            self._work = self._engine.survey(self._wanted[0].most_nodes)
        if not self._work.step(SLICE_S):
            return []
        report, self._work = self._work.report(), None
        return [Surveyed(self._wanted.popleft().request, report)]
