"""Who watches requests is asked for by settings, and costs nothing where it is not."""

import subprocess
import sys
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.ledger import Failure
from gateway.settings import SettingsError, load_settings
from gateway.telemetry.exchange import LEFT, Exchange, Exchanges, note

WITHOUT_THE_EXTRA = """
import sys
sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
from pathlib import Path
from gateway.engines import Unavailable
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.services.observing import observing_of
from gateway.settings import load_settings

def observers(environ):
    metrics = Metrics()
    return observing_of(load_settings({}, None, environ), Ledger(metrics), metrics).observers

assert observers({}) == ()
assert not [name for name in sys.modules if name.startswith(("opentelemetry.exporter", "gateway.telemetry.tracing"))]
assert observers({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}) == ()
try:
    observers({"TWICETOLD_TRACING__ENDPOINT": "http://127.0.0.1:4318"})
except Unavailable as error:
    print(error)
"""


def test_nothing_of_opentelemetry_is_needed_until_it_is_asked_for() -> None:
    command = [sys.executable, "-c", WITHOUT_THE_EXTRA]
    ran = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)

    assert ran.stdout.endswith(": pip install 'twicetold-server[otel]'\n")
    assert "no spans are exported" in ran.stderr


class Hearing:
    """Remembers how exchanges ended."""

    def __init__(self) -> None:
        self.heard: list[Exchange] = []

    def begin(self, exchange: Exchange, scope: Scope) -> None:
        assert exchange.status == LEFT

    def end(self, exchange: Exchange) -> None:
        self.heard.append(exchange)


async def test_a_request_that_breaks_something_of_ours_is_heard_of_as_that() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        note(Failure("internal", "chat"))
        raise RuntimeError("1 + 1 != 3")

    hearing, scope = Hearing(), {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(RuntimeError):
        await Exchanges(broken, [hearing])(scope, _nothing, _nowhere)
    note(Failure("of nobody", "chat"))

    (heard,) = hearing.heard
    assert (heard.status, heard.line, heard.total_s >= 0) == (500, Failure("internal", "chat"), True)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


async def _nowhere(_: Message) -> None:
    pass


@pytest.mark.parametrize(
    ("variable", "value"),
    [("TWICETOLD_TRACING__ENDPOINT", "collector:4318"), ("TWICETOLD_TRACING__SAMPLE", "1.5")],
)
def test_a_setting_that_cannot_be_used_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable.removeprefix("TWICETOLD_").lower().replace("__", ".")):
        load_settings({}, None, {variable: value})
