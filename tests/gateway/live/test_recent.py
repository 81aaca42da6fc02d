"""What is known of requests that ended."""

import pytest

from backends.chat import Usage
from gateway.ledger import Hits, Ledger
from gateway.live.prices import Price
from gateway.live.recent import MOST_MODELS
from gateway.metrics import Metrics
from gateway.outcome import Outcome, Tier
from tests.gateway.live.lines import Clock, failure, line, recent_of

USAGE = Usage(1000, 100)
KEYS = {
    "id", "t", "tier", "reason", "model", "route", "tenant", "status", "ttft_ms", "total_ms", "overhead_ms",
    "prompt_tokens", "completion_tokens", "cached_tokens", "saved_tokens", "saved_seconds", "saved_money",
    "similarity", "entry", "question",
}  # fmt: skip

MONEY: list[tuple[Tier, Usage, float, float]] = [
    # saved, spent in dollars, of prompt 10, cached 1, completion 100 for a million
    ("exact", USAGE, 0.02, 0.0),
    ("semantic", Usage(1000, 100, cached_tokens=500), 0.0155, 0.0),  # as it was made: half of the prompt at a discount
    ("kv", Usage(1000, 100, cached_tokens=500), 0.0045, 0.0155),
    ("full", USAGE, 0.0, 0.02),
]


@pytest.mark.parametrize(("tier", "usage", "saved", "spent"), MONEY)
def test_what_is_saved_is_what_would_have_been_paid(tier: Tier, usage: Usage, saved: float, spent: float) -> None:
    recent = recent_of(Clock())
    recent.hear(line(tier, usage))
    money = recent.figures()["money"]

    assert (money["saved"], money["spent"]) == (pytest.approx(saved), pytest.approx(spent))
    assert next(recent.rows())["saved_money"] == pytest.approx(saved)


async def test_a_new_price_holds_for_what_was_counted_before() -> None:
    recent = recent_of(Clock())
    recent.hear(line("exact"))
    await recent.prices.change("EUR", {"*": Price(1.0, 1.0, 0.0)})
    money = recent.figures()["money"]

    assert (money["currency"], money["saved"]) == ("EUR", pytest.approx(0.001))
    assert recent.series(1)["points"][-1]["saved_money"] == pytest.approx(0.001)


def test_rows_are_the_newest_first_and_bounded() -> None:
    recent = recent_of(Clock(), kept=3)
    for number in range(5):
        recent.hear(line(id=f"r{number}"))

    assert [row["id"] for row in recent.rows()] == ["r4", "r3", "r2"]
    assert [row["id"] for row in recent.rows(limit=1)] == ["r4"]


def test_rows_can_be_chosen_by_tier_model_and_failure() -> None:
    recent = recent_of(Clock())
    recent.hear(line("exact", id="a"))
    recent.hear(line("full", id="b", model="n"))
    recent.hear(failure())

    assert [row["id"] for row in recent.rows(tier="exact")] == ["a"]
    assert [row["id"] for row in recent.rows(model="n")] == ["b"]
    assert [row["error"] for row in recent.rows(tier="error")] == ["model_not_found"]


def test_every_row_has_the_same_fields() -> None:
    recent = recent_of(Clock())
    recent.hear(line())
    recent.hear(failure())
    failed, answered = recent.rows()

    assert set(answered) == KEYS
    assert set(failed) == KEYS | {"error"}


def test_percentiles_are_told_for_the_last_hour_and_for_all() -> None:
    clock = Clock()
    recent = recent_of(clock)
    recent.hear(line(total_s=10.0))
    for _ in range(30):
        clock.now_s += 300
        recent.hear(line(total_s=0.1))
    figures = recent.figures()

    assert figures["latency"]["full"]["count"] == 31
    assert figures["latency"]["full"]["total"]["p99"] > 9
    assert figures["latency_last_hour"]["full"]["count"] < 16
    assert figures["latency_last_hour"]["full"]["total"]["p99"] < 0.2


def test_a_flood_of_model_names_is_counted_as_other() -> None:
    recent = recent_of(Clock())
    for number in range(MOST_MODELS + 20):
        recent.hear(line(model=f"m{number}"))

    assert len(recent.models) == MOST_MODELS + 1
    assert "other" in recent.models


def test_the_ledger_tells_its_listeners_of_answers_and_failures() -> None:
    ledger, heard = Ledger(Metrics()), recent_of(Clock())
    ledger.listen(heard.hear)
    ledger.record(line("exact"))
    ledger.failed("upstream_error", "chat", status=502, model="m")

    assert [row["tier"] for row in heard.rows()] == ["error", "exact"]
    assert heard.last == 2


def test_a_listener_that_breaks_breaks_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    ledger, heard = Ledger(Metrics()), recent_of(Clock())
    ledger.listen(lambda _: [][0])
    ledger.listen(heard.hear)
    ledger.record(line())

    assert heard.last == 1
    assert "a listener failed" in caplog.text


def test_hits_that_are_told_together_are_rows_as_their_lines() -> None:
    told, one_by_one = recent_of(Clock(), kept=3), recent_of(Clock(), kept=3)
    outcome = Outcome("exact", "same_request", entry="e", age_s=5.0, saved_s=1.0)
    each = [(f"r{number}", told.started_s, 0.001, 0.0001) for number in range(5)]
    hits = Hits(outcome, told.started_s, "m", "chat", USAGE, each, "t", "a question")
    told.hear_hits(hits)
    for one in each:
        one_by_one.hear(hits.line(one))

    assert list(told.rows()) == list(one_by_one.rows())
    assert [row.number for row in told.after(3, 10)] == [4, 5]
    assert told.figures() == one_by_one.figures()
    assert told.series(1) == one_by_one.series(1)


def test_words_of_hits_that_are_told_together_are_forgotten() -> None:
    recent = recent_of(Clock())
    outcome, at_s = Outcome("exact", "same_request", age_s=5.0), recent.started_s
    each = [("a", at_s, 0.1, 0.0), ("b", at_s + 9, 0.1, 0.0)]
    recent.hear_hits(Hits(outcome, at_s, "m", "chat", USAGE, each, "t", "a question"))

    assert recent.count("t") == 2
    assert recent.forget("t", at_s) == 1
    assert [row["question"] for row in recent.rows()] == ["a question", None]
