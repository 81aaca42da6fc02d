"""POST /admin/api/explain: why a request would hit or miss; GET /admin/api/explain/{response id}: why one did."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, StrictStr

from gateway.body import ClientGone
from gateway.errors import UnknownId
from gateway.explain import Explainer, explain_served
from gateway.routes.intake import Intake
from gateway.routes.reading import GONE_STATUS, read_json, read_request
from gateway.served import ServedMemory
from gateway.values import WITH_REQUEST


class ExplainBody(BaseModel):
    """A chat request as a caller would send it."""

    model_config = ConfigDict(extra="forbid")
    request: dict[str, Any]
    api_key: StrictStr = ""  # what that caller sends as its key
    tenant: StrictStr = ""  # instead of it: the caller's name, as the admin API shows it
    cache_control: StrictStr = ""  # and as Cache-Control


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What the routes work on."""

    explainer: Explainer
    served: ServedMemory
    intake: Intake


def add_explain(routes: APIRouter, inquiry: Inquiry) -> None:
    @routes.post("/explain")
    async def explain(request: Request) -> Response:
        try:
            body = await read_json(ExplainBody, request, inquiry.intake.max_body_bytes, WITH_REQUEST)
        except ClientGone:
            return Response(status_code=GONE_STATUS)
        asked = await read_request(inquiry.intake, body.request, body.api_key, body.cache_control, body.tenant)
        policy = inquiry.intake.policies.of_tenant(asked[1])
        return JSONResponse((await inquiry.explainer.explain(*asked, policy)).as_json())

    @routes.get("/explain/{response_id}")
    async def explain_response(response_id: str) -> dict[str, Any]:
        served = await inquiry.served.look_up(response_id)
        if served is None:
            raise UnknownId(f"No response {response_id!r} was given lately.", "id")
        return explain_served(response_id, served)
