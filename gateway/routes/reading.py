"""Bodies of the routes that FastAPI serves: JSON as a checked model, and a chat request as its sender would send it."""

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from backends.chat import ChatRequest
from gateway.body import read_body
from gateway.callers.door import is_json
from gateway.controls import Controls, read_controls
from gateway.errors import InvalidRequest, NotJson
from gateway.routes.intake import Intake
from gateway.values import MAX_VALUES, read_values
from gateway.wire import first_complaint, parse_chat

Body = TypeVar("Body", bound=BaseModel)

GONE_STATUS = 499  # as nginx has it: nobody reads this


async def read_json(kind: type[Body], request: Request, limit_bytes: int, most: int = MAX_VALUES) -> Body:
    """The JSON body. Raises `NotJson`, `BodyTooLarge`, `ClientGone`, and `InvalidRequest` naming the field."""
    if not is_json(request.headers.get("content-type")):
        raise NotJson("A body of content type application/json is wanted.")
    raw = await read_body(request.receive, request.headers.get("content-length"), limit_bytes)
    values = read_values(raw, most)
    if not isinstance(values, dict):
        raise InvalidRequest("The body must be a JSON object.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise first_complaint(error) from error


async def read_request(
    intake: Intake, body: Mapping[str, Any], api_key: str, cache_control: str = "", tenant: str = ""
) -> tuple[ChatRequest, str, str, Controls]:
    """A chat request as its sender would send it: request, tenant, salt and controls. The sender is told by its key, a
    token of its provider, or its name. Raises `InvalidRequest`, and `NotAuthorised` for what is over."""
    try:
        request, fields = parse_chat(orjson.dumps(body))
        controls = read_controls(cache_control or None, fields.get("cache"))
    except InvalidRequest as error:
        raise InvalidRequest(error.message, f"request.{error.param}" if error.param else "request") from error
    return request, await intake.caller(api_key, tenant), fields.get("cache_salt") or "", controls
