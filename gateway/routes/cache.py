"""The answer cache without the proxy.

POST /v1/cache/lookup    {"request": {...}}                          a stored answer, or a miss with an id
PUT /v1/cache/entries    {"request": {...}, "response": {...},       keep what the app's own model said
                          "lookup": "lookup-...", "elapsed_s": 1.2}

`request` is the body that would go to the chat route, cache controls included; `shape` says when it is another route's.
A put gives the answer as a chat completion (`response`), or as a text alone (`answer`).
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from backends.chat import Choice, Collector, Completion, Usage
from backends.errors import BackendError
from backends.openai_wire import parse_completion
from gateway.aliases import controls_of
from gateway.aside import ROUTE, CacheAside, Found, Missed
from gateway.body import ClientGone
from gateway.controls import Controls
from gateway.errors import GatewayError, InvalidRequest, PutRefused
from gateway.fit import malformed, of_others
from gateway.identity.canonical import question_of
from gateway.identity.scope import ANONYMOUS
from gateway.ledger import Ledger, Line, head_of
from gateway.outcome import Outcome, headers_of
from gateway.quota.admission import Admission
from gateway.quota.guess import Guess
from gateway.quota.policies import TenantPolicy
from gateway.quota.told import Header, ignored_of, told_with_errors
from gateway.routes.intake import Intake
from gateway.routes.reading import GONE_STATUS, read_json
from gateway.shapes.base import Envelope, Parsed, Shape
from gateway.values import WITH_REQUEST

MAX_ELAPSED_S = 86_400.0
_OF_OTHER_SHAPES = frozenset({"content_blocks", "thinking_blocks"})  # an answer is one thing in every shape

Id = Annotated[StrictStr, Field(min_length=1, max_length=256)]


class LookupBody(BaseModel):
    """A request as it would be sent to its own route."""

    model_config = ConfigDict(extra="forbid")
    request: dict[str, Any]
    shape: StrictStr = "chat"


class PutBody(LookupBody):
    """The same, and what was answered: one of `response` and `answer`."""

    response: dict[str, Any] | None = None
    answer: StrictStr | None = None
    lookup: Id | None = None  # the id of the miss that this answers
    elapsed_s: Annotated[float, Field(ge=0, le=MAX_ELAPSED_S, strict=True)] | None = None


@dataclass(frozen=True, slots=True)
class CacheDesk:
    """What the routes work on."""

    aside: CacheAside
    ledger: Ledger
    shapes: Mapping[str, Shape]  # by route
    intake: Intake
    is_local: bool  # only this machine can reach the server


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that names its shape, read."""

    shape: Shape
    parsed: Parsed
    tenant: str
    controls: Controls
    policy: TenantPolicy
    admission: Admission  # not entered yet
    told: list[Header]  # what stands on its response beside the outcome


def cache_routes(desk: CacheDesk) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/cache/lookup")
    async def lookup(request: Request) -> Response:
        started = time.perf_counter()
        with _counted(desk.ledger, "lookup"):
            await _admit(desk, request)  # nobody else has a body read
            try:
                body = await read_json(LookupBody, request, desk.intake.max_body_bytes, WITH_REQUEST)
            except ClientGone:
                return Response(status_code=GONE_STATUS)
            asked = await _read(desk, body, request)
            async with asked.admission as admission:
                told = [*asked.told, *admission.headers(asked.shape.dialect)]
                with told_with_errors(told):
                    admission.check()
                    response = await _looked_up(desk, asked, started)
                response.raw_headers.extend(told)
            return response

    @routes.put("/v1/cache/entries")
    async def put(request: Request) -> Response:
        with _counted(desk.ledger, "put"):
            await _admit(desk, request)  # nobody else has a body read
            try:
                body = await read_json(PutBody, request, desk.intake.max_body_bytes, WITH_REQUEST)
            except ClientGone:
                return Response(status_code=GONE_STATUS)
            asked = await _read(desk, body, request)
            if not desk.is_local and asked.tenant == ANONYMOUS:
                raise PutRefused("Others can reach this server, so an answer is taken from callers with a key only.")
            async with asked.admission as admission:
                told = [*asked.told, *admission.headers(asked.shape.dialect)]
                with told_with_errors(told):
                    admission.check()
                    said = await _put(desk, asked, body)
            response = Response(orjson.dumps(said), media_type="application/json")
            response.raw_headers.extend(told)
            return response

    return routes


async def _looked_up(desk: CacheDesk, asked: _Asked, started: float) -> Response:
    envelope = asked.shape.envelope(asked.parsed)
    found = await desk.aside.look_up(
        asked.parsed.request,
        asked.tenant,
        asked.parsed.cache_salt,
        asked.controls,
        asked.policy,
        response_id=envelope.id,
    )
    if isinstance(found, Missed):
        return _json({**_said(found.id, found.outcome), "response": None}, found.outcome)
    return await _hit(desk, asked, envelope, found, started)


async def _put(desk: CacheDesk, asked: _Asked, body: PutBody) -> dict[str, Any]:
    answer = await asyncio.to_thread(answered, body)  # it may hold log probabilities by the hundred thousand
    kept = await desk.aside.put(
        asked.parsed.request,
        asked.tenant,
        asked.parsed.cache_salt,
        asked.controls,
        answer,
        asked.policy,
        lookup=body.lookup,
        elapsed_s=body.elapsed_s,
    )
    return {
        "object": "cache.entry",
        "kept": kept.entry is not None,
        "entry": kept.entry if kept.hit_details else None,
        "reason": kept.reason,
        "ttl_s": kept.ttl_s,
    }


async def _hit(desk: CacheDesk, asked: _Asked, envelope: Envelope, found: Found, started: float) -> Response:
    answer, outcome = Collector(), found.reply.outcome
    async with aclosing(found.reply.deltas) as deltas:
        async for delta in deltas:
            answer.add(delta)
    asked.admission.settle(answer.completion().usage, is_hit=True, model=asked.parsed.request.model)
    completion = of_others(answer.completion())  # a server's own name for a response is told to nobody
    whole = envelope.completion(completion, Usage() if desk.intake.zero_usage else completion.usage)
    response = _json({**_said(found.id, outcome), "response": orjson.Fragment(whole)}, outcome)
    took_s = time.perf_counter() - started
    model, usage = asked.parsed.request.model, completion.usage
    is_unsaid = asked.controls.no_store or found.is_forgotten
    question = None if is_unsaid else head_of(question_of(asked.parsed.request))
    desk.ledger.record(Line(outcome, model, ROUTE, usage, took_s, took_s, found.id, asked.tenant, question))
    return response


async def _admit(desk: CacheDesk, request: Request) -> None:
    """Raises unless the caller is known as the clients of some shape say it; which shape it is, the body names."""
    refused: GatewayError | None = None
    for shape in {shape.credential(request.headers): shape for shape in desk.shapes.values()}.values():
        try:
            await desk.intake.identify(request.headers, shape)
        except GatewayError as error:
            refused = refused or error
        else:
            return
    if refused is not None:
        raise refused


async def _read(desk: CacheDesk, body: LookupBody, request: Request) -> _Asked:
    """Raises `InvalidRequest` naming the field, and what the caller's policy forbids."""
    shape = desk.shapes.get(body.shape)
    if shape is None:
        raise InvalidRequest(f"shape may be {', '.join(desk.shapes)}; got {body.shape!r}.", "shape")
    try:
        parsed = shape.parse(orjson.dumps(body.request))
    except InvalidRequest as error:
        raise _inside(error) from error
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"request cannot be read: {error}.", "request") from error
    if parsed.follows:
        raise InvalidRequest("What came before is not known here: send the whole conversation.", "request")
    if parsed.others:
        raise InvalidRequest("Each prompt is kept by itself: ask for one at a time.", "request.prompt")
    try:
        controls = controls_of(request.headers, parsed.cache)
    except InvalidRequest as error:
        raise (_inside(error) if str(error.param).startswith("cache") else error) from error
    parsed = replace(parsed, request=shape.with_headers(parsed.request, request.headers))
    caller = await desk.intake.identify(request.headers, shape)
    policy = desk.intake.policies.of(caller)
    policy.check_model(parsed.request.model)
    allowed = policy.clamp(controls)
    told = [] if allowed is controls else ignored_of(policy.refused(controls))
    admission = desk.intake.quota.enter(policy, partial(Guess, parsed.request.model))
    allowed = desk.aside.redactor.over(parsed.request, allowed)
    return _Asked(shape, parsed, caller.tenant, allowed, policy, admission, told)


def _inside(error: InvalidRequest) -> InvalidRequest:
    """The same complaint, of a field of `request`."""
    return InvalidRequest(error.message, f"request.{error.param}" if error.param else "request")


def answered(body: PutBody) -> Completion:
    """What was answered. Raises `InvalidRequest`."""
    if (body.response is None) == (body.answer is None):
        raise InvalidRequest("Give either response, a chat completion, or answer, a text.", "response")
    if body.response is None:
        return Completion((Choice({"role": "assistant", "content": body.answer}, "stop"),))
    try:
        completion = of_others(parse_completion(orjson.dumps(body.response), "response"))
    except (BackendError, ValueError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"response is not a chat completion: {error}.", "response") from error
    if (field := malformed(completion)) is not None:
        raise InvalidRequest(f"response.{field} is none of a chat completion.", f"response.{field}")
    for index, choice in enumerate(completion.choices):
        if other := sorted(_OF_OTHER_SHAPES & choice.message.keys()):
            field = f"response.choices[{index}].message.{other[0]}"
            raise InvalidRequest(f"{field} would be said instead of content: leave it out.", field)
    return completion


def _said(response_id: str, outcome: Outcome) -> dict[str, Any]:
    """What is told of a lookup, beside the answer."""
    outcome = outcome.told
    return {
        "object": "cache.lookup",
        "id": response_id,
        "hit": outcome.is_stored,
        "tier": outcome.tier if outcome.is_stored else None,
        "reason": outcome.reason,
        "entry": outcome.entry,
        "similarity": outcome.similarity,
        "age_s": outcome.age_s,
        "ttl_s": outcome.ttl_s,
        "saved_tokens": outcome.saved_tokens if outcome.is_stored else 0,
    }


def _json(said: dict[str, Any], outcome: Outcome) -> Response:
    response = Response(orjson.dumps(said, default=dict), media_type="application/json")
    if outcome.is_stored:
        response.raw_headers.extend(headers_of(outcome))
    return response


@contextmanager
def _counted(ledger: Ledger, route: str) -> Iterator[None]:
    """Errors stand in the ledger, as those of every route that answers."""
    try:
        yield
    except (GatewayError, BackendError) as error:
        ledger.failed(error.code or "error", route, status=error.status)
        raise
