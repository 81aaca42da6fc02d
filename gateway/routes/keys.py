"""Keys in the admin API: make one (its text is shown once), list, rotate, revoke, and say whose a key is.

GET    /admin/api/keys
POST   /admin/api/keys                 {"name": "chat app", "tenant": "...", "expires_in_s": 86400, "scopes": ["chat"]}
POST   /admin/api/keys/ID/rotate       {"grace_s": 3600}
DELETE /admin/api/keys/ID
POST   /admin/api/keys/tenant          {"api_key": "..."}
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from gateway.callers.caller import OF_CALLERS
from gateway.callers.keys import MAX_S, Wish
from gateway.errors import InvalidRequest
from gateway.quota.reading import read_said, written
from gateway.routes.intake import Intake
from gateway.routes.reading import read_json
from gateway.routes.tenants import PolicyBody

Seconds = Annotated[float, Field(ge=0, le=MAX_S, strict=True)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CreateBody(_Body):
    name: StrictStr
    tenant: StrictStr = ""
    expires_in_s: Seconds | None = None
    policy: PolicyBody | None = None
    scopes: list[StrictStr] = Field(default_factory=lambda: sorted(OF_CALLERS))


class RotateBody(_Body):
    grace_s: Seconds = 0.0


class WhoseBody(_Body):
    api_key: StrictStr = ""


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """What the routes work on."""

    intake: Intake


def add_keys(routes: APIRouter, desk: KeyDesk) -> None:
    """Add them to the admin API."""
    keys = desk.intake.keys

    @routes.get("/keys")
    async def all_keys() -> dict[str, Any]:
        return {"data": keys.listing()}

    @routes.post("/keys")
    async def create(request: Request) -> JSONResponse:
        body = await read_json(CreateBody, request, desk.intake.max_body_bytes)
        wish = Wish(**body.model_dump(exclude={"policy"}), policy=_checked(body.policy))
        return JSONResponse(await keys.create(wish), status_code=201)

    @routes.post("/keys/tenant")
    async def whose(request: Request) -> dict[str, Any]:
        body = await read_json(WhoseBody, request, desk.intake.max_body_bytes)
        return {"tenant": await desk.intake.caller(body.api_key)}

    @routes.post("/keys/{key_id}/rotate")
    async def rotate(key_id: str, request: Request) -> JSONResponse:
        body = await read_json(RotateBody, request, desk.intake.max_body_bytes)
        return JSONResponse(await keys.rotate(key_id, body.grace_s), status_code=201)

    @routes.delete("/keys/{key_id}")
    async def revoke(key_id: str) -> dict[str, Any]:
        return await keys.revoke(key_id)


def _checked(policy: PolicyBody | None) -> dict[str, Any] | None:
    """What a key allows of its tenant's policy, as it is kept. Raises `InvalidRequest`."""
    if policy is None:
        return None
    try:
        return written(read_said(policy.model_dump(exclude_unset=True, exclude_none=True)))
    except InvalidRequest as error:
        raise InvalidRequest(error.message, f"policy.{error.param}") from error
