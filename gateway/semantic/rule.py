"""Whose traffic a lane is, and what the operator allows it. Values only."""

from dataclasses import dataclass
from typing import NamedTuple

from gateway.policy import Mode, Rules


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
