"""What is written down of requests: [access_log] and [tracing]."""

from dataclasses import dataclass, field

from gateway.settings.declared import NOT_SET


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """One JSON line per request: [access_log]."""

    path: str = ""  # a file, or "-" for standard output; empty: no access log
    questions: bool = False  # with the beginning of what was asked


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Spans for OpenTelemetry: [tracing]. Needs the extra `otel`."""

    endpoint: str = ""  # of a collector that speaks OTLP over HTTP; empty: OTEL_EXPORTER_OTLP_ENDPOINT, else no spans
    service: str = "twicetold"  # the name of this service in them
    sample: float = 1.0  # the share of traces that are begun here and kept; a caller's decision is followed
    questions: bool = False  # with the beginning of what was asked
    is_from_environment: bool = field(default=False, metadata=NOT_SET)
