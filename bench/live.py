"""What the live view costs a request, and an operator who looks: the ledger with and without it, in turns."""

import time
from collections.abc import Callable

from backends.chat import Usage
from bench.rows import Row, Scale
from gateway.ledger import Ledger, Line
from gateway.live.prices import Prices
from gateway.live.recent import KEPT, Recent
from gateway.metrics import Metrics
from gateway.outcome import Outcome

OUTCOME = Outcome("exact", "same_request", entry="e_1", saved_s=1.0)
USAGE = Usage(500, 100)


def run(scale: Scale) -> list[Row]:
    """Microseconds of a line, the least of several turns; milliseconds of what a page asks every few seconds."""
    lines, turns = scale.of(20_000, 500), scale.of(9, 2)
    recent = Recent(Prices())
    alone, heard = Ledger(Metrics()), Ledger(Metrics())
    heard.listen(recent.hear)
    without, with_it = [], []
    for _ in range(turns):
        without.append(_each(lambda: _line(alone), lines))
        with_it.append(_each(lambda: _line(heard), lines))
    asks: dict[str, Callable[[], object]] = {
        "figures for stats": recent.figures,
        "series of a week": lambda: recent.series(10_080),
        f"the last {KEPT:,} rows": lambda: list(recent.rows()),
    }
    note = f"the least of {turns} turns of {lines:,} lines"
    return [
        Row("live", "a line of the ledger", min(with_it) * 1e6, "us", min(without) * 1e6, "without a listener", note),
        *(Row("live", what, min(_each(ask, 1) for _ in range(turns)) * 1e3, "ms") for what, ask in asks.items()),
    ]


def _line(ledger: Ledger) -> None:
    ledger.record(Line(OUTCOME, "m", "chat", USAGE, 0.001, 0.002, "chatcmpl-1", "anonymous", "What is a cache?"))


def _each(work: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times
