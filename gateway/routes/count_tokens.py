"""POST /v1/messages/count_tokens: what a prompt weighs, from whoever serves the model and can count."""

import logging
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from backends.chat import COUNT, Usage
from backends.errors import BackendError
from backends.routing.router import Router
from gateway.body import ClientGone, read_body, while_connected
from gateway.callers.caller import Caller
from gateway.callers.door import check_page
from gateway.errors import GatewayError, describe, error_body, retry_headers
from gateway.ledger import Ledger
from gateway.quota.guess import Guess
from gateway.quota.told import Header
from gateway.routes.intake import Intake
from gateway.routes.reading import GONE_STATUS
from gateway.shapes.base import Shape, dump

log = logging.getLogger(__name__)

ROUTE = "count_tokens"


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """The route. Nothing of it is cached, and it is no request of the ledger: only its failures are counted."""

    shape: Shape
    router: Router
    ledger: Ledger
    intake: Intake

    async def answer(self, request: Request) -> Response:
        told: list[Header] = []  # how much is left, on every response
        response = await self._answered(request, told)
        response.raw_headers.extend(told)
        return response

    async def _answered(self, request: Request, told: list[Header]) -> Response:
        try:
            check_page(request.headers)
            caller = await self.intake.identify(request.headers, self.shape)  # nobody else has a body read
            raw = await read_body(request.receive, request.headers.get("content-length"), self.intake.max_body_bytes)
            work = self._count(raw, request, caller, told)
            num_tokens = await while_connected(request.receive, self.intake.curfew, work)
        except ClientGone:
            return Response(status_code=GONE_STATUS)
        except (GatewayError, BackendError) as error:
            status, body = describe(error)
            self.ledger.failed(error.code or "error", ROUTE, status=status)
            response = _json(status, dump(self.shape.error(status, body)))
            response.raw_headers.extend(retry_headers(error))
            return response
        except Exception:
            log.exception("%s failed", ROUTE)
            self.ledger.failed("internal", ROUTE)
            body = error_body("An internal error occurred.", "server_error", None, "internal")
            return _json(500, dump(self.shape.error(500, body)))
        return _json(200, dump({"input_tokens": num_tokens}))

    async def _count(self, raw: bytes, asked: Request, caller: Caller, told: list[Header]) -> int:
        await self.intake.turns.wait(raw)
        request = self.shape.with_headers(self.shape.parse(raw).request, asked.headers)
        policy = self.intake.policies.of(caller)
        policy.check_model(request.model)
        async with self.intake.quota.enter(policy, partial(Guess, request.model)) as admission:
            told += admission.headers(self.shape.dialect)
            admission.check()
            route = replace(await self.router.resolve(request.model, request.messages), fallback=())
            request = replace(request, purpose=COUNT, stream=False, owner=caller.tenant, use_kv=False, publish_kv=False)
            usage = Usage()
            async with aclosing(self.router.stream(route, request)) as deltas:
                async for delta in deltas:
                    usage = delta.usage or usage
        return usage.prompt_tokens


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")
