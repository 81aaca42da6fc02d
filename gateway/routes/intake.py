"""What every route takes a request in with."""

from dataclasses import dataclass, field

from gateway.body import Curfew
from gateway.callers.auth import Headers, credential_of, read_credential
from gateway.callers.caller import CHAT, Caller
from gateway.callers.keys import Keys, is_ours
from gateway.errors import NotAdmin, NotAuthorised
from gateway.quota.gate import Quota
from gateway.quota.policies import Policies
from gateway.shapes.base import Shape


@dataclass(frozen=True, slots=True)
class Intake:
    """One for all routes of a server. `keys` name tenants, what takes long ends at the `curfew`."""

    keys: Keys
    max_body_bytes: int
    curfew: Curfew
    zero_usage: bool = False  # hits are reported as free
    policies: Policies = field(default_factory=Policies)
    quota: Quota = field(default_factory=Quota)

    async def identify(self, headers: Headers, shape: Shape | None = None, scope: str = CHAT) -> Caller:
        """Who asks, as the shape's clients say it; somebody who may do what `scope` names.

        Raises `NotAuthorised` or `ScopeLacking`.
        """
        caller = self.keys.identify(read_credential(headers) if shape is None else shape.credential(headers))
        caller.need(scope)
        return caller

    async def known(self, authorization: str | None) -> Caller | None:
        """Who shows what this gateway knows; None for anybody else. Raises `NotAdmin` for what has ended."""
        credential = credential_of(authorization)
        if credential is None or not is_ours(credential):
            return None
        try:
            return self.keys.identify(credential)
        except NotAuthorised as error:
            raise NotAdmin(error.message) from error
