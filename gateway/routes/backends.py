"""The backends, seen and taken out of service: GET /admin/api/backends, POST .../{name}/drain, /resume, /weight."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from backends.routing.member import Member
from backends.routing.router import Router
from gateway.errors import BackendNotFound
from gateway.routes.intake import Intake
from gateway.routes.reading import read_json

_OF_PAGES = ("content-type", "origin", "referer", "sec-fetch-site", "cookie")  # what a browser may send


class NothingBody(BaseModel):
    """`{}`: a page of another site cannot send JSON, and so cannot drain anything in a visitor's name."""

    model_config = ConfigDict(extra="forbid")


async def _read_nothing(request: Request, limit_bytes: int) -> None:
    """`{}`, or nothing at all of who is no browser: one says where its page is from. Raises as `read_json`."""
    headers = request.headers
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if has_body or any(name in headers for name in _OF_PAGES):
        await read_json(NothingBody, request, limit_bytes)


class WeightBody(BaseModel):
    """How much a backend can do, against other replicas."""

    model_config = ConfigDict(extra="forbid")
    weight: Annotated[float, Field(strict=True, ge=0.001, le=1000)]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the routes work on."""

    router: Router
    intake: Intake

    def member(self, name: str) -> Member:
        """The backend of this name. Raises `BackendNotFound`."""
        member = self.router.member(name)
        if member is None:
            raise BackendNotFound(f"There is no backend {name!r}.", "name")
        return member


def add_backends(routes: APIRouter, fleet: Fleet) -> None:
    """Add them to the admin API."""

    @routes.get("/backends")
    async def report() -> dict[str, Any]:
        return fleet.router.report()

    async def told(request: Request, name: str, order: Callable[[Member], None]) -> dict[str, Any]:
        await _read_nothing(request, fleet.intake.max_body_bytes)
        member = fleet.member(name)
        order(member)
        return member.report()

    @routes.post("/backends/{name:path}/drain")
    async def drain(name: str, request: Request) -> dict[str, Any]:
        return await told(request, name, Member.drain)

    @routes.post("/backends/{name:path}/resume")
    async def resume(name: str, request: Request) -> dict[str, Any]:
        return await told(request, name, Member.resume)

    @routes.post("/backends/{name:path}/weight")
    async def weight(name: str, request: Request) -> dict[str, Any]:
        body = await read_json(WeightBody, request, fleet.intake.max_body_bytes)
        member = fleet.member(name)
        member.weight = body.weight
        return member.report()
