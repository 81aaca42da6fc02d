"""Stored answers in the admin API: look for them, look at one, take one or many out of service."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from gateway.body import ClientGone
from gateway.curation.archive import Archive
from gateway.pipeline import Pipeline
from gateway.routes.feedback import MAX_COMMENT_CHARS
from gateway.routes.intake import Intake
from gateway.routes.reading import GONE_STATUS, read_json, read_request

Name = Annotated[StrictStr, Field(min_length=1, max_length=512)]
Seconds = Annotated[float, Field(ge=0, le=10**10, strict=True)]

CRITERIA = ("id", "tag", "model", "namespace", "tenant", "revision", "embedder")  # of an invalidation, as they are


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


class JudgeBody(BaseModel):
    """What an answer is worth."""

    model_config = ConfigDict(extra="forbid")
    verdict: Literal["good", "bad"]
    comment: Annotated[StrictStr, Field(max_length=MAX_COMMENT_CHARS)] = ""


@dataclass(frozen=True, slots=True)
class Shelves:
    """What the routes work on."""

    archive: Archive
    pipeline: Pipeline
    intake: Intake


def add_entries(routes: APIRouter, shelves: Shelves) -> None:
    """The routes below /entries, and /invalidate."""
    archive = shelves.archive

    @routes.get("/entries")
    async def entries(request: Request) -> dict[str, Any]:
        return await archive.page(request.query_params)

    @routes.get("/entries/{entry_id}")
    async def entry(entry_id: str) -> dict[str, Any]:
        return await archive.show(entry_id)

    @routes.post("/entries/{entry_id}/judge")
    async def judge(request: Request, entry_id: str) -> Response:
        try:
            body = await read_json(JudgeBody, request, shelves.intake.max_body_bytes)
        except ClientGone:
            return Response(status_code=GONE_STATUS)
        said = await archive.judge(entry_id, is_good=body.verdict == "good", comment=body.comment)
        return JSONResponse(said.as_json())

    @routes.delete("/entries/{entry_id}")
    async def remove(entry_id: str) -> dict[str, Any]:
        return {"id": entry_id, "deleted": True, "count": await archive.remove(entry_id)}

    @routes.post("/invalidate")
    async def invalidate(request: Request) -> Response:
        try:
            body = await read_json(InvalidateBody, request, shelves.intake.max_body_bytes)
        except ClientGone:
            return Response(status_code=GONE_STATUS)
        fp = None
        if body.request is not None:
            asked = await shelves.pipeline.ask(*await read_request(shelves.intake, body.request, body.api_key))
            fp = asked.fp
        done = await archive.invalidate(
            {**{name: getattr(body, name) for name in CRITERIA}, "schema": body.schema_},
            older_than_s=body.older_than,
            fp=fp,
            is_all=body.all,
            is_dry_run=body.dry_run,
        )
        return JSONResponse(done)
