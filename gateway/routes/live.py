"""What happens now, below /admin/api: the live feed, the last requests, their series, and what tokens cost."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, StrictStr
from starlette.types import Receive, Scope, Send

from gateway.errors import StoreAway
from gateway.live.feed import Feed, Stream
from gateway.live.prices import checked, checked_currency
from gateway.live.recent import KEPT, Recent
from gateway.routes.entrance import Entrance
from gateway.routes.intake import Intake
from gateway.routes.reading import read_json


class PricesBody(BaseModel):
    """The whole list: what is not in it has no price. Checked by `gateway.live.prices`."""

    model_config = ConfigDict(extra="forbid")
    currency: Any = "USD"
    models: Any
    version: StrictStr | None = None  # of the list that was read: it is replaced if nobody has changed it since


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes work on."""

    recent: Recent
    feed: Feed
    intake: Intake


class _Following(Response):
    """A stream, for a framework that wants a response."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream(scope, receive, send)


def add_live(routes: APIRouter, desk: Desk, entrance: Entrance) -> None:
    """Add them to the admin API; a live stream ends with the session or the key that opened it."""
    recent = desk.recent

    @routes.get("/live")
    async def live(request: Request, replay: Annotated[int, Query(ge=0, le=200)] = 0) -> Response:
        last = request.headers.get("last-event-id")
        return _Following(desk.feed.stream(last, replay, lambda: entrance.still_admits(request)))

    @routes.get("/requests")
    async def requests(
        limit: Annotated[int, Query(ge=1, le=KEPT)] = 100, tier: str = "", model: str = ""
    ) -> dict[str, Any]:
        return {"data": list(recent.rows(limit, tier, model))}

    @routes.get("/series")
    async def series(minutes: Annotated[int, Query(ge=1, le=10_080)] = 15) -> dict[str, Any]:
        return recent.series(minutes)

    @routes.get("/prices")
    async def prices() -> dict[str, Any]:
        return recent.prices.told(recent.models)

    @routes.put("/prices")
    async def change(request: Request) -> dict[str, Any]:
        body = await read_json(PricesBody, request, desk.intake.max_body_bytes)
        try:
            await recent.prices.change(checked_currency(body.currency), checked(body.models), body.version)
        except OSError as error:
            raise StoreAway(f"The price list cannot be kept: {error.strerror}.") from error
        return recent.prices.told(recent.models)
