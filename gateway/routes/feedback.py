"""POST /v1/cache/feedback: what an answer was worth, from whoever got it.

{"id": "chatcmpl-...", "verdict": "bad", "comment": "wrong year"}     a response
{"entry": "e_...", "verdict": "good"}                                 a stored answer
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from gateway.body import ClientGone
from gateway.callers.caller import FEEDBACK
from gateway.curation.feedback import Feedback, Said
from gateway.errors import InvalidRequest
from gateway.quota.guess import Guess
from gateway.quota.told import told_with_errors
from gateway.routes.intake import Intake
from gateway.routes.reading import GONE_STATUS, read_json

MAX_COMMENT_CHARS = 2000

Id = Annotated[StrictStr, Field(min_length=1, max_length=256)]


class FeedbackBody(BaseModel):
    """One of `id` and `entry`, and what the answer was worth."""

    model_config = ConfigDict(extra="forbid")
    id: Id | None = None
    entry: Id | None = None
    verdict: Literal["good", "bad"]
    comment: Annotated[StrictStr, Field(max_length=MAX_COMMENT_CHARS)] = ""


@dataclass(frozen=True, slots=True)
class FeedbackDesk:
    """What the route works on."""

    feedback: Feedback
    intake: Intake


def feedback_route(desk: FeedbackDesk) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/cache/feedback")
    async def feedback(request: Request) -> Response:
        caller = await desk.intake.identify(request.headers, scope=FEEDBACK)  # nobody else has a body read
        try:
            body = await read_json(FeedbackBody, request, desk.intake.max_body_bytes)
        except ClientGone:
            return Response(status_code=GONE_STATUS)
        async with desk.intake.quota.enter(desk.intake.policies.of(caller), partial(Guess, "")) as admission:
            told = admission.headers("openai")
            with told_with_errors(told):
                admission.check()
                said = await _said(desk.feedback, caller.tenant, body)
        given = {"id": body.id} if body.id is not None else {}
        response = JSONResponse({"object": "cache.feedback", **given, "verdict": body.verdict, **said.as_json()})
        response.raw_headers.extend(told)
        return response

    return routes


async def _said(feedback: Feedback, tenant: str, body: FeedbackBody) -> Said:
    is_good = body.verdict == "good"
    if body.id is not None and body.entry is None:
        return await feedback.of_response(tenant, body.id, is_good=is_good, comment=body.comment)
    if body.entry is not None and body.id is None:
        return await feedback.of_entry(tenant, body.entry, is_good=is_good, comment=body.comment)
    raise InvalidRequest("Give either id, of a response, or entry, of a stored answer.", "id")
