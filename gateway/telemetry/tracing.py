"""Spans for OpenTelemetry, with the attributes of its GenAI conventions; the only import of it.

    chat demo                 the request, from its first byte to its last         SERVER
      cache exact             each tier that was asked, and what it said           INTERNAL
      cache semantic
      chat demo               each backend that was asked, and how that ended      CLIENT

A caller's `traceparent` is the parent, and backends that are servers get one, so a trace goes through to the engine.
The request's span is begun with it; the others are made when it is over, from what was noted on the way. Spans are
exported in batches by a thread of the SDK: a collector that is away costs memory within a bound, and no request.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from backends.journey import JOURNEY, Attempt, Journey
from gateway import __version__
from gateway.ledger import Failure, Line
from gateway.telemetry.exchange import Exchange

TRACES_PATH = "/v1/traces"
OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}  # of the ledger's routes; others chat
TIMED = ("exact", "semantic", "loose")  # one after the other, from the beginning on; what else is noted is a moment
TRACED = "/v1/"  # what people watch themselves with would fill the view
PROVIDER = "twicetold"

Attributes = dict[str, str | int | float | bool]


class Tracing:
    """An observer of exchanges."""

    def __init__(
        self, exporter: SpanExporter, *, service: str = PROVIDER, sample: float = 1.0, has_questions: bool = False
    ) -> None:
        resource = Resource.create({"service.name": service, "service.version": __version__})
        self._provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(sample)))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("twicetold", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._has_questions = has_questions
        self._open: dict[int, tuple[Span, Journey]] = {}  # by the exchange

    def begin(self, exchange: Exchange, scope: Scope) -> None:
        """Begin a span, and have backends told of it."""
        if not exchange.path.startswith(TRACED):
            return
        parent = self._propagator.extract(scope["headers"], getter=_FROM_ASGI)
        span = self._tracer.start_span(
            f"{exchange.method} {exchange.path}", parent, SpanKind.SERVER, start_time=exchange.started_ns
        )
        headers: dict[str, str] = {}
        self._propagator.inject(headers, set_span_in_context(span))
        journey = Journey(headers)
        JOURNEY.set(journey)
        if span.is_recording():
            exchange.lookups = []
            self._open[id(exchange)] = span, journey
        exchange.trace_id = f"{span.get_span_context().trace_id:032x}"

    def end(self, exchange: Exchange) -> None:
        """End the span, with what is below it."""
        opened = self._open.pop(id(exchange), None)
        if opened is None:
            return
        span, journey = opened
        context = set_span_in_context(span, Context())
        began_ns = exchange.started_ns
        for lookup in exchange.lookups or ():
            attributes: Attributes = {
                "twicetold.lookup.outcome": lookup.outcome,
                "twicetold.lookup.reason": lookup.reason,
            }
            if lookup.tier in TIMED:
                self._child(f"cache {lookup.tier}", context, SpanKind.INTERNAL, attributes, began_ns, lookup.ended_ns)
                began_ns = lookup.ended_ns
            else:
                span.add_event(f"cache {lookup.tier}", attributes, lookup.ended_ns)
        operation = operation_of(exchange.line)
        for attempt in journey.attempts:
            self._attempted(attempt, operation, context, exchange.ended_ns)
        if isinstance(exchange.line, Line | Failure):
            span.update_name(f"{operation} {exchange.line.model}".rstrip())
        span.set_attributes(attributes_of(exchange, has_questions=self._has_questions))
        if exchange.status >= 500 or isinstance(exchange.line, Failure):
            span.set_status(Status(StatusCode.ERROR))
        span.end(exchange.ended_ns)

    def close(self) -> None:
        """Export what waits."""
        self._provider.shutdown()

    def _attempted(self, attempt: Attempt, operation: str, context: Context, ended_ns: int) -> None:
        attributes: Attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": attempt.backend,
            "gen_ai.request.model": attempt.model,
        }
        if attempt.error:
            attributes["error.type"] = attempt.error
        name, until = f"{operation} {attempt.model}", attempt.ended_ns or ended_ns
        self._child(name, context, SpanKind.CLIENT, attributes, attempt.started_ns, until)

    def _child(
        self, name: str, context: Context, kind: SpanKind, attributes: Attributes, began_ns: int, ended_ns: int
    ) -> None:
        span = self._tracer.start_span(name, context, kind, attributes, start_time=began_ns)
        if "error.type" in attributes:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_ns)


def otlp(endpoint: str) -> SpanExporter:
    """To a collector that speaks OTLP over HTTP. What else it needs the SDK reads from OTEL_EXPORTER_OTLP_*."""
    has_path = urlsplit(endpoint).path not in ("", "/")
    return OTLPSpanExporter(endpoint if has_path else endpoint.rstrip("/") + TRACES_PATH)


def operation_of(line: Line | Failure | None) -> str:
    """What the conventions call it."""
    return OPERATIONS.get(line.route, "chat") if line is not None else "chat"


def attributes_of(exchange: Exchange, *, has_questions: bool = False) -> Attributes:
    """What a request's span says; what does not apply is left out."""
    said: dict[str, Any] = {
        "http.request.method": exchange.method,
        "url.path": exchange.path,
        "http.response.status_code": exchange.status,
        "twicetold.request_id": exchange.request_id,
    }
    line = exchange.line
    if line is not None:
        said |= {
            "gen_ai.operation.name": operation_of(line),
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": line.model,
            "gen_ai.response.id": line.id,
            "twicetold.tenant": line.tenant,
            "twicetold.route": line.route,
        }
    if isinstance(line, Failure):
        said["error.type"] = line.code
    elif line is not None:
        said |= _answered(line)
        said["twicetold.question"] = line.question if has_questions else None
    return {name: value for name, value in said.items() if value not in (None, "")}


def _answered(line: Line) -> Mapping[str, Any]:
    outcome, usage = line.outcome, line.usage
    return {
        "gen_ai.response.model": outcome.fallback or line.model,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.response.time_to_first_chunk": line.ttft_s,
        "twicetold.tier": line.tier,
        "twicetold.reason": outcome.reason,
        "twicetold.entry": outcome.entry,
        "twicetold.similarity": outcome.similarity,
        "twicetold.saved_tokens": usage.prompt_tokens + usage.completion_tokens
        if outcome.is_stored
        else usage.cached_tokens,
        "twicetold.saved_seconds": line.saved_s,
        "twicetold.overhead_ms": outcome.overhead_s * 1000,
    }


class _FromAsgi(Getter[list[tuple[bytes, bytes]]]):
    """Headers as ASGI has them."""

    def get(self, carrier: list[tuple[bytes, bytes]], key: str) -> list[str] | None:
        name = key.lower().encode("ascii")
        values = [value.decode("latin-1") for each, value in carrier if each == name]
        return values or None

    def keys(self, carrier: list[tuple[bytes, bytes]]) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


_FROM_ASGI = _FromAsgi()
