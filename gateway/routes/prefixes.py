"""GET /admin/api/prefixes: where prompts that could share a prefix first differ, and what that costs."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter


def add_prefixes(routes: APIRouter, report: Callable[[], dict[str, Any]]) -> None:
    """Add it to the admin API."""

    @routes.get("/prefixes")
    async def prefixes() -> dict[str, Any]:
        return report()
