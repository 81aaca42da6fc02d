"""Which metrics the design, the dashboard, the alerts and the documents name, and whether a gateway has them."""

import re
from collections.abc import Iterable

from tests.deploy.balancer import DEPLOY

FILES = ("prometheus/rules.yml", "grafana/dashboards/twicetold.json")
# exported from the first time on that it happens, or where it was asked for
NOT_ALWAYS = {
    "twicetold_access_log_dropped_total",
    "twicetold_backend_failures_total",
    "twicetold_cut_total",
    "twicetold_fallbacks_total",
    "twicetold_index_passed_on_lost_total",
    "twicetold_index_passed_on_total",
    "twicetold_loose_entries",
    "twicetold_normalise_rested_total",
    "twicetold_normalised_total",
    "twicetold_refused_total",
    "twicetold_rewritings_total",
    "twicetold_semantic_comparisons_total",
    "twicetold_shared_failures_total",
}

# What users were promised: every name with its labels, and of a label of few values those (design, section 6).
PROMISED: dict[str, dict[str, set[str]]] = {
    "requests_total": {"tier": set(), "model": set(), "route": set()},
    "lookups_total": {"tier": set(), "outcome": set(), "reason": set()},
    "hit_ratio": {"tier": {"exact", "semantic", "kv", "full"}},
    "request_seconds_count": {"tier": set()},
    "ttft_seconds_count": {"tier": set()},
    "tokens_total": {"kind": {"prompt", "completion", "saved_prompt", "saved_completion"}},
    "saved_seconds_total": {},
    "wrong_hit_rate": {"bound": {"upper"}},  # and "estimate" once there are labels
    "kv_blocks": {"tier": {"ram", "disk"}, "state": {"free", "cached", "leased"}},
    "kv_tokens_total": {"outcome": {"hit", "computed"}, "tier": {"ram", "disk", "none"}},
    "kv_miss_total": {"reason": set()},
    "draft_tokens_total": {"outcome": {"accepted", "rejected"}},
    "store_entries": {},
    "index_entries": {},
    "cache_failures_total": {"step": set()},
    "backend_up": {"backend": set()},
}


def not_as_promised(exported: str, *, but: Iterable[str] = ()) -> list[str]:
    """Names that are not there, or whose labels or values of labels are others."""
    told = {name: wanted for name, wanted in PROMISED.items() if name not in but}
    return [name for name, wanted in told.items() if not _is_as_promised(exported, name, wanted)]


def _is_as_promised(exported: str, name: str, wanted: dict[str, set[str]]) -> bool:
    samples = re.findall(rf"^twicetold_{name}(?:{{(.*)}})? \S+$", exported, re.MULTILINE)
    if not samples:  # nothing of it has happened yet
        return f"# TYPE twicetold_{name.removesuffix('_count')} " in exported
    labels = [dict(re.findall(r'(\w+)="([^"]*)"', sample)) for sample in samples]
    return all(one.keys() == wanted.keys() for one in labels) and all(
        values <= {one[label] for one in labels} for label, values in wanted.items()
    )


def documented() -> set[str]:
    """Every name in docs/observability.md."""
    text = (DEPLOY.parent / "docs" / "observability.md").read_text("utf-8")
    return set(re.findall(r"`twicetold_(\w+)", text))


def undocumented(exported: str) -> set[str]:
    """What a gateway exports and docs/observability.md does not name."""
    families = re.findall(r"^# TYPE twicetold_(\w+) (\w+)", exported, re.MULTILINE)
    return {name for name, kind in families if not name.endswith("_created") and kind} - documented()


def not_exported(exported: str, *, only: Iterable[str] = ("",), but: Iterable[str] = ()) -> set[str]:
    """What is named there, begins as told behind `twicetold_`, and is not among what a gateway exports."""
    text = "".join((DEPLOY / file).read_text("utf-8") for file in FILES)
    named = {name.removesuffix("_bucket") for name in re.findall(r"twicetold_(\w+)", text)}
    asked = {name for name in named if name.startswith(tuple(only)) and not name.startswith(tuple(but) or " ")}
    assert asked
    has = set(re.findall(r"^(?:# TYPE )?(twicetold_\w+)", exported, re.MULTILINE))
    return {f"twicetold_{name}" for name in asked} - has - NOT_ALWAYS
