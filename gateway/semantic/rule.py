"""Whose traffic a lane is, and what the operator allows it. Values only."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway.policy import LOOSE, Mode, Rules


class LaneKey(NamedTuple):
    """Whose traffic, and which part of it: what is learned of one is never used for another."""

    tenant: str
    route: str


@dataclass(frozen=True, slots=True)
class LaneRule:
    """What an operator allows one lane."""

    key: LaneKey
    mode: Mode
    max_wrong_hit_rate: float
    shadow_rate: float

    @classmethod
    def of(cls, tenant: str, rules: Rules) -> "LaneRule":
        return cls(LaneKey(tenant, rules.route), rules.mode, rules.max_wrong_hit_rate, rules.shadow_rate)

    @property
    def is_loose(self) -> bool:
        """Whether it is about hits of other histories."""
        return self.key.route.endswith(LOOSE)

    @property
    def traffic(self) -> LaneKey:
        """The lane of the questions of one history, of the same traffic."""
        return LaneKey(self.key.tenant, self.key.route.removesuffix(LOOSE))

    def over(self, rules: Rules) -> Rules:
        """`rules` with what this one says: `of` gives it back."""
        if LaneRule.of(self.key.tenant, rules) == self:
            return rules
        return replace(
            rules,
            route=self.key.route,
            mode=self.mode,
            max_wrong_hit_rate=self.max_wrong_hit_rate,
            shadow_rate=self.shadow_rate,
        )
