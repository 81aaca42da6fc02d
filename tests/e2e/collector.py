"""An OpenTelemetry collector of one's own: OTLP over HTTP on a free port, in a thread of this process."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Collector:
    """What it was sent."""

    address: str
    resources: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)

    def named(self, name: str, **attributes: Any) -> list[dict[str, Any]]:
        """Spans of this name that have these attributes; `twicetold_tier` stands for `twicetold.tier`."""
        wanted = {key.replace("_", ".", 1): value for key, value in attributes.items()}
        return [s for s in self.spans if s["name"] == name and wanted.items() <= s["attributes"].items()]

    def below(self, span: dict[str, Any]) -> list[dict[str, Any]]:
        """The children of a span, in the order of their beginnings."""
        return sorted((s for s in self.spans if s["parent"] == span["id"]), key=lambda s: (s["began"], s["ended"]))

    def take(self, raw: bytes) -> None:
        told = ExportTraceServiceRequest.FromString(raw)
        for resource in told.resource_spans:
            self.resources.append(_values(resource.resource.attributes))
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        {
                            "name": span.name,
                            "kind": span.kind,
                            "trace": span.trace_id.hex(),
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "began": span.start_time_unix_nano,
                            "ended": span.end_time_unix_nano,
                            "is_error": span.status.code == span.status.STATUS_CODE_ERROR,
                            "attributes": _values(span.attributes),
                            "events": {event.name: _values(event.attributes) for event in span.events},
                        }
                    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def running_collector() -> Iterator[Collector]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            is_packed = self.headers.get("content-encoding") == "gzip"
            collector.take(gzip.decompress(raw) if is_packed else raw)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
