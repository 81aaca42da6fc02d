"""What an engine says of itself in Prometheus' text, under the same few names whatever the engine. Pure."""

import re
from collections.abc import Mapping
from math import isfinite

# running, waiting: requests; kv_usage: share of its blocks in use; prefix_queries, prefix_hits: tokens since its start
VLLM = {
    "running": "vllm:num_requests_running",
    "waiting": "vllm:num_requests_waiting",
    "kv_usage": "vllm:kv_cache_usage_perc",
    "prefix_queries": "vllm:prefix_cache_queries_total",
    "prefix_hits": "vllm:prefix_cache_hits_total",
}
SGLANG = {"running": "sglang:num_running_reqs", "waiting": "sglang:num_queue_reqs", "kv_usage": "sglang:token_usage"}
LLAMACPP = {"running": "llamacpp:requests_processing", "waiting": "llamacpp:requests_deferred"}

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^\n]*\})? (\S+)", re.MULTILINE)
_SHARES = ("kv_usage",)


def read_figures(text: str, names: Mapping[str, str]) -> dict[str, float]:
    """The figures found, by our names: of several ranks the sum, and of a share the largest."""
    ours = {theirs: name for name, theirs in names.items()}
    found: dict[str, float] = {}
    for theirs, said in _SAMPLE.findall(text):
        name = ours.get(theirs)
        if name is None or (value := _number(said)) is None:
            continue
        found[name] = max(found.get(name, 0.0), value) if name in _SHARES else found.get(name, 0.0) + value
    return found


def _number(said: str) -> float | None:
    try:
        value = float(said)
    except ValueError:
        return None
    return value if isfinite(value) else None
