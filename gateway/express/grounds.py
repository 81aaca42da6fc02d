"""What an answer was given on, and whether all of it still holds: asked at every hit, of those who decide it.

    who asks        the credential is looked up anew: a key that has ended stops at once
    what it may     its policy is the very one; another word about its tenant makes another
    which model     whoever serves it has said nothing new
    which rules     no threshold was changed
    which answer    memory has the very entry, and no other process removed any
    how old         its end, the caller's and the operator's limits of age

Where one of them cannot be said at once, it does not hold: the whole road knows.
"""

from dataclasses import dataclass, field
from typing import Protocol

from gateway.answers.base import CacheError, Entry, NearAnswers
from gateway.callers.caller import Caller
from gateway.callers.keys import Keys
from gateway.errors import NotAuthorised
from gateway.quota.policies import Policies, TenantPolicy


class Routes(Protocol):
    """Who serves which model."""

    @property
    def stamp(self) -> object | None:
        """Equal to another as long as nothing was said anew; None: somebody has to be asked."""


class Changes(Protocol):
    """What an operator changes while the server runs."""

    @property
    def count(self) -> int:
        """How many changes there were."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """Of one answer to one request."""

    credential: str | None = field(repr=False)
    caller: Caller
    policy: TenantPolicy
    routes: object
    changes: int
    scope: bytes
    exact: bytes
    stamp: object  # of the entry
    entry: Entry = field(repr=False)
    max_age_s: float | None  # what the caller and the operator take, the narrower

    def are_timely(self, now_s: float) -> bool:
        """Whether its answer is not too old."""
        if not self.entry.is_fresh(now_s):
            return False
        return self.max_age_s is None or not self.entry.is_older(self.max_age_s, now_s)


@dataclass(frozen=True, slots=True)
class World:
    """Those who decide."""

    keys: Keys
    policies: Policies
    answers: NearAnswers
    routes: Routes
    changes: Changes | None

    @property
    def num_changes(self) -> int:
        return 0 if self.changes is None else self.changes.count

    def upholds(self, grounds: Grounds, now_s: float) -> bool:
        """Whether everything is as it was."""
        try:
            caller = self.keys.identify(grounds.credential)
            return (
                (caller is grounds.caller or caller == grounds.caller)
                and self.policies.of(caller) is grounds.policy
                and self.answers.stamp_now(grounds.scope, grounds.exact) is grounds.stamp
                and grounds.are_timely(now_s)
                and self.num_changes == grounds.changes
                and self.routes.stamp == grounds.routes
            )
        except (NotAuthorised, CacheError):  # the whole road says so, or counts it
            return False
