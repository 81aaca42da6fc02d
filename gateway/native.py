"""A request that came over the Responses API, for the model it is for: the body as it came where a server takes it,
else what chat can say of it. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from backends.base import Model
from backends.chat import ChatRequest, Delta
from backends.flavours.responses import EVENT
from gateway.errors import InvalidRequest, UnknownResponse

FOLLOWS = "previous_response_id"


def native_name(first: Delta | None) -> str | None:
    """What a server of the Responses API calls the response that begins so; None for an answer of another API."""
    event = first.extra.get(EVENT) if first is not None else None
    response = event.get("response") if isinstance(event, Mapping) else None
    name = response.get("id") if isinstance(response, Mapping) else None
    return name if isinstance(name, str) else None


def changes_something(request: ChatRequest) -> bool:
    """Whether asking leaves something behind there that a stored answer would not."""
    return request.native is not None and request.native.get("conversation") is not None


def as_spoken(request: ChatRequest, model: Model) -> ChatRequest:
    """The request in the words of the model's server. Raises `InvalidRequest`, `UnknownResponse`."""
    if request.native is None or model.speaks_responses:
        return request
    if request.needs == FOLLOWS:
        raise UnknownResponse(str(request.native.get(FOLLOWS)))
    if request.needs:
        raise InvalidRequest(
            f"{request.needs} can only be served by a server of the Responses API, and none is behind this model.",
            request.needs,
        )
    return replace(request, native=None)
