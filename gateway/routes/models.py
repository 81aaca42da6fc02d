"""GET /v1/models, as OpenAI lists them, or as Anthropic does for a client that names its version."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from backends.base import Model
from backends.routing.router import Router
from gateway.routes.intake import Intake


def models_route(router: Router, intake: Intake) -> APIRouter:
    """The models every backend serves, as far as who asks may ask them."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        policy = intake.policies.of(await intake.identify(request.headers))
        served = [model for model in await router.models() if policy.allows(model.name)]
        if "anthropic-version" in request.headers:
            return _for_anthropic(served)
        data = [
            {"id": model.name, "object": "model", "created": model.created, "owned_by": model.owned_by}
            for model in served
        ]
        return {"object": "list", "data": data}

    return routes


def _for_anthropic(served: Sequence[Model]) -> dict[str, Any]:
    """All on one page."""
    data = [
        {
            "type": "model",
            "id": model.name,
            "display_name": model.name,
            "created_at": _moment(model.created),
        }
        for model in served
    ]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


def _moment(created_s: int) -> str:
    """A date, whatever number a server gave."""
    last = 253_402_300_799  # of the year 9999
    return datetime.fromtimestamp(max(0, min(created_s, last)), UTC).isoformat().replace("+00:00", "Z")
