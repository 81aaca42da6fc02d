"""Lines as the routes write them, and a clock that is moved by hand."""

from dataclasses import dataclass

from backends.chat import Usage
from gateway.ledger import Failure, Line
from gateway.live.prices import Price, Prices
from gateway.live.recent import Recent
from gateway.outcome import Outcome, Tier


@dataclass
class Clock:
    """Seconds since the epoch."""

    now_s: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


PRICES = {"m": Price(10.0, 1.0, 100.0)}


def recent_of(clock: Clock, kept: int = 1_000) -> Recent:
    prices = Prices()
    prices.models = dict(PRICES)
    return Recent(prices, clock=clock, kept=kept)


def line(
    tier: Tier = "full",
    usage: Usage | None = None,
    *,
    model: str = "m",
    id: str = "r1",
    total_s: float = 0.2,
    saved_s: float = 0.0,
) -> Line:
    outcome = Outcome(tier, "why", entry="e_1", saved_s=saved_s, overhead_s=0.001)
    return Line(outcome, model, "chat", usage or Usage(1000, 100), 0.1, total_s, id, "anonymous", "What is a cache?")


def failure(code: str = "model_not_found", status: int = 404) -> Failure:
    return Failure(code, "chat", status, "m", "anonymous")
