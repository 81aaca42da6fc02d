"""What a gateway tells of its requests: lines of the access log, spans in a collector. Traffic first, then a look."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from gateway.settings import load_settings
from tests.e2e.collector import Collector, running_collector
from tests.e2e.server import running_gateway
from tests.upstream import running_upstream

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SERVER = 2  # kind of a span
QUESTION = "What is a block table?"


@dataclass
class Told:
    """What was said of the traffic below."""

    responses: dict[str, httpx.Response] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    spans: Collector = field(default_factory=lambda: Collector(""))
    sent: dict[str, str] = field(default_factory=dict)  # headers that the upstream got with the traced request

    def line(self, name: str) -> dict[str, Any]:
        """The line of one request."""
        wanted = self.responses[name].headers["x-request-id"]
        (line,) = (line for line in self.lines if line["request_id"] == wanted)
        return line


def body(text: str = QUESTION, **more: Any) -> dict[str, Any]:
    return {"model": "test-model", "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("observing")
    log, told = folder / "logs" / "access.jsonl", Told()
    with running_collector() as collector, running_upstream() as upstream:
        flags = ["--upstream", upstream.base_url]
        observing = {"access_log__path": str(log), "tracing__endpoint": collector.address}
        with running_gateway(folder / "data", *flags, cache__semantic="false", **observing) as gateway:
            gateway.wait("upstream")
            parent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine-1"}
            told.responses["miss"] = gateway.post(body(), **parent)
            told.sent = upstream.app.headers
            told.responses["hit"] = gateway.post(body())
            told.responses["stream"] = gateway.post(body("A stream?", stream=True))
            log.rename(log.with_suffix(".old"))
            told.responses["bad id"] = gateway.post(body("Bad?"), **{"x-request-id": "a b"})
            told.responses["refused"] = gateway.post({"model": "test-model"})
            upstream.control(mode="error:400")
            told.responses["failed"] = gateway.post(body("Fails?"))
            told.responses["nowhere"] = gateway.get("/nowhere")
            told.responses["health"] = gateway.get("/healthz")
            gateway.stop()
        told.spans = collector
    files = [log.with_suffix(".old"), log]
    told.lines = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    return told


def test_a_callers_request_id_comes_back_and_one_that_is_none_is_replaced(told: Told) -> None:
    ids = {name: response.headers["x-request-id"] for name, response in told.responses.items()}

    assert ids.pop("miss") == "mine-1"
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", one) for one in ids.values())
    assert len(set(ids.values())) == len(ids)


def test_a_line_says_which_tier_answered_and_why_and_what_that_took(told: Told) -> None:
    miss, hit = told.line("miss"), told.line("hit")

    assert (miss["tier"], miss["reason"], hit["tier"], hit["reason"]) == ("full", "miss", "exact", "same_request")
    assert hit["entry"] == miss["entry"] == told.responses["hit"].headers["x-twicetold-entry"]
    assert hit["saved_tokens"] == hit["prompt_tokens"] + hit["completion_tokens"] > 0
    assert 0 <= hit["overhead_ms"] <= hit["ttft_ms"] <= hit["ms"]
    assert (hit["model"], hit["route"], hit["status"]) == ("test-model", "chat", 200)
    assert hit["id"] == told.responses["hit"].json()["id"]
    assert told.line("stream")["tier"] == "full"


def test_what_fails_has_a_line_with_its_code_and_status(told: Told) -> None:
    told_of = {name: told.line(name) for name in ("refused", "failed", "nowhere")}

    assert {name: line["status"] for name, line in told_of.items()} == {"refused": 400, "failed": 400, "nowhere": 404}
    assert told_of["failed"]["error"] == told.responses["failed"].json()["error"]["code"]
    assert told_of["nowhere"]["path"] == "/nowhere"


def test_no_line_and_no_span_holds_what_was_asked_nor_tells_of_probes(told: Told) -> None:
    assert QUESTION not in json.dumps([told.lines, told.spans.spans])
    assert not [line for line in told.lines if line["path"] in ("/healthz", "/readyz")]


def test_a_log_that_was_renamed_is_gone_on_with_under_its_name(told: Told) -> None:
    assert len(told.lines) == len(told.responses) - 1  # but for the probe


def test_a_span_goes_on_from_its_callers_trace_and_the_upstreams_from_it(told: Told) -> None:
    (span,) = told.spans.named("chat test-model", twicetold_tier="full", twicetold_request_id="mine-1")
    lookup, attempt = told.spans.below(span)

    assert (span["trace"], span["parent"]) == (TRACE, PARENT)
    assert told.sent["traceparent"] == f"00-{TRACE}-{span['id']}-01"
    assert lookup["name"] == "cache exact"
    assert lookup["attributes"] == {"twicetold.lookup.outcome": "miss", "twicetold.lookup.reason": "absent"}
    assert (attempt["name"], attempt["attributes"]["gen_ai.provider.name"]) == ("chat test-model", "upstream")
    assert span["began"] <= lookup["began"] <= lookup["ended"] <= attempt["began"] <= attempt["ended"] <= span["ended"]
    assert span["events"] == {
        "cache write": {"twicetold.lookup.outcome": "kept", "twicetold.lookup.reason": "complete"}
    }
    assert told.line("miss")["trace_id"] == TRACE


def test_a_span_has_the_attributes_of_the_genai_conventions(told: Told) -> None:
    (span,) = told.spans.named("chat test-model", twicetold_tier="exact")
    usage = told.responses["hit"].json()["usage"]
    said = span["attributes"]

    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.request.model"] == "test-model"
    assert said["gen_ai.response.id"] == told.responses["hit"].json()["id"]
    assert said["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert said["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert said["twicetold.saved_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert [child["name"] for child in told.spans.below(span)] == ["cache exact"]  # no backend was asked


def test_a_backend_that_fails_is_an_error_in_its_span_and_in_the_requests(told: Told) -> None:
    code = told.responses["failed"].json()["error"]["code"]
    (span,) = (span for span in told.spans.named("chat test-model", error_type=code) if span["kind"] == SERVER)

    assert span["is_error"]
    assert told.spans.below(span)[-1]["is_error"]


def test_the_service_is_named_and_what_people_look_at_makes_no_spans(told: Told) -> None:
    assert {one["service.name"] for one in told.spans.resources} == {"twicetold"}
    assert not [span for span in told.spans.spans if span["attributes"].get("url.path") in ("/nowhere", "/readyz")]


def test_a_collector_that_is_named_for_every_program_is_used() -> None:
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert load_settings({}, None, named).tracing.endpoint == "http://127.0.0.1:4318"
    assert load_settings({}, None, {**named, "OTEL_SDK_DISABLED": "true"}).tracing.endpoint == ""
    own = {**named, "TWICETOLD_TRACING__ENDPOINT": "http://127.0.0.1:9999"}
    assert load_settings({}, None, own).tracing.endpoint == "http://127.0.0.1:9999"
