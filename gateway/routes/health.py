"""GET /healthz (the process answers), /readyz (it can answer a chat), /metrics."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.metrics import CONTENT_TYPE, Metrics


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is ready; `parts` says of each part "ready" or in a few words why not."""

    is_ready: bool
    parts: dict[str, str]


def health_routes(
    readiness: Callable[[], Awaitable[Readiness]],
    metrics: Metrics,
    guard: Callable[[Request], Awaitable[None]] | None = None,
) -> APIRouter:
    """Probes, and the scrape endpoint, which the guard may refuse."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz")
    async def readyz() -> JSONResponse:
        state = await readiness()
        body = {"status": "ready" if state.is_ready else "not ready", "parts": state.parts}
        return JSONResponse(body, status_code=200 if state.is_ready else 503)

    @routes.get("/metrics")
    async def scrape(request: Request) -> Response:
        if guard is not None:
            await guard(request)
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    return routes
