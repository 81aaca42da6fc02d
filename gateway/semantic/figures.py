"""The live figures of the semantic tier: how often it is wrong, as far as labels tell, and where they came from."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from embeddings.control.risk import clopper_pearson
from gateway.metrics import Sample
from gateway.semantic.held import Held
from gateway.semantic.tier import Semantic

CONFIDENCE = 0.95
ACTIONS = ("serve", "shadow", "pass")


def figures(semantic: Semantic) -> dict[str, Any]:
    """Everything as JSON, for `/admin/api/stats`."""
    lanes, judge = semantic.lanes.known(), semantic.learning.judge
    estimate, upper = wrong_hit_rate(semantic)
    decided = _decided(semantic)
    return {
        "wrong_hit_rate": {"estimate": estimate, "upper": upper},
        "lanes": len(lanes),
        "decided": {action: decided[action] for action in ACTIONS},
        "labels": _labels(lanes),
        "comparisons": dict(semantic.learning.outcomes),
        "promoted": semantic.learning.promoted,
        "judge": asdict(judge.stats) if judge is not None else None,
        "fits": dict(semantic.learning.fits),
        "second_looks_failed": semantic.verifiers.second_looks_failed,
    }


def samples(semantic: Semantic) -> Iterator[Sample]:
    """The same for Prometheus."""
    estimate, upper = wrong_hit_rate(semantic)
    help_ = "Wrong semantic hits of all semantic hits, as labels tell; the bound is at 95 %"
    for bound, rate in (("estimate", estimate), ("upper", upper)):
        if rate is not None:
            yield Sample("twicetold_wrong_hit_rate", help_, rate, (("bound", bound),))
    for held in _by_route(semantic.lanes.known()):
        route = (("route", held.rule.key.route),)
        yield Sample("twicetold_semantic_threshold", "Probability from which is served", held.report.threshold, route)
    for source, outcomes in _labels(semantic.lanes.known()).items():
        for outcome, count in outcomes.items():
            labels = (("source", source), ("outcome", outcome))
            yield Sample("twicetold_semantic_labels", "Labels remembered of lanes in use", count, labels)
    for action, count in _decided(semantic).items():
        yield Sample("twicetold_semantic_decisions", "What came of questions", count, (("action", action),), True)
    for outcome, count in semantic.learning.outcomes.items():
        help_ = "Fresh answers beside stored ones"
        yield Sample("twicetold_semantic_comparisons", help_, count, (("outcome", outcome),), True)
    help_ = "Cross-encoders that could not be loaded and are done without"
    yield Sample("twicetold_second_looks_failed", help_, semantic.verifiers.second_looks_failed, (), True)
    help_ = "Whether hits by meaning are possible: 0 until there is an embedder; then, of what was read of the store"
    yield Sample("twicetold_semantic_ready", help_, semantic.is_ready)
    yield from semantic.index_samples()
    yield Sample("twicetold_promotions", "Questions that took a stored answer", semantic.learning.promoted, (), True)


def wrong_hit_rate(semantic: Semantic) -> tuple[float | None, float]:
    """The estimate, None before the first known hit, and its upper bound: of the known hits of all lanes together."""
    reports = [held.report for held in semantic.lanes.known()]
    known, wrong = sum(report.known for report in reports), sum(report.wrong for report in reports)
    return (wrong / known if known else None), clopper_pearson(wrong, known, CONFIDENCE)[1]


def lane_figures(held: Held, versions: list[str], verifier: str) -> dict[str, Any]:
    """One lane, for the admin API."""
    report, rule = held.report, held.rule
    return {
        "tenant": rule.key.tenant,
        "route": rule.key.route,
        "mode": rule.mode,
        "max_wrong_hit_rate": rule.max_wrong_hit_rate,
        "shadow_rate": rule.shadow_rate,
        "threshold": report.threshold,
        "wrong_hit_rate": {"estimate": report.wrong_rate, "upper": report.wrong_rate_upper},
        "labels": _labels([held]),
        "verifier": verifier,
        "verifiers": versions,
    }


def _labels(lanes: list[Held]) -> dict[str, dict[str, int]]:
    """By source, right and wrong."""
    every: Counter[tuple[str, bool]] = Counter()
    for held in lanes:
        every.update(held.labels)
    sources = sorted({source for source, _ in every})
    return {source: {"right": every[source, True], "wrong": every[source, False]} for source in sources}


def _decided(semantic: Semantic) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, action), count in semantic.lanes.decided.items():
        found[action] += count
    return found


def _by_route(lanes: list[Held]) -> list[Held]:
    """One lane of every route: the strictest. Tenants are no labels of a metric."""
    strictest: dict[str, Held] = {}
    for held in lanes:
        route = held.rule.key.route
        if route not in strictest or held.report.threshold > strictest[route].report.threshold:
            strictest[route] = held
    return list(strictest.values())
