"""Stored questions that wait for a vector from the gateway that stored them: it may have ended before it gave one."""

import time
from collections import OrderedDict
from collections.abc import Callable

WAIT_S = 30.0  # for a vector: a busy embedder has a queue
MOST = 10_000


class Orphans:
    """What is waited for, by (scope, id). Belongs to one event loop."""

    def __init__(self, wait_s: float = WAIT_S, now: Callable[[], float] = time.monotonic) -> None:
        self._wait_s = wait_s
        self._now = now
        self._since: OrderedDict[tuple[bytes, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since)

    def expect(self, scope: bytes, entry_id: str) -> None:
        """Somebody stored it, and will give it a vector."""
        self._since[scope, entry_id] = self._now()
        self._since.move_to_end((scope, entry_id))
        if len(self._since) > MOST:
            self._since.popitem(last=False)

    def settle(self, scope: bytes, entry_id: str) -> None:
        """It has one, or is gone."""
        self._since.pop((scope, entry_id), None)

    def are_overdue(self) -> bool:
        """Whether one has waited for too long; who hears of it looks after all that have."""
        horizon_s, found = self._now() - self._wait_s, False
        while self._since and next(iter(self._since.values())) < horizon_s:
            self._since.popitem(last=False)
            found = True
        return found
