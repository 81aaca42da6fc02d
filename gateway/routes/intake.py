"""What every route takes a request in with."""

from dataclasses import dataclass

from gateway.body import Curfew
from gateway.callers.keys import Keys


@dataclass(frozen=True, slots=True)
class Intake:
    """One for all routes of a server. `keys` name tenants, what takes long ends at the `curfew`."""

    keys: Keys
    max_body_bytes: int
    curfew: Curfew
    zero_usage: bool = False  # hits are reported as free
