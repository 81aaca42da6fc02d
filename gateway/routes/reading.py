"""A JSON body as a checked model, for the routes that FastAPI serves."""

from typing import TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from gateway.body import read_body
from gateway.errors import InvalidRequest, NotJson
from gateway.wire import first_complaint

Body = TypeVar("Body", bound=BaseModel)

GONE_STATUS = 499  # as nginx has it: nobody reads this


async def read_json(kind: type[Body], request: Request, limit_bytes: int) -> Body:
    """The JSON body. Raises `NotJson`, `BodyTooLarge`, `ClientGone`, and `InvalidRequest` naming the field."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise NotJson("A body of content type application/json is wanted.")
    raw = await read_body(request.receive, request.headers.get("content-length"), limit_bytes)
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InvalidRequest("The body must be a JSON object.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise first_complaint(error) from error
