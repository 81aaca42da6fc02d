"""GET /v1/models."""

from typing import Any

from fastapi import APIRouter, Request

from backends.routing.router import Router
from gateway.auth import read_credential
from gateway.keys import Keys


def models_route(router: Router, keys: Keys) -> APIRouter:
    """The models every backend serves, as OpenAI lists them, for whoever may ask one."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        keys.tenant(read_credential(request.headers))
        served = await router.models()
        data = [
            {"id": model.name, "object": "model", "created": model.created, "owned_by": model.owned_by}
            for model in served
        ]
        return {"object": "list", "data": data}

    return routes
