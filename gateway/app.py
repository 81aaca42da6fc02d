"""The ASGI application: routes over the services, and OpenAI's error shape for everything that goes wrong."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from backends.errors import BackendError
from gateway import __version__
from gateway.aside import CacheAside
from gateway.body import Curfew
from gateway.callers.auth import AdminRule
from gateway.callers.door import Door
from gateway.callers.sessions import ENDED_FILE, Attempts, Sessions
from gateway.curation.archive import Archive
from gateway.curation.erase import Held
from gateway.curation.retention import Aged
from gateway.edge.admission import Admission
from gateway.edge.framing import OneReading
from gateway.edge.words import Say
from gateway.errors import GatewayError, describe, error_body, retry_headers
from gateway.explain import Explainer
from gateway.express.debts import Settling
from gateway.live.feed import Feed
from gateway.openapi.document import document
from gateway.openapi.operations import OPERATIONS
from gateway.prefixes.report import report_of
from gateway.routes.admin import Admin, admin_routes
from gateway.routes.backends import Fleet
from gateway.routes.cache import CacheDesk, cache_routes
from gateway.routes.count_tokens import TokenCounter
from gateway.routes.dashboard import AdminHeaders, dashboard_routes, read_pages
from gateway.routes.embeddings import EmbeddingsEndpoint
from gateway.routes.entrance import Entrance
from gateway.routes.entries import Shelves
from gateway.routes.explain import Inquiry
from gateway.routes.feedback import FeedbackDesk, feedback_route
from gateway.routes.generate import GenerateEndpoint
from gateway.routes.health import health_routes
from gateway.routes.intake import Intake
from gateway.routes.live import Desk
from gateway.routes.models import models_route
from gateway.routes.names import OwnNames
from gateway.routes.thresholds import Panel
from gateway.routes.transfer import Porter
from gateway.routes.warm import Warmer
from gateway.services import Services
from gateway.shapes.base import Shape
from gateway.shapes.chat import ChatShape
from gateway.shapes.completions import CompletionsShape
from gateway.shapes.follow import Conversations
from gateway.shapes.messages.shape import MessagesShape
from gateway.shapes.responses.shape import ResponsesShape
from gateway.straight import Straight
from gateway.telemetry.exchange import Exchanges
from gateway.wire import complaint

SHAPES: dict[str, Shape] = {
    "/v1/chat/completions": ChatShape(),
    "/v1/completions": CompletionsShape(),
    "/v1/responses": ResponsesShape(),
    "/v1/messages": MessagesShape(),
}


ERRORS: dict[str, Say] = {path: shape.error for path, shape in SHAPES.items()}  # how each path tells them


class _Gateway(FastAPI):
    """FastAPI behind our own layers, which are outside of its."""

    front: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.front if self.front is not None and scope["type"] == "http" else super().__call__)(
            scope, receive, send
        )


def create_app(services: Services, opened: Callable[[], AbstractAsyncContextManager[None]], curfew: Curfew) -> FastAPI:
    """The application; `opened` holds the services open while it runs, what takes long ends at the curfew."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with opened():
            yield

    app = _Gateway(
        title="Twicetold", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.openapi = partial(document, OPERATIONS, __version__)  # type: ignore[method-assign]  # the pages of FastAPI load scripts from elsewhere
    settings = services.settings
    free = settings.cache.usage_on_hit == "zero"
    intake = Intake(
        services.keys,
        int(settings.max_body_mb * 2**20),
        curfew,
        zero_usage=free,
        tokens=services.issuer,
        policies=services.policies,
        quota=services.quota,
    )
    if services.express is not None:
        services.express.open(curfew)
    sessions = Sessions(services.secret, settings.admin_key, file=settings.data_dir / ENDED_FILE)
    door = Door(AdminRule(settings.admin_key, settings.is_local), sessions, Attempts())
    asked = list(_asked(services, intake))
    app.router.routes.extend(asked)
    app.include_router(models_route(services.router, intake))
    entrance = Entrance(door, intake)
    guard = None if settings.keys.open_metrics else entrance.admit
    app.include_router(health_routes(services.readiness, services.metrics, guard))
    app.include_router(dashboard_routes(door, read_pages()))
    app.include_router(admin_routes(_admin(services, intake, entrance)))
    app.include_router(feedback_route(FeedbackDesk(services.feedback, intake)))
    app.include_router(cache_routes(_cache_desk(services, intake)))
    straight = {route.path: route.app for route in asked if isinstance(route.endpoint, GenerateEndpoint)}
    front: ASGIApp = Straight(partial(FastAPI.__call__, app), straight)
    if settings.is_local and not settings.needs_keys:
        front = OwnNames(front, hosts=settings.hosts, shapes=ERRORS)
    front = Exchanges(_WholePaths(AdminHeaders(front)), observers=services.observing.observers)
    edge = services.edge
    app.front = OneReading(Admission(front, edge.rules, edge.counts, ERRORS, edge.memory))
    if services.express is not None:
        app.front = Settling(app.front, services.express.settle)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(GatewayError, _told)
    app.add_exception_handler(BackendError, _told)
    return app


def _asked(services: Services, intake: Intake) -> Iterator[Route]:
    """What answers, as plain ASGI."""
    keeps_s = services.settings.retention.conversations_s
    for path, shape in SHAPES.items():
        conversations = Conversations(services.secret, keeps_s=keeps_s)
        services.erasure.held.append(Held("conversations", conversations.count, conversations.forget))
        services.retention.aged.append(Aged(keeps_s, conversations.forget_before))
        endpoint = GenerateEndpoint(
            shape=shape,
            pipeline=services.pipeline,
            ledger=services.ledger,
            intake=intake,
            conversations=conversations,
            served=services.served,
            forgotten=services.erasure.forgotten,
            express=services.express,
        )
        yield Route(path, endpoint, methods=["POST"])
    counter = TokenCounter(MessagesShape(), services.router, services.ledger, intake)
    yield Route("/v1/messages/count_tokens", counter.answer, methods=["POST"])
    embeddings = EmbeddingsEndpoint(services.embeddings, services.ledger, intake)
    yield Route("/v1/embeddings", embeddings, methods=["POST"])


def _cache_desk(services: Services, intake: Intake) -> CacheDesk:
    return CacheDesk(
        aside=CacheAside(services.pipeline, services.served, services.ledger, services.erasure.forgotten),
        ledger=services.ledger,
        shapes={shape.route: shape for shape in SHAPES.values()},
        intake=intake,
        is_local=services.settings.is_local,
    )


def _admin(services: Services, intake: Intake, entrance: Entrance) -> Admin:
    settings = services.settings
    archive = Archive(services.answers, services.invalidation, services.feedback, services.semantic)
    explainer = Explainer(services.pipeline, services.answers, services.semantic, services.commons)
    return Admin(
        entrance=entrance,
        engines=services.engines,
        defaults=settings.engine,
        stats=services.stats,
        secret=services.secret,
        intake=intake,
        shelves=Shelves(archive, services.pipeline, intake),
        inquiry=Inquiry(explainer, services.served, intake),
        panel=Panel(services.thresholds, intake),
        fleet=Fleet(services.router, intake),
        prefixes=partial(report_of, services.prefixes, settings.prefixes.price_per_million),
        warmer=Warmer(services.pipeline, intake),
        porter=Porter(services.transfer, intake),
        desk=Desk(services.recent, Feed(services.recent, intake.curfew), intake),
        quality=services.thresholds,
        erasure=services.erasure,
    )


@dataclass(frozen=True, slots=True)
class _WholePaths:
    """A path that ends in a line break is nowhere: the router's patterns end before it, and it would be another's."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("\n"):
            response = JSONResponse(
                error_body("Not Found", "invalid_request_error", None, "not_found"), status_code=404
            )
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    body = error_body(str(error.detail), "invalid_request_error", None, code)
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def _bad_parameter(request: Request, error: Exception) -> JSONResponse:
    """A parameter of the address, which FastAPI has read; bodies are read by us."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return await _told(request, complaint(first["loc"][1:], first["type"], first["msg"], first["input"]))


async def _told(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GatewayError | BackendError)
    status, body = describe(error)
    response = JSONResponse(body, status_code=status)
    response.raw_headers.extend([*retry_headers(error), *getattr(error, "headers", ())])
    return response
