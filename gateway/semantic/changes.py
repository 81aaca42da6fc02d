"""What an operator changed of lanes while the server runs: it holds until the next start."""

from dataclasses import dataclass, replace

from gateway.policy import Mode, Rules
from gateway.semantic.rule import LaneKey

MAX_CHANGES = 1024


@dataclass(frozen=True, slots=True)
class Change:
    """What is otherwise than in the configuration; None: nothing."""

    mode: Mode | None = None
    max_wrong_hit_rate: float | None = None


class Changes:
    """By lane. Belongs to one event loop."""

    def __init__(self) -> None:
        self._changes: dict[LaneKey, Change] = {}
        self.count = 0  # how many there were

    def ruled(self, tenant: str, rules: Rules) -> Rules:
        """`rules` as they were changed for this lane."""
        change = self._changes.get(LaneKey(tenant, rules.route))
        if change is None:
            return rules
        target = rules.max_wrong_hit_rate if change.max_wrong_hit_rate is None else change.max_wrong_hit_rate
        return replace(rules, mode=change.mode or rules.mode, max_wrong_hit_rate=target)

    def make(self, key: LaneKey, change: Change) -> bool:
        """Let other rules hold for a lane from now on; False when too many were changed."""
        if key not in self._changes and len(self._changes) >= MAX_CHANGES:
            return False
        self.count += 1
        old = self._changes.get(key, Change())
        target = old.max_wrong_hit_rate if change.max_wrong_hit_rate is None else change.max_wrong_hit_rate
        self._changes[key] = Change(change.mode or old.mode, target)
        return True
