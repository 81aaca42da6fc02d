"""How good hits by meaning are, for `/admin/api/quality`: rates with their intervals, and how would-be hits spread."""

from typing import Any

from embeddings.control.risk import clopper_pearson
from gateway.semantic.figures import CONFIDENCE, figures, lane_figures
from gateway.semantic.held import Held
from gateway.semantic.tallies import told
from gateway.semantic.tier import Semantic


def rate(wrong: int, known: int) -> dict[str, Any]:
    """Wrong hits of known ones, with Clopper and Pearson's bounds, each of them at `CONFIDENCE`."""
    lower, upper = clopper_pearson(wrong, known, CONFIDENCE)
    estimate = wrong / known if known else None
    return {"known": known, "wrong": wrong, "estimate": estimate, "lower": lower, "upper": upper}


def lane_quality(semantic: Semantic, held: Held, versions: list[str]) -> dict[str, Any]:
    """One lane."""
    report = held.report
    return {
        **lane_figures(held, versions, held.verifier.name),
        "wrong_hit_rate": rate(report.wrong, report.known),
        "served": report.served,
        "shadowed": report.shadowed,
        "histograms": told(semantic.lanes.tallies.get(held.rule.key), held.known),
    }


def all_lanes(semantic: Semantic, lanes: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer as a whole."""
    rates = [lane["wrong_hit_rate"] for lane in lanes]
    return {
        **figures(semantic),
        "confidence": CONFIDENCE,
        "wrong_hit_rate": rate(sum(one["wrong"] for one in rates), sum(one["known"] for one in rates)),
        "is_ready": semantic.is_ready,
        "lanes": lanes,
    }
