"""What speed was asked to be, read from the rows of a run as the engine's goals are."""

from collections.abc import Sequence

from bench.engine.goals import GOALS as ENGINE
from bench.engine.goals import Goal, Reader, called, cut, ratio, value
from bench.rows import Row


def added(pattern: str) -> Reader:
    """How much more than the reference they are, in their own unit."""

    def read(rows: Sequence[Row]) -> list[float]:
        found = [row for row in called(pattern, rows) if row.value is not None and row.beside is not None]
        return [row.value - row.beside for row in found if row.value is not None and row.beside is not None]

    return read


def further(pattern: str, other: str) -> Reader:
    """How much more the row called like `pattern` is than the one called like `other`, in their own unit."""
    return lambda rows: [more - less for more in value(pattern)(rows)[:1] for less in value(other)(rows)[:1]]


SPEED = (
    Goal("exact hits a second over bare uvicorn", "at least", 0.7, ratio("exact: hits, (16|64) callers")),
    Goal("an exact hit's p50 over bare uvicorn's", "at most", 1.5, ratio("exact: hit, p50, 1 caller")),
    Goal("an exact hit's p99 over its p50, 64 callers", "at most", 3, ratio("exact: hit, p99, 64 callers")),
    Goal("streamed hits a second over bare uvicorn", "at least", 0.7, ratio("exact: streamed hits, 64 callers")),
    Goal("exact hits a second over LiteLLM", "at least", 80, ratio("litellm: hits, 16 callers")),
    Goal("LiteLLM's p50 of a hit over ours", "at least", 20, cut("litellm: hit, p50")),
    Goal("pass-through adds, p50", "at most", 1, added("passthrough: whole, 1 caller, p50"), "ms"),
    Goal("pass-through, requests a second", "at least", 2000, value("passthrough: whole, 16 callers, rate"), ""),
    Goal("pass-through adds to a first byte", "at most", 1, added("passthrough: streamed, 1 caller, first"), "ms"),
    Goal("a semantic hit adds to the embedder, p50", "at most", 1, added("semantic: hit, p50, 1 caller"), "ms"),
    Goal("GPTCache's p50 of a semantic hit over ours", "at least", 8, cut("gptcache: hit, p50")),
    Goal("semantic hits a second over GPTCache", "at least", 10, ratio("gptcache: hits, 16 callers")),
    Goal("requests that failed, 1,000 streams", "at most", 0, value("streams: failed"), ""),
    Goal("first byte of a hit, p99, 1,000 streams", "at most", 1000, value("streams: first byte of a hit, p99"), "ms"),
    Goal("memory of a connection, 1,000 streams", "at most", 64, value("streams: memory of a connection"), "KB"),
    # these two take longer than `make bench` may: `python -m bench memory`, `python -m bench lookup`
    Goal("resident with 100,000 entries", "at most", 400, value("memory: 100,000 entries: (ready|after)"), "MB"),
    Goal(
        "a search among 1,000,000 rows adds to one among 10,000", "at most", 3,
        further("lookup: 1,000,000 rows in 1: search p50", "lookup: 10,000 rows in 1: search p50"), "ms",
    ),
)  # fmt: skip
GOALS = (*SPEED, *ENGINE)
