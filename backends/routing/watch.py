"""Whether a backend is up, by its health checks: one that fails by chance takes nothing away. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchRule:
    """How often the health of backends is asked, and how many equal answers in a row are believed."""

    every_s: float = 10.0
    down_after: int = 2
    up_after: int = 1


@dataclass(slots=True)
class Watch:
    """What the health checks of one backend said."""

    rule: WatchRule
    is_up: bool = True
    detail: str = ""
    _against: int = 0  # answers in a row that contradict `is_up`

    def heard(self, is_ready: bool, detail: str) -> bool:
        """Note one check. True when it changed what is believed."""
        self.detail = detail
        if is_ready == self.is_up:
            self._against = 0
            return False
        self._against += 1
        if self._against < (self.rule.up_after if is_ready else self.rule.down_after):
            return False
        self.is_up, self._against = is_ready, 0
        return True
