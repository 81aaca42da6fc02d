"""Which metrics the dashboard and the alerts of deploy/ name, and whether a gateway has them."""

import re
from collections.abc import Iterable

from tests.deploy.balancer import DEPLOY

FILES = ("prometheus/rules.yml", "grafana/dashboards/twicetold.json")
# exported from the first time on that it happens
AFTER_TROUBLE = {
    "twicetold_backend_failures_total",
    "twicetold_fallbacks_total",
    "twicetold_semantic_comparisons_total",
}


def not_exported(exported: str, *, only: Iterable[str] = ("",), but: Iterable[str] = ()) -> set[str]:
    """What is named there, begins as told behind `twicetold_`, and is not among what a gateway exports."""
    text = "".join((DEPLOY / file).read_text("utf-8") for file in FILES)
    named = {name.removesuffix("_bucket") for name in re.findall(r"twicetold_(\w+)", text)}
    asked = {name for name in named if name.startswith(tuple(only)) and not name.startswith(tuple(but) or " ")}
    assert asked
    has = set(re.findall(r"^(?:# TYPE )?(twicetold_\w+)", exported, re.MULTILINE))
    return {f"twicetold_{name}" for name in asked} - has - AFTER_TROUBLE
