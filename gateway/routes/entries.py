"""Stored answers in the admin API: look for them, look at one, take one or many out of service."""

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from backends.chat import ChatRequest
from gateway.answers.base import CacheError, Entry, Verdict
from gateway.answers.selection import MAX_PAGE, Listed, Page, Selection
from gateway.answers.tiered import TieredAnswers
from gateway.body import ClientGone
from gateway.controls import Controls, read_controls
from gateway.errors import InvalidRequest, StoreAway, UnknownId
from gateway.invalidate import Invalidation
from gateway.pipeline import Pipeline
from gateway.routes.reading import GONE_STATUS, read_json
from gateway.scope import tenant_of
from gateway.wire import parse_chat

T = TypeVar("T")
Name = Annotated[StrictStr, Field(min_length=1, max_length=512)]
Seconds = Annotated[float, Field(ge=0, le=10**10, strict=True)]

CRITERIA = ("text", "tag", "model", "namespace", "tenant", "revision", "embedder", "id")  # of the list, as they are


class InvalidateBody(BaseModel):
    """What to remove: every criterion that is given must hold. `dry_run` shows it first."""

    model_config = ConfigDict(extra="forbid")
    id: Name | None = None
    request: dict[str, Any] | None = None  # the entry of exactly this chat request
    api_key: StrictStr = ""  # what the callers of that request send as their key
    tag: Name | None = None
    model: Name | None = None
    namespace: Annotated[StrictStr, Field(max_length=512)] | None = None
    tenant: Name | None = None
    revision: Annotated[StrictStr, Field(max_length=512)] | None = None
    schema_: Annotated[StrictInt | None, Field(alias="schema")] = None
    embedder: Name | None = None
    older_than: Seconds | None = None  # seconds
    all: StrictBool = False
    dry_run: StrictBool = True


@dataclass(frozen=True, slots=True)
class Archive:
    """What the routes work on."""

    answers: TieredAnswers
    invalidation: Invalidation
    pipeline: Pipeline
    secret: bytes
    max_body_bytes: int


def add_entries(routes: APIRouter, archive: Archive) -> None:
    """The routes below /entries, and /invalidate."""

    @routes.get("/entries")
    async def entries(request: Request) -> dict[str, Any]:
        asked = request.query_params
        page = _page(asked)
        unknown = sorted(set(asked) - {*CRITERIA, "limit", "after"})
        if unknown:
            raise InvalidRequest(f"{unknown[0]} is not a criterion; there are: {', '.join(CRITERIA)}.", unknown[0])
        selection = Selection(**{name: asked[name] for name in CRITERIA if name in asked})  # type: ignore[arg-type]
        rows = await _stored(archive.answers.select(selection, replace(page, limit=page.limit + 1)))
        shown, has_more = rows[: page.limit], len(rows) > page.limit
        return {"data": [_row(row) for row in shown], "next": _place(shown[-1]) if has_more else None}

    @routes.get("/entries/{entry_id}")
    async def entry(entry_id: str) -> dict[str, Any]:
        row = await _one(archive.answers, entry_id)
        found = await _stored(archive.answers.owned(row.tenant, row.id))
        if found is None:
            raise _unknown(entry_id)
        said = await _stored(archive.answers.verdicts(found.scope, found.id))
        return {**_row(row), **_content(found), "verdicts": [_verdict(verdict) for verdict in said]}

    @routes.delete("/entries/{entry_id}")
    async def remove(entry_id: str) -> dict[str, Any]:
        done = await _stored(archive.invalidation.run(Selection(id=entry_id)))
        if not done.count:
            raise _unknown(entry_id)
        return {"id": entry_id, "deleted": True, "count": done.count}

    @routes.post("/invalidate")
    async def invalidate(request: Request) -> Response:
        try:
            body = await read_json(InvalidateBody, request, archive.max_body_bytes)
        except ClientGone:
            return Response(status_code=GONE_STATUS)
        selection = await _selection(archive, body)
        work = archive.invalidation.preview if body.dry_run else archive.invalidation.run
        return JSONResponse((await _stored(work(selection))).as_json())


async def _selection(archive: Archive, body: InvalidateBody) -> Selection:
    """What is meant. Raises `InvalidRequest` when nothing is named."""
    selection = Selection(
        id=body.id,
        tag=body.tag,
        model=body.model,
        namespace=body.namespace,
        tenant=body.tenant,
        revision=body.revision,
        schema=body.schema_,
        embedder=body.embedder,
        before_s=None if body.older_than is None else time.time() - body.older_than,
    )
    if body.request is not None:
        request, tenant, salt, controls = read_request(archive.secret, body.request, body.api_key)
        fp = (await archive.pipeline.ask(request, tenant, salt, controls)).fp
        selection = replace(selection, scope=fp.scope, exact=fp.exact)
    if selection.is_empty and not body.all:
        raise InvalidRequest("Name what to remove, or say all: true.", "all")
    return selection


def read_request(
    secret: bytes, body: Mapping[str, Any], api_key: str, cache_control: str = ""
) -> tuple[ChatRequest, str, str, Controls]:
    """A chat request as its sender would send it: request, tenant, salt and controls. Raises `InvalidRequest`."""
    try:
        request, fields = parse_chat(orjson.dumps(body))
        controls = read_controls(cache_control or None, fields.get("cache"))
    except InvalidRequest as error:
        raise InvalidRequest(error.message, f"request.{error.param}" if error.param else "request") from error
    return request, tenant_of(secret, api_key or None), fields.get("cache_salt") or "", controls


async def _stored(work: Awaitable[T]) -> T:
    try:
        return await work
    except CacheError as error:
        raise StoreAway(str(error)) from error


async def _one(answers: TieredAnswers, entry_id: str) -> Listed:
    rows = await _stored(answers.select(Selection(id=entry_id), Page(MAX_PAGE)))
    row = next((row for row in rows if row.id == entry_id), None)
    if row is None:
        raise _unknown(entry_id)
    return row


def _unknown(entry_id: str) -> UnknownId:
    return UnknownId(f"No entry {entry_id!r} is kept.", "entry")


def _page(asked: Mapping[str, str]) -> Page:
    limit = asked.get("limit", "50")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_PAGE):
        raise InvalidRequest(f"limit must be a whole number from 1 to {MAX_PAGE}.", "limit")
    if "after" not in asked:
        return Page(int(limit))
    try:
        created_s, number = orjson.loads(urlsafe_b64decode(asked["after"]))
        return Page(int(limit), (float(created_s), int(number)))
    except (ValueError, TypeError) as error:
        raise InvalidRequest("after must be the next of an earlier page.", "after") from error


def _place(row: Listed) -> str:
    return urlsafe_b64encode(orjson.dumps(row.place)).decode()


def _row(row: Listed) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Listed.__dataclass_fields__ if name != "place"}


def _content(entry: Entry) -> dict[str, Any]:
    """What was asked and what was answered."""
    choices = [
        {"message": choice.message, "finish_reason": choice.finish_reason} for choice in entry.completion.choices
    ]
    return {
        "request": orjson.loads(entry.canonical),
        "choices": orjson.loads(orjson.dumps(choices, default=dict)),
        "usage": orjson.loads(orjson.dumps(entry.completion.usage.to_wire(), default=dict)),
        "schema": entry.schema,
        "embedder": entry.embedder,
        "sliding_s": entry.sliding_s,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    word = "good" if verdict.is_good else "bad"
    return {"source": verdict.source, "verdict": word, "comment": verdict.comment, "at_s": verdict.at_s}
