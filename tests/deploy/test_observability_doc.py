"""docs/observability.md names what there is, and nothing else."""

import re
from dataclasses import fields
from pathlib import Path

from backends.chat import Usage
from gateway.ledger import Failure, Line
from gateway.outcome import Outcome
from gateway.settings import AccessLogSettings, TracingSettings
from gateway.telemetry.access_log import entry_of
from gateway.telemetry.exchange import Exchange
from gateway.telemetry.tracing import attributes_of
from tests.deploy.metrics import PROMISED, documented

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "observability.md").read_text("utf-8")
OUTCOME = Outcome("semantic", "paraphrase", entry="e_1", similarity=0.9, saved_s=2.0, fallback="other")
LINE = Line(OUTCOME, "m", "chat", Usage(5, 6, 1), 0.1, 0.2, id="chatcmpl-1", tenant="t", question="Why?")


def named_in_code() -> set[str]:
    """Every whole name of a metric that the source holds, without what is put on behind."""
    text = "".join(path.read_text("utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    return set(re.findall(r'"twicetold_([a-z0-9_]+[a-z0-9])"', text)) - {"session"}  # a cookie


def test_every_metric_is_documented_and_nothing_else_is() -> None:
    told, made_of = {name.removesuffix("_total") for name in documented()}, ("backend_", "engine_")

    assert named_in_code() - told == set()
    assert {name for name in told - named_in_code() if not name.startswith(made_of)} == set()
    assert {name.removesuffix("_count").removesuffix("_total") for name in PROMISED} <= told


def test_every_metric_is_drawn_on_the_dashboard_of_grafana() -> None:
    board = (ROOT / "deploy" / "grafana" / "dashboards" / "twicetold.json").read_text("utf-8")

    assert {name for name in documented() if not re.search(rf"twicetold_{name}(_bucket)?\b", board)} == set()


def test_every_field_of_a_line_is_documented() -> None:
    lines: list[Line | Failure] = [LINE, Failure("timeout", "chat", 504, "m", "t", "id", 1.0)]
    written = [entry_of(_exchange(line), has_questions=True) for line in lines]

    assert {name for entry in written for name in entry if f"`{name}`" not in TEXT} == set()
    assert "question" not in entry_of(_exchange(LINE))


def test_every_attribute_of_a_span_is_documented() -> None:
    said = attributes_of(_exchange(LINE), has_questions=True)

    assert {name for name in said if f"`{name}`" not in TEXT} == set()
    assert "twicetold.question" not in attributes_of(_exchange(LINE))


def test_every_setting_is_documented() -> None:
    names = {one.name for settings in (AccessLogSettings, TracingSettings) for one in fields(settings)}

    assert {name for name in names - {"is_from_environment"} if f"{name} = " not in TEXT} == set()


def _exchange(line: Line | Failure) -> Exchange:
    return Exchange("req_1", "POST", "/v1/chat/completions", 10**18, 200, 10**18 + 10**8, line, trace_id="0a")
