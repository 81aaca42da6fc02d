"""Who comes in to what operators look at: by the admin key, a session, or a key or token with the scope for it."""

from dataclasses import dataclass

from fastapi import Request

from gateway.callers.door import Door
from gateway.routes.dashboard import visit_of
from gateway.routes.intake import Intake


@dataclass(frozen=True, slots=True)
class Entrance:
    """The door, and who is known by what he shows."""

    door: Door
    intake: Intake

    async def admit(self, request: Request) -> None:
        """Raises as `Door.admit`."""
        visit = visit_of(request)
        is_key = self.door.rule.is_key(visit.authorization)
        self.door.admit(visit, None if is_key else await self.intake.known(visit.authorization))

    def still_admits(self, request: Request) -> bool:
        """Whether who was admitted would still be: for what goes on after the door."""
        visit = visit_of(request)
        is_known = self.door.rule.is_key(visit.authorization) or self.intake.still_knows(visit.authorization)
        return is_known and self.door.still_admits(visit)
