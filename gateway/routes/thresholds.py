"""GET and PUT /admin/api/thresholds: what each lane of the semantic tier may serve, how often it is wrong, and why."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from gateway.errors import InvalidRequest
from gateway.routes.intake import Intake
from gateway.routes.reading import read_json

Name = Annotated[StrictStr, Field(min_length=1, max_length=512)]


class ChangeBody(BaseModel):
    """What is to hold for one lane from now on; what is not given stays."""

    model_config = ConfigDict(extra="forbid")
    tenant: Name = "anonymous"
    route: Name = "default"
    mode: Literal["off", "shadow", "on"] | None = None
    max_wrong_hit_rate: Annotated[float, Field(strict=True, ge=0.0001, le=0.5)] | None = None
    verifier: Name | None = None


class Thresholds(Protocol):
    """The lanes, as the routes need them."""

    async def report(self) -> list[dict[str, Any]]: ...

    async def change(
        self,
        tenant: str,
        route: str,
        mode: Literal["off", "shadow", "on"] | None,
        max_wrong_hit_rate: float | None,
        verifier: str | None,
    ) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Panel:
    """What the routes work on; without a semantic tier there are no lanes."""

    thresholds: Thresholds | None
    intake: Intake


def add_thresholds(routes: APIRouter, panel: Panel) -> None:
    """Add both to the admin API."""

    @routes.get("/thresholds")
    async def report() -> dict[str, Any]:
        return {"lanes": await panel.thresholds.report() if panel.thresholds is not None else []}

    @routes.put("/thresholds")
    async def change(request: Request) -> dict[str, Any]:
        body = await read_json(ChangeBody, request, panel.intake.max_body_bytes)
        if panel.thresholds is None:
            raise InvalidRequest("There is no semantic tier: cache.semantic is off, or its packages are missing.")
        if body.mode is None and body.max_wrong_hit_rate is None and body.verifier is None:
            raise InvalidRequest("mode, max_wrong_hit_rate or verifier must be given.", "mode")
        return await panel.thresholds.change(body.tenant, body.route, body.mode, body.max_wrong_hit_rate, body.verifier)
