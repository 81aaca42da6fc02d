"""GET /admin/api/quality: how often hits by meaning are wrong, and how would-be hits are spread, lane by lane."""

from typing import Any, Protocol

from fastapi import APIRouter


class Quality(Protocol):
    """The lanes, as the route needs them."""

    async def quality(self) -> dict[str, Any]: ...


def add_quality(routes: APIRouter, quality: Quality | None) -> None:
    """Add it to the admin API; without a semantic tier there are no lanes."""

    @routes.get("/quality")
    async def report() -> dict[str, Any]:
        return {"is_on": quality is not None, **(await quality.quality() if quality is not None else {"lanes": []})}
