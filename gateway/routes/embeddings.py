"""POST /v1/embeddings, as plain ASGI: a vector for every text or list of tokens."""

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass, field
from functools import partial

import orjson
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from backends.chat import Usage
from backends.errors import BackendError
from gateway.aliases import controls_of
from gateway.body import ClientGone, read_body, while_connected
from gateway.callers.caller import Caller
from gateway.callers.door import check_page
from gateway.embedded.request import EmbeddingRequest, parse_embeddings
from gateway.embedded.service import Embedded, Embeddings
from gateway.errors import GatewayError, NotCached, describe, error_body, retry_headers
from gateway.ledger import Ledger, Line
from gateway.outcome import headers_of
from gateway.quota.guess import guess_of_texts
from gateway.quota.told import Header, ignored_of
from gateway.routes.intake import Intake

log = logging.getLogger(__name__)

ROUTE = "embeddings"
AT_ONCE = 16  # vectors written on the event loop; more are written beside it


@dataclass(slots=True)
class _Told:
    """What is known of a request, for the ledger."""

    started: float
    model: str = ""
    tenant: str = ""
    headers: list[Header] = field(default_factory=list)  # of every response, be it an error


@dataclass(frozen=True, slots=True)
class EmbeddingsEndpoint:
    """The route."""

    embeddings: Embeddings
    ledger: Ledger
    intake: Intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, told = Headers(scope=scope), _Told(time.perf_counter())
        try:
            check_page(headers)
            caller = await self.intake.identify(headers)  # nobody else has a body read
            raw = await read_body(receive, headers.get("content-length"), self.intake.max_body_bytes)
            body, more = await while_connected(receive, self.intake.curfew, self._answer(raw, headers, caller, told))
            await _reply(send, 200, body, [*more, *told.headers])
        except ClientGone:
            return
        except (GatewayError, BackendError) as error:
            status, said = describe(error)
            self._failed(told, error.code or "error", status)
            headers_said = [*retry_headers(error), *told.headers]
            await _reply(send, status, orjson.dumps(said, default=dict), headers_said)
        except OSError:
            return  # the socket closed under a write
        except Exception:
            log.exception("%s failed", ROUTE)
            self._failed(told, "internal", 500)
            said = error_body("An internal error occurred.", "server_error", None, "internal")
            await _reply(send, 500, orjson.dumps(said), [])

    async def _answer(
        self, raw: bytes, headers: Headers, caller: Caller, told: _Told
    ) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        tenant = told.tenant = caller.tenant
        await self.intake.turns.wait(raw)
        request = parse_embeddings(raw)
        told.model = request.model
        wished = controls_of(headers, request.cache)
        policy = self.intake.policies.of(caller)
        policy.check_model(request.model)
        controls = policy.clamp(wished)
        if controls is not wished:
            told.headers = ignored_of(policy.refused(wished))
        async with self.intake.quota.enter(policy, partial(guess_of_texts, request.model, request.items)) as admission:
            told.headers += admission.headers("openai")
            admission.check()
            try:
                embedded = await self.embeddings.answer(request, tenant, admission.clamp(controls), policy)
            except NotCached:
                admission.check_shortage(controls)
                raise
            is_hit = embedded.num_asked_tokens == 0 and embedded.outcome.is_stored
            tokens = embedded.num_tokens if is_hit else embedded.num_asked_tokens
            admission.settle(Usage(tokens), is_hit=is_hit, model=request.model)
        num_tokens = embedded.num_asked_tokens if self.intake.zero_usage else embedded.num_tokens
        write = partial(_body, request, embedded, num_tokens)
        body = write() if len(request.items) <= AT_ONCE else await asyncio.to_thread(write)
        items = f"{embedded.num_stored}/{len(request.items)}".encode("ascii")
        took_s = time.perf_counter() - told.started
        # what was stored of a batch saved its tokens, and is no work of the tier that made the rest
        counted = embedded.num_tokens if embedded.outcome.is_stored else embedded.num_asked_tokens
        line_id = f"emb-{uuid.uuid4().hex}"
        self.ledger.record(
            Line(embedded.outcome, request.model, ROUTE, Usage(counted), took_s, took_s, line_id, tenant)
        )
        return body, [*headers_of(embedded.outcome), (b"x-twicetold-items", items)]

    def _failed(self, told: _Told, code: str, status: int) -> None:
        took_s = time.perf_counter() - told.started
        self.ledger.failed(code, ROUTE, status=status, model=told.model, tenant=told.tenant, total_s=took_s)


def _body(request: EmbeddingRequest, embedded: Embedded, num_tokens: int) -> bytes:
    """Each vector is written by itself: a batch takes hundreds of milliseconds, and others want to run in between."""
    is_base64 = request.encoding == "base64"
    data = [
        orjson.Fragment(
            orjson.dumps(
                {"object": "embedding", "index": index, "embedding": vector.base64() if is_base64 else vector.floats()}
            )
        )
        for index, vector in enumerate(embedded.vectors)
    ]
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return orjson.dumps({"object": "list", "data": data, "model": embedded.model, "usage": usage})


async def _reply(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii"))]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})
