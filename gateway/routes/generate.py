"""The one endpoint of every generating shape, as plain ASGI: body in, pipeline, one object or a stream out."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from backends.chat import ChatRequest, Collector, Completion, Delta, Fields, Usage, replay
from backends.errors import BackendError
from gateway.aliases import controls_of
from gateway.body import ClientGone, read_body, while_connected
from gateway.callers.caller import Caller
from gateway.callers.door import check_page
from gateway.errors import GatewayError, NotCached, Stopping, describe, error_body, retry_headers
from gateway.express.express import Express, Lesson
from gateway.express.wire import forget_wire, known_of
from gateway.forgotten import Forgotten, Since
from gateway.headers import NamedHeaders
from gateway.identity.canonical import asked_of
from gateway.ledger import Ledger, Line, head_of
from gateway.native import native_name
from gateway.outcome import headers_of
from gateway.pipeline import Pipeline
from gateway.policy import refuse_to_keep
from gateway.quota.admission import Admission
from gateway.quota.guess import guess_of
from gateway.quota.told import Header, ignored_of
from gateway.reply import Reply
from gateway.routes.intake import Intake
from gateway.routes.several import answer_all
from gateway.served import ServedMemory
from gateway.shapes.base import Envelope, Shape, dump
from gateway.shapes.follow import Conversations

log = logging.getLogger(__name__)

LAST_WORD_S = 1.0  # to tell a caller that the server stops


@dataclass(frozen=True, slots=True)
class GenerateEndpoint:
    """One route."""

    shape: Shape
    pipeline: Pipeline
    ledger: Ledger
    intake: Intake
    conversations: Conversations
    served: ServedMemory
    forgotten: Forgotten
    express: Express | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ask = partial(self.pipeline.answer, began=self.pipeline.begin())
        exchange = _Exchange(send, self.shape, self.forgotten.now(), ask)
        headers = NamedHeaders(scope["headers"])
        try:
            check_page(headers)
            caller = await self.intake.identify(headers, self.shape)  # nobody else has a body read
            raw = await read_body(receive, headers.get("content-length"), self.intake.max_body_bytes)
            await while_connected(receive, self.intake.curfew, self._answer(raw, headers, caller, exchange, scope))
        except ClientGone:
            return
        except Stopping as error:
            self._failed(exchange, error.code or "error", error.status)
            with suppress(TimeoutError):  # who does not read holds nobody up
                async with asyncio.timeout(LAST_WORD_S):
                    await exchange.fail(*describe(error))
        except (GatewayError, BackendError) as error:
            status, body = describe(error)
            self._failed(exchange, error.code or "error", status)
            await exchange.fail(status, body, retry_headers(error))
        except OSError:
            return  # the socket closed under a write
        except Exception:
            log.exception("%s failed", self.shape.route)
            self._failed(exchange, "internal", 500)
            await exchange.fail(500, error_body("An internal error occurred.", "server_error", None, "internal"))

    async def _answer(
        self, raw: bytes, headers: NamedHeaders, caller: Caller, exchange: "_Exchange", scope: Scope
    ) -> None:
        exchange.started = time.perf_counter()
        tenant = exchange.tenant = caller.tenant
        await self.intake.turns.wait(raw)
        parsed = self.shape.parse(raw)
        if (asked := self.shape.with_headers(parsed.request, headers)) is not parsed.request:
            parsed = replace(parsed, request=asked)
        exchange.model = parsed.request.model
        wished = controls_of(headers, parsed.cache)
        policy = self.intake.policies.of(caller)
        policy.check_model(parsed.request.model)
        controls = policy.clamp(wished)
        if controls is not wished:
            exchange.told = ignored_of(policy.refused(wished))
        request, said_s = self.conversations.resume(parsed, tenant)
        controls = self.pipeline.redactor.over(request, controls)
        is_forgotten = partial(exchange.since.is_forgotten, tenant, controls.tags)
        async with self.intake.quota.enter(policy, partial(guess_of, request, *parsed.others)) as admission:
            exchange.told += admission.headers(self.shape.dialect)
            admission.check()
            ask = partial(
                exchange.ask,
                tenant=tenant,
                salt=parsed.cache_salt,
                controls=admission.clamp(controls),
                policy=policy,
                tab=admission.open_tab(),
            )
            try:
                reply = await (answer_all(ask, (request, *parsed.others)) if parsed.others else ask(request))
            except NotCached:
                admission.check_shortage(controls)
                raise
            if reply.source is None:
                forget_wire(scope)  # its answer may be long in coming
            async with aclosing(reply.deltas):
                if request.native is not None and (there := native_name(await reply.deltas.peek())) is not None:
                    parsed = replace(parsed, name=self.conversations.name(there, tenant), is_continued=False)
                delivery = _Delivery(self.shape.envelope(parsed), exchange, reply, admission)
                delivery.is_free = self.intake.zero_usage and reply.outcome.told.is_stored
                delivery.is_kept = parsed.is_continued and not controls.no_store
                await self._deliver(delivery, request, is_forgotten)
                answer = delivery.told if delivery.is_kept else None
                if answer is not None and not is_forgotten() and not self.pipeline.redactor.refuses(answer):
                    self.conversations.note(exchange.id, tenant, parsed, request, answer, said_s)
        is_unsaid = controls.no_store or not controls.tiers or is_forgotten()
        question = None if is_unsaid else head_of(asked_of(request))
        self.ledger.record(delivery.line(request.model, self.shape.route, tenant, question))
        if self.express is None or reply.source is None or exchange.told or (known := known_of(scope, raw)) is None:
            return
        credential = self.shape.credential(headers)
        if self.intake.tokens is None or not self.intake.tokens.takes(credential or ""):
            path, is_free = scope["path"], delivery.is_free
            lesson = Lesson(known, self.shape, parsed, caller, credential, reply, question, path, is_free)
            self.express.learn(lesson)

    async def _deliver(self, delivery: "_Delivery", request: ChatRequest, is_forgotten: Callable[[], bool]) -> None:
        """Put the answer on the wire, and count what it used, however far it came."""
        response_id = delivery.id
        if not is_forgotten():
            self.served.note(response_id, delivery.reply.served)
        try:
            await (delivery.stream() if request.stream else delivery.whole(may_be_cut=request.prompt is not None))
        finally:
            delivery.settle(request.model)
        self.served.ended(response_id)

    def _failed(self, exchange: "_Exchange", code: str, status: int) -> None:
        self.ledger.failed(
            code,
            self.shape.route,
            status=status,
            model=exchange.model,
            tenant=exchange.tenant,
            id=exchange.id,
            total_s=time.perf_counter() - exchange.started,
        )


class _Exchange:
    """One response on its way out."""

    def __init__(self, send: Send, shape: Shape, since: Since, ask: "partial[Coroutine[Any, Any, Reply]]") -> None:
        self.since = since  # nothing that is forgotten from here on is noted
        self.ask = ask  # nor is anything kept that is removed from here on
        self._send = send
        self._shape = shape
        self._stream: Envelope | None = None  # of the stream that has begun
        self.started = time.perf_counter()
        self.model = self.tenant = self.id = ""  # as soon as they are known: for the ledger's line of a failure
        self.told: list[Header] = []  # what stands on every response, be it an error

    async def whole(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii"))]
        await self._send({"type": "http.response.start", "status": status, "headers": [*own, *headers, *self.told]})
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, envelope: Envelope, headers: list[tuple[bytes, bytes]]) -> None:
        self._stream = envelope
        own = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await self._send({"type": "http.response.start", "status": 200, "headers": [*own, *headers, *self.told]})

    async def events(self, data: bytes, *, is_last: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})

    async def fail(self, status: int, body: Fields, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        """Report an error: as a response, or as the last event of a stream that has begun."""
        if self._stream is not None:
            await self.events(self._stream.error_event(status, body), is_last=True)
            return
        await self.whole(status, dump(self._shape.error(status, body)), headers or [])


class _Delivery:
    """Deltas of one reply, put on the wire; notes what the ledger and the limits want to know."""

    def __init__(self, envelope: Envelope, exchange: _Exchange, reply: Reply, admission: Admission) -> None:
        self.reply = reply
        self.is_free = False  # its usage is told as none
        self.usage: Usage | None = None
        self.is_kept = False  # it is remembered
        self.told: Completion | None = None  # once it is, if it is remembered or was no stream
        self._envelope = envelope
        self._exchange = exchange
        self._admission = admission
        self._num_pieces = 0
        self._has_ended = False
        self._first_content: float | None = None  # perf_counter
        exchange.id = envelope.id

    @property
    def id(self) -> str:
        """Of the response."""
        return self._envelope.id

    async def whole(self, *, may_be_cut: bool) -> None:
        """As one object."""
        completion = self.told = self._ready() or await self._collected()
        self._has_ended = True
        body = self._envelope.completion(completion, self._billed(completion.usage))
        outcome = self.reply.outcome
        if not outcome.is_stored and refuse_to_keep(completion, may_be_cut=may_be_cut) is not None:
            outcome = replace(outcome, entry=None)  # of a stream it is not known when its headers go out
        await self._exchange.whole(200, body, headers_of(outcome))

    async def stream(self) -> None:
        """As events. What is known already is one write: nothing is gained by more."""
        await self._exchange.start(self._envelope, headers_of(self.reply.outcome))
        if (completion := self._ready()) is not None:
            self.told = completion
            events = [self._envelope.start(), *map(self._envelope.chunk, replay(completion))]
            self._has_ended = True
            events.append(self._envelope.end(self._billed(completion.usage), completion.extra))
            await self._exchange.events(b"".join(events), is_last=True)
            return
        if opening := self._envelope.start():
            await self._exchange.events(opening)
        answer = Collector() if self.is_kept else None
        extra: Fields = {}
        async for delta in self.reply.deltas:
            self._note(delta)
            if answer is not None:
                answer.add(delta)
            extra = delta.extra
            if data := self._envelope.chunk(delta):
                await self._exchange.events(data)
        self._has_ended = True
        self.told = None if answer is None else answer.completion()
        await self._exchange.events(self._envelope.end(self._billed(self.usage or Usage()), extra), is_last=True)

    def _ready(self) -> Completion | None:
        """What will be told, if it is known."""
        completion = self.reply.whole
        if completion is not None:
            self.usage = completion.usage
            self._num_pieces = 2 * len(completion.choices) + 1  # as it is replayed
            self._first_content = time.perf_counter()
        return completion

    async def _collected(self) -> Completion:
        answer = Collector()
        async for delta in self.reply.deltas:
            self._note(delta)
            answer.add(delta)
        return answer.completion()

    def settle(self, model: str) -> None:
        """Tell the limits what was given; what was generated for it is on its tab."""
        outcome, usage = self.reply.outcome.told, self.usage if self._has_ended else None
        is_hit = outcome.tier in ("exact", "semantic")
        self._admission.settle(usage, is_hit=is_hit, model=outcome.fallback or model, num_pieces=self._num_pieces)

    def line(self, model: str, route: str, tenant: str, question: str | None) -> Line:
        """The ledger's, of one that is delivered."""
        now, started = time.perf_counter(), self._exchange.started
        ttft_s = (self._first_content or now) - started
        usage = self.usage or Usage()
        return Line(self.reply.outcome, model, route, usage, ttft_s, now - started, self.id, tenant, question)

    def _note(self, delta: Delta) -> None:
        self._num_pieces += 1
        if delta.usage is not None:
            self.usage = delta.usage
        if self._first_content is None and any(value for key, value in delta.fields.items() if key != "role"):
            self._first_content = time.perf_counter()

    def _billed(self, usage: Usage) -> Usage:
        return Usage() if self.is_free else usage
