"""Drafts: the rows of `bench.drafts`, among the engine's others."""

from importlib import import_module
from importlib.util import find_spec

from bench.rows import Row, Scale


def run(scale: Scale) -> list[Row]:
    """What `python -m bench drafts` shows."""
    if find_spec("bench.drafts") is None:
        return [Row("drafts", "near-miss answers as drafts", None, "tok/s", note="not available: no bench.drafts")]
    rows: list[Row] = import_module("bench.drafts").run(scale)
    return rows
