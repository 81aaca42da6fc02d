"""The road of requests for answers: past the framework that every other route has.

FastAPI's layers (error pages, telemetry, body limits, exit stacks, the router) are eleven calls down and as many wraps
around what is sent. They were a quarter of what an exact hit cost, and the endpoints of answers use none of them: they
read their own bodies, and turn every error into their own shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Straight:
    """Has a POST to one of `endpoints` answered by it, and everything else by `app`, which knows them as well."""

    app: ASGIApp
    endpoints: Mapping[str, ASGIApp] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        endpoint = self.endpoints.get(scope["path"]) if is_post else None
        await (endpoint or self.app)(scope, receive, send)
