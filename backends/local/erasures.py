"""Erasures under way: RAM forgets at once, slower tiers in threads of their own; this waits for them between steps."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.local.wire import Erase, Erased

if TYPE_CHECKING:
    from backends.local.engine.engine import Engine
    from kvtier.cache import Erasing

LOOK_EVERY_S = 0.01


@dataclass(frozen=True, slots=True)
class _UnderWay:
    request: int
    work: "Erasing"
    until_s: float


class Erasures:
    """Those that somebody waits for."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._under_way: list[_UnderWay] = []

    def add(self, erase: Erase) -> None:
        """Begin one."""
        until_s = time.monotonic() + erase.patience_s
        self._under_way.append(_UnderWay(erase.request, self._engine.erase(erase.owner), until_s))

    def pause(self, pause_s: float | None) -> float | None:
        """How long the loop may wait."""
        return pause_s if not self._under_way else min(LOOK_EVERY_S, LOOK_EVERY_S if pause_s is None else pause_s)

    def done(self, now_s: float) -> list[Erased]:
        """Those that are done by now, or not waited for any longer."""
        done = [one for one in self._under_way if one.work.is_done or now_s > one.until_s]
        self._under_way = [one for one in self._under_way if one not in done]
        return [_told(one) for one in done]


def _told(one: _UnderWay) -> Erased:
    tiers = one.work.tiers.items()
    segments = {name: tier.count for name, tier in tiers if tier.is_done}
    return Erased(one.request, one.work.blocks, segments, [name for name, tier in tiers if not tier.is_done])
