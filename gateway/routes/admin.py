"""The admin API: what the gateway does and keeps, and its local models.

It changes what a server holds, so it takes JSON bodies only, and a cookie only from a page of ours: a page of another
site cannot speak to it in a visitor's name. Who may is said in `gateway.callers.door`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

from gateway.body import ClientGone, while_connected
from gateway.curation.erase import Erasure
from gateway.engines import Engines
from gateway.errors import InvalidRequest
from gateway.identity.scope import Scope
from gateway.routes.backends import Fleet, add_backends
from gateway.routes.entrance import Entrance
from gateway.routes.entries import Shelves, add_entries
from gateway.routes.erase import add_erase
from gateway.routes.explain import Inquiry, add_explain
from gateway.routes.intake import Intake
from gateway.routes.keys import KeyDesk, add_keys
from gateway.routes.live import Desk, add_live
from gateway.routes.prefixes import add_prefixes
from gateway.routes.quality import Quality, add_quality
from gateway.routes.reading import GONE_STATUS, read_json
from gateway.routes.tenants import add_tenants
from gateway.routes.thresholds import Panel, add_thresholds
from gateway.routes.transfer import Porter, add_transfer
from gateway.routes.warm import Warmer, add_warm
from gateway.settings import EngineSettings, SettingsError, read_model
from gateway.wire import MAX_SALT_CHARS, Message

MAX_NODES = 500  # of a tree of prefixes

Name = Annotated[StrictStr, Field(min_length=1, max_length=256)]


class LoadBody(BaseModel):
    """A model to load; `settings` are those of [engine] in the configuration file."""

    model_config = ConfigDict(extra="forbid")
    source: Annotated[StrictStr, Field(min_length=1, max_length=4096)]
    name: Annotated[StrictStr, Field(max_length=256)] = ""
    settings: dict[str, Any] = {}


class WarmBody(BaseModel):
    """A prefix to compute and keep, for the callers who will send it."""

    model_config = ConfigDict(extra="forbid")
    model: Name
    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    tools: list[dict[str, Any]] | None = None
    api_key: StrictStr = ""  # what those callers send as their key
    tenant: StrictStr = ""  # instead of it: their name, as the admin API shows it
    namespace: Annotated[StrictStr, Field(max_length=256)] = ""
    cache_salt: Annotated[StrictStr, Field(max_length=MAX_SALT_CHARS)] = ""
    pin: StrictBool = True


@dataclass(frozen=True, slots=True)
class Admin:
    """What the routes work on."""

    entrance: Entrance
    engines: Engines
    defaults: EngineSettings  # of a model's settings
    stats: Callable[[], Awaitable[dict[str, Any]]]
    secret: bytes
    intake: Intake
    shelves: Shelves
    inquiry: Inquiry
    panel: Panel
    fleet: Fleet
    prefixes: Callable[[], dict[str, Any]]  # what is found to part prompts
    desk: Desk
    quality: Quality | None
    porter: Porter
    warmer: Warmer
    erasure: Erasure


def admin_routes(admin: Admin) -> APIRouter:
    """Everything below /admin/api."""

    routes = APIRouter(prefix="/admin/api", dependencies=[Depends(admin.entrance.admit)])

    @routes.get("/stats")
    async def stats() -> dict[str, Any]:
        return await admin.stats()

    _add_models(routes, admin)
    _add_kv(routes, admin)
    add_entries(routes, admin.shelves)
    add_explain(routes, admin.inquiry)
    add_thresholds(routes, admin.panel)
    add_backends(routes, admin.fleet)
    add_prefixes(routes, admin.prefixes)
    add_live(routes, admin.desk, admin.entrance)
    add_quality(routes, admin.quality)
    add_transfer(routes, admin.porter)
    add_keys(routes, KeyDesk(admin.intake))
    add_erase(routes, admin.erasure, admin.intake)
    add_tenants(routes, admin.intake)
    add_warm(routes, admin.warmer)
    return routes


def _add_models(routes: APIRouter, admin: Admin) -> None:
    engines = admin.engines

    @routes.get("/models")
    async def models() -> dict[str, Any]:
        return {"data": await engines.reports()}

    @routes.get("/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        return await engines.report(name)

    @routes.post("/models")
    async def load(request: Request) -> JSONResponse:
        body = await read_json(LoadBody, request, admin.intake.max_body_bytes)
        for field in ("source", "name"):  # both stand in the log
            if not getattr(body, field).isprintable():
                raise InvalidRequest(f"{field} must be printable.", field)
        if body.settings.get("kv_redis") not in (None, "", "off"):
            told = 'Another Redis is named by the configuration only; "off" keeps nothing there.'
            raise InvalidRequest(told, "settings.kv_redis")
        for name in ("warm_prompts", "public_prompts"):
            if any(str(prompt).startswith("@") for prompt in _listed(body.settings.get(name))):
                told = "Files are read by the configuration only; give the text itself."
                raise InvalidRequest(told, f"settings.{name}")
        try:
            wanted = read_model(body.source, body.name, body.settings, admin.defaults, "settings.")
        except SettingsError as error:
            raise InvalidRequest(f"{error}.", str(error).split()[0]) from error
        await engines.load(wanted)
        return JSONResponse(await engines.report(wanted.name), status_code=202)

    @routes.delete("/models/{name:path}")
    async def unload(name: str) -> JSONResponse:
        await engines.unload(name)
        return JSONResponse({"name": name, "state": "unloading"}, status_code=202)


def _listed(value: Any) -> list[Any]:
    return value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []


def _add_kv(routes: APIRouter, admin: Admin) -> None:
    engines = admin.engines

    @routes.get("/kv")
    async def occupancy(nodes: Annotated[int, Query(ge=0, le=MAX_NODES)] = 0) -> dict[str, Any]:
        """What every model keeps; with `nodes`, so many of the prefixes that its callers share most."""
        shared = await engines.shared_prefixes(nodes) if nodes else {}
        kept = engines.kept()
        return {"models": {name: {**kept[name], "prefixes": shared.get(name)} for name in kept}}

    @routes.delete("/kv")
    async def clear(model: str | None = None) -> dict[str, Any]:
        return {"cleared": engines.clear_kv(model)}

    @routes.post("/kv/warm")
    async def warm(request: Request) -> Response:
        body = await read_json(WarmBody, request, admin.intake.max_body_bytes)
        tenant = await admin.intake.caller(body.api_key, body.tenant)
        scope = Scope(tenant, body.model, namespace=body.namespace, salt=body.cache_salt)
        messages = [message.model_dump(exclude_unset=True) for message in body.messages]
        engine = engines.engine(body.model, "model")
        work = engine.warm(messages, body.tools, scope.kv_salt(admin.secret), tenant, pin=body.pin)
        try:
            return JSONResponse(dict(await while_connected(request.receive, admin.intake.curfew, work)))
        except ClientGone:
            return Response(status_code=GONE_STATUS)
