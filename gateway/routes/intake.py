"""What every route takes a request in with."""

from dataclasses import dataclass

from gateway.body import Curfew
from gateway.callers.auth import Headers, read_credential
from gateway.callers.caller import CHAT, Caller
from gateway.callers.keys import Keys
from gateway.shapes.base import Shape


@dataclass(frozen=True, slots=True)
class Intake:
    """One for all routes of a server. `keys` name tenants, what takes long ends at the `curfew`."""

    keys: Keys
    max_body_bytes: int
    curfew: Curfew
    zero_usage: bool = False  # hits are reported as free

    async def identify(self, headers: Headers, shape: Shape | None = None, scope: str = CHAT) -> Caller:
        """Who asks, as the shape's clients say it; somebody who may do what `scope` names.

        Raises `NotAuthorised` or `ScopeLacking`.
        """
        caller = self.keys.identify(read_credential(headers) if shape is None else shape.credential(headers))
        caller.need(scope)
        return caller
