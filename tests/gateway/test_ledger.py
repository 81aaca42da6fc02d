"""What is written down about a request, and how it is shown."""

import logging

import pytest

from backends.chat import Usage
from gateway.answers.base import CacheError
from gateway.ledger import MAX_MODEL_LABELS, Failure, Hits, Ledger, Line, snapshot
from gateway.metrics import Metrics, Sample
from gateway.outcome import Outcome, Tier, cache_status, headers_of
from gateway.seldom import Seldom

USAGE = Usage(10, 4)


def ledger() -> Ledger:
    return Ledger(Metrics())


def line(tier: Tier, usage: Usage = USAGE, model: str = "m", **more: float) -> Line:
    return Line(Outcome(tier, "r", saved_s=more.get("saved_s", 0.0)), model, "chat", usage, 0.1, 0.2)


TOKENS: list[tuple[Tier, Usage, tuple[int, int, int, int]]] = [
    # prompt, completion, saved prompt, saved completion
    ("exact", USAGE, (0, 0, 10, 4)),
    ("semantic", USAGE, (0, 0, 10, 4)),
    ("full", USAGE, (10, 4, 0, 0)),
    ("kv", Usage(10, 4, cached_tokens=8), (2, 4, 8, 0)),
    ("full", Usage(10, 4, cached_tokens=8), (2, 4, 8, 0)),
]


@pytest.mark.parametrize(("tier", "usage", "tokens"), TOKENS)
def test_tokens_are_counted_once_as_spent_or_saved(tier: Tier, usage: Usage, tokens: tuple[int, int, int, int]) -> None:
    book = ledger()
    book.record(line(tier, usage))
    totals = book.totals

    assert (
        totals.prompt_tokens,
        totals.completion_tokens,
        totals.saved_prompt_tokens,
        totals.saved_completion_tokens,
    ) == tokens


def test_cached_tokens_an_upstream_reports_at_the_end_make_it_the_kv_tier() -> None:
    book = ledger()
    book.record(line("full", Usage(10, 4, cached_tokens=8)))

    assert book.totals.tiers["kv"].requests == 1


def test_saved_time_is_what_the_generation_took_less_what_the_hit_took() -> None:
    book = ledger()
    book.record(line("exact", saved_s=2.2))

    assert book.totals.saved_seconds == pytest.approx(2.0)


def test_hit_ratios_add_up_to_one() -> None:
    book = ledger()
    tiers: tuple[Tier, ...] = ("exact", "exact", "full", "semantic")
    for tier in tiers:
        book.record(line(tier))
    ratios = {name: tier["hit_ratio"] for name, tier in snapshot(book.totals)["tiers"].items()}

    assert ratios == {"exact": 0.5, "semantic": 0.25, "kv": 0.0, "full": 0.25}


def fail_with(error: Exception) -> None:
    raise error


def test_a_cache_fault_is_counted_and_swallowed() -> None:
    book = ledger()
    with book.best_effort("step"):
        fail_with(CacheError("broken"))

    assert book.totals.cache_failures == 1


def test_a_step_that_fails_at_every_request_is_told_of_once_a_minute_with_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    seldom = Seldom(logging.getLogger("step"), now=lambda: now[0])
    for _ in range(3):
        seldom.warn("write", "%s failed", "write")
        seldom.warn("read", "%s failed", "read")
    now[0] = 60
    seldom.warn("write", "%s failed", "write")

    said = ["write failed", "read failed", "write failed (and 2 times more since this was last said)"]
    assert [record.getMessage() for record in caplog.records] == said


def test_a_bug_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError), ledger().best_effort("step"):
        fail_with(ZeroDivisionError())


def test_the_number_of_model_labels_is_bounded() -> None:
    metrics = Metrics()
    book = Ledger(metrics)
    for number in range(MAX_MODEL_LABELS + 50):
        book.record(line("full", model=f"m{number}"))

    assert (
        metrics.registry.get_sample_value(
            "twicetold_requests_total", {"tier": "full", "model": "other", "route": "chat"}
        )
        == 50
    )


def test_hits_that_are_told_together_count_as_their_lines() -> None:
    together, one_by_one = Metrics(), Metrics()
    books = Ledger(together), Ledger(one_by_one)
    outcome = Outcome("exact", "same_request", entry="e", age_s=5.0, ttl_s=60.0, saved_s=0.3)
    each = [(f"id-{n}", 100.0 + n, seconds, 0.0) for n, seconds in enumerate((0.0005, 0.0007, 0.2, 0.4, 200.0))]
    hits = Hits(outcome, 100.0, "m", "chat", USAGE, each, "t", "a question")
    books[0].record_hits(hits)
    for one in each:
        books[1].looked_up("exact", "hit", "same_request")
        books[1].record(hits.line(one))

    assert snapshot(books[0].totals) == snapshot(books[1].totals)
    assert together.render() == one_by_one.render()


def test_who_listens_for_lines_hears_those_of_hits_that_are_told_together() -> None:
    book, heard = ledger(), list[Line | Failure]()
    book.listen(heard.append)
    outcome = Outcome("exact", "same_request", age_s=5.0, ttl_s=60.0)
    book.record_hits(Hits(outcome, 100.0, "m", "chat", USAGE, [("a", 100.0, 0.1, 0.0), ("b", 103.0, 0.1, 0.0)]))
    lines = [line for line in heard if isinstance(line, Line)]

    assert [(line.id, line.outcome.age_s, line.outcome.ttl_s) for line in lines] == [("a", 5.0, 60.0), ("b", 8.0, 57.0)]


def test_watched_values_are_read_at_every_scrape() -> None:
    metrics = Metrics()
    values = [1.0]
    metrics.watch(lambda: [Sample("twicetold_things", "Things", values[0], (("kind", "a"),))])
    first = metrics.render()
    values[0] = 2.0

    assert b'twicetold_things{kind="a"} 1.0' in first
    assert b'twicetold_things{kind="a"} 2.0' in metrics.render()


STATUS: list[tuple[Outcome, str]] = [
    (Outcome("exact", "same_request", ttl_s=9.7), "twicetold; hit; ttl=9; detail=exact"),
    (Outcome("exact", "stale", ttl_s=-3.0), "twicetold; hit; ttl=-3; detail=exact"),
    (Outcome("semantic", "same_question"), "twicetold; hit; detail=semantic"),
    (Outcome("exact", "in_flight", is_shared=True), "twicetold; fwd=uri-miss; collapsed; detail=exact"),
    (Outcome("full", "miss"), "twicetold; fwd=uri-miss; detail=full"),
    (Outcome("kv", "prefix"), "twicetold; fwd=uri-miss; detail=kv"),
    (Outcome("full", "no_cache", bypass="no_cache"), "twicetold; fwd=request; detail=full"),
    (Outcome("kv", "prefix", bypass="no_cache"), "twicetold; fwd=request; detail=kv"),
    (Outcome("full", "tiers_off", bypass="tiers_off"), "twicetold; fwd=bypass; detail=full"),
]


@pytest.mark.parametrize(("outcome", "status"), STATUS)
def test_cache_status_is_rfc_9211(outcome: Outcome, status: str) -> None:
    assert cache_status(outcome) == status


def test_what_is_not_known_yet_is_no_header() -> None:
    names = {name for name, _ in headers_of(Outcome("exact", "in_flight", is_shared=True))}

    assert names.isdisjoint({b"x-twicetold-saved-tokens", b"x-twicetold-similarity", b"age"})
