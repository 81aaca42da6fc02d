"""Who calls, and what for: the tenant, the key that was shown, and what its holder may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import ScopeLacking

CHAT = "chat"  # everything below /v1 that answers
FEEDBACK = "feedback"  # say whether an answer was good
ADMIN_READ = "admin:read"  # look at everything below /admin/api
ADMIN_WRITE = "admin:write"  # change it; whoever may change it may look
SCOPES = (CHAT, FEEDBACK, ADMIN_READ, ADMIN_WRITE)
OF_CALLERS = frozenset((CHAT, FEEDBACK))  # what a credential may do of which nothing else is said
OF_ADMINS = frozenset((ADMIN_READ, ADMIN_WRITE))


@dataclass(frozen=True, slots=True)
class Caller:
    """Made of a credential, never of what a request says of itself."""

    tenant: str
    key: str = ""  # id of a key that the gateway gave out
    scopes: frozenset[str] = OF_CALLERS
    narrowing: Mapping[str, Any] | None = field(default=None, hash=False)  # what its key allows of its tenant's policy
    family: str = ""  # of its key, where that replaced another: the id of the first

    def may(self, scope: str) -> bool:
        return scope in self.scopes or (scope == ADMIN_READ and ADMIN_WRITE in self.scopes)

    def need(self, scope: str) -> None:
        """Raises `ScopeLacking`."""
        if not self.may(scope):
            raise ScopeLacking(scope)
