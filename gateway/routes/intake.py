"""What every route takes a request in with."""

from dataclasses import dataclass, field
from typing import Protocol

from gateway.body import Curfew, Turns
from gateway.callers.auth import Headers, credential_of, read_credential
from gateway.callers.caller import CHAT, Caller
from gateway.callers.keys import Keys, is_ours
from gateway.errors import NotAdmin, NotAuthorised
from gateway.quota.gate import Quota
from gateway.quota.policies import Policies
from gateway.shapes.base import Shape


class Tokens(Protocol):
    """Credentials that somebody else gives out."""

    def takes(self, credential: str) -> bool:
        """Whether it looks like one."""

    async def identify(self, token: str) -> Caller:
        """Who shows it. Raises `NotAuthorised` and `IssuerAway`."""

    def still_holds(self, token: str) -> bool:
        """Whether one that was good is still, by what is known."""


@dataclass(frozen=True, slots=True)
class Intake:
    """One for all routes of a server. `keys` name tenants, what takes long ends at the `curfew`."""

    keys: Keys
    max_body_bytes: int
    curfew: Curfew
    zero_usage: bool = False  # hits are reported as free
    policies: Policies = field(default_factory=Policies)
    quota: Quota = field(default_factory=Quota)
    tokens: Tokens | None = None  # of an identity provider
    turns: Turns = field(default_factory=Turns)

    async def identify(self, headers: Headers, shape: Shape | None = None, scope: str = CHAT) -> Caller:
        """Who asks, as the shape's clients say it; somebody who may do what `scope` names.

        Raises `NotAuthorised`, `ScopeLacking`, or `PolicyUnreadable` where nobody knows what that is.
        """
        credential = read_credential(headers) if shape is None else shape.credential(headers)
        caller = await self._identify(credential)
        caller.need(scope)
        self.policies.check(caller)
        return caller

    async def _identify(self, credential: str | None) -> Caller:
        if credential and self.tokens is not None and self.tokens.takes(credential):
            return await self.tokens.identify(credential)
        return self.keys.identify(credential)

    async def caller(self, api_key: str, tenant: str = "") -> str:
        """Whom an operator speaks for: a tenant by name, or whoever shows this. Raises as `Keys.caller`."""
        if api_key and not tenant and self.tokens is not None and self.tokens.takes(api_key):
            return (await self.tokens.identify(api_key)).tenant
        return self.keys.caller(api_key, tenant)

    async def known(self, authorization: str | None) -> Caller | None:
        """Who shows what this gateway knows; None for anybody else. Raises `NotAdmin` for what has ended."""
        credential = credential_of(authorization)
        is_token = credential is not None and self.tokens is not None and self.tokens.takes(credential)
        if credential is None or not (is_token or is_ours(credential)):
            return None
        try:
            return await self._identify(credential)
        except NotAuthorised as error:
            raise NotAdmin(error.message) from error

    def still_knows(self, authorization: str | None) -> bool:
        """Whether what was known is still; what never was is not of our making, and does not end."""
        credential = credential_of(authorization)
        if credential is None:
            return True
        if self.tokens is not None and self.tokens.takes(credential):
            return self.tokens.still_holds(credential)
        return not is_ours(credential) or self.keys.holds(credential)
