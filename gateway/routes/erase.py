"""Erasure in the admin API: of one tenant, or of what wears one tag, with a dry run first."""

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

from gateway.body import ClientGone
from gateway.curation.erase import Erasure, Whom
from gateway.errors import InvalidRequest
from gateway.identity.scope import is_tenant
from gateway.routes.intake import Intake
from gateway.routes.reading import GONE_STATUS, read_json

Name = Annotated[StrictStr, Field(min_length=1, max_length=512)]


class EraseBody(BaseModel):
    """Whom to erase: a tenant, a tag, or what one tenant keeps under a tag. `dry_run` shows it first."""

    model_config = ConfigDict(extra="forbid")
    tenant: Name | None = None
    tag: Name | None = None
    keys: StrictBool = False  # end the tenant's keys, too
    dry_run: StrictBool = True


def add_erase(routes: APIRouter, erasure: Erasure, intake: Intake) -> None:
    """POST /erase."""

    @routes.post("/erase")
    async def erase(request: Request) -> Response:
        try:
            body = await read_json(EraseBody, request, intake.max_body_bytes)
        except ClientGone:
            return Response(status_code=GONE_STATUS)
        if body.tenant is not None and not is_tenant(body.tenant):
            raise InvalidRequest(f"{body.tenant!r} is no name of a tenant.", "tenant")
        if body.tenant is None and body.tag is None:
            raise InvalidRequest("Name a tenant, a tag, or both.", "tenant")
        if body.keys and (body.tenant is None or body.tag is not None):
            raise InvalidRequest("Keys end with a whole tenant only.", "keys")
        whom = Whom(body.tenant, body.tag)
        do = erasure.preview if body.dry_run else erasure.run
        return JSONResponse((await do(whom, with_keys=body.keys)).as_json())
