"""GET /v1/models."""

from typing import Any

from fastapi import APIRouter

from backends.routing.router import Router


def models_route(router: Router) -> APIRouter:
    """The models every backend serves, as OpenAI lists them."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        served = await router.models()
        data = [
            {"id": model.name, "object": "model", "created": model.created, "owned_by": model.owned_by}
            for model in served
        ]
        return {"object": "list", "data": data}

    return routes
