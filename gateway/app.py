"""The ASGI application: routes over the services, and OpenAI's error shape for everything that goes wrong."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from gateway import __version__
from gateway.errors import error_body
from gateway.routes.chat import ChatEndpoint
from gateway.routes.health import health_routes, stats_route
from gateway.routes.models import models_route
from gateway.services import Services


def create_app(services: Services, opened: Callable[[], AbstractAsyncContextManager[None]]) -> FastAPI:
    """The application; `opened` holds the services open while it runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with opened():
            yield

    app = FastAPI(title="Twicetold", version=__version__, lifespan=lifespan)
    chat = ChatEndpoint(
        pipeline=services.pipeline,
        ledger=services.ledger,
        secret=services.secret,
        max_body_bytes=int(services.settings.max_body_mb * 2**20),
        zero_usage=services.settings.cache.usage_on_hit == "zero",
    )
    app.router.routes.append(Route("/v1/chat/completions", chat, methods=["POST"]))
    app.include_router(models_route(services.router))
    app.include_router(health_routes(services.readiness, services.metrics))
    app.include_router(stats_route(services.stats))
    app.add_exception_handler(HTTPException, _http_error)
    return app


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    body = error_body(str(error.detail), "invalid_request_error", None, code)
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)
