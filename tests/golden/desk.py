"""Every shape over one scripted backend, in this process: what is sent in comes back as it would on a socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from backends.fake import ScriptedBackend
from gateway.app import SHAPES
from gateway.body import Curfew
from gateway.callers.keys import Keys
from gateway.forgotten import Forgotten
from gateway.routes.generate import GenerateEndpoint
from gateway.routes.intake import Intake
from gateway.served import ServedMemory
from gateway.shapes.follow import Conversations
from tests.gateway.house import SECRET, House, house

PATHS = {shape.route: path for path, shape in SHAPES.items()}


@dataclass
class Desk:
    """Where every shape is asked."""

    backend: ScriptedBackend
    client: httpx.AsyncClient
    home: House

    async def ask(self, shape: str, body: Any, *, tenant: str = "t") -> httpx.Response:
        content = body if isinstance(body, bytes) else None
        headers = {"authorization": f"Bearer {tenant}", "content-type": "application/json"}
        json = None if content is not None else body
        return await self.client.post(PATHS[shape], json=json, content=content, headers=headers)


@asynccontextmanager
async def desk(folder: Path, backend: Any = None) -> AsyncIterator[Desk]:
    """`backend`: another than a scripted one."""
    async with house(folder, backend) as home:
        served, kept = ServedMemory(), Conversations(SECRET)
        intake = Intake(Keys(SECRET, ()), 1 << 24, Curfew())
        routes = [
            Route(
                path,
                GenerateEndpoint(shape, home.pipeline, home.ledger, intake, kept, served, Forgotten()),
            )
            for path, shape in SHAPES.items()
        ]
        transport = httpx.ASGITransport(Starlette(routes=[Route(r.path, r.endpoint, methods=["POST"]) for r in routes]))
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
            yield Desk(home.backend, client, home)
