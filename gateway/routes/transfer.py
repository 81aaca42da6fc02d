"""GET /admin/api/export and POST /admin/api/import: stored answers as JSON lines.

    GET  /admin/api/export?tenant=&model=&namespace=&tag=&after=CURSOR
    POST /admin/api/import?first=1&on_conflict=newer|replace|keep&into=TENANT&map=OLD=NEW&dry_run=true

An import takes lines of an export as they are (content type application/x-ndjson), as many at a time as fit a body.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, get_args

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from gateway.body import ClientGone, read_body, while_connected
from gateway.curation.portable import Movement
from gateway.curation.transfer import Clash, Transfer, selected
from gateway.errors import GatewayError, InvalidRequest, NotJson, describe
from gateway.identity.scope import is_tenant
from gateway.routes.intake import Intake
from gateway.routes.reading import GONE_STATUS

CRITERIA = ("tenant", "model", "namespace", "tag")
LINES = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Porter:
    """What the routes work on."""

    transfer: Transfer
    intake: Intake


def add_transfer(routes: APIRouter, porter: Porter) -> None:
    """Add both to the admin API."""
    transfer = porter.transfer

    @routes.get("/export")
    async def export(request: Request) -> Response:
        asked = request.query_params
        unknown = sorted(set(asked) - {*CRITERIA, "after"})
        if unknown:
            raise InvalidRequest(f"{unknown[0]} is not a criterion; there are: {', '.join(CRITERIA)}.", unknown[0])
        chosen = selected({name: asked[name] for name in CRITERIA if name in asked})
        lines = transfer.export(chosen, asked.get("after"))
        first = await anext(lines)  # what is wrong with the question is told as an error, not inside a stream
        return StreamingResponse(_told(first, lines), media_type=LINES)

    @routes.post("/import")
    async def take_in(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != LINES:
            raise NotJson(f"Lines of an export are wanted, as content type {LINES}.")
        asked = request.query_params
        first, clash, movement, is_dry_run = _wishes(asked, asked.getlist("map"))
        try:
            raw = await read_body(request.receive, request.headers.get("content-length"), porter.intake.max_body_bytes)
            work = transfer.take_in(
                raw.split(b"\n"), first=first, movement=movement, clash=clash, is_dry_run=is_dry_run
            )
            return JSONResponse(await while_connected(request.receive, porter.intake.curfew, work))
        except ClientGone:
            return Response(status_code=GONE_STATUS)


async def _told(first: bytes, lines: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """An export; when it breaks off, its last line says why."""
    async with aclosing(lines):
        yield first
        try:
            async for some in lines:
                yield some
        except GatewayError as error:
            yield orjson.dumps({"kind": "error", **describe(error)[1]}) + b"\n"


def _wishes(asked: Mapping[str, str], moves: list[str]) -> tuple[int, Clash, Movement, bool]:
    """What an import is to do. Raises `InvalidRequest`."""
    unknown = sorted(set(asked) - {"first", "on_conflict", "into", "map", "dry_run"})
    if unknown:
        raise InvalidRequest(f"{unknown[0]} is not known here.", unknown[0])
    first = asked.get("first", "1")
    if not (first.isascii() and first.isdigit() and len(first) <= 12):
        raise InvalidRequest("first must be the number of the first line.", "first")
    clash: Any = asked.get("on_conflict", "newer")
    if clash not in get_args(Clash):
        raise InvalidRequest(f"on_conflict must be one of {', '.join(get_args(Clash))}.", "on_conflict")
    if asked.get("dry_run", "false") not in ("true", "false"):
        raise InvalidRequest("dry_run must be true or false.", "dry_run")
    pairs = []
    for move in moves:
        old, equals, new = move.partition("=")
        if not equals or not is_tenant(new):
            raise InvalidRequest("map must be OLD=NEW, names of tenants.", "map")
        pairs.append((old, new))
    into = asked.get("into", "")
    if into and not is_tenant(into):
        raise InvalidRequest("into must be the name of a tenant.", "into")
    return int(first), clash, Movement(into, tuple(pairs)), asked.get("dry_run") == "true"
