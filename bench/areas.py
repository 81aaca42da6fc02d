"""What `make bench` is made of: areas, the suites that measure each, and which rows belong to it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.engine.goals import Goal
from bench.goals import GOALS
from bench.rows import Row


@dataclass(frozen=True, slots=True)
class Area:
    """One table and one plot."""

    title: str
    suites: tuple[str, ...]  # modules of bench, run in this order
    rows: str  # a pattern of `suite: what`

    def of(self, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if re.match(self.rows, f"{row.suite}: {row.what}")]


AREAS = {
    "hit": Area("Exact hits", ("exact", "litellm"), "exact:|litellm: hit|litellm: resident"),
    "semantic": Area("Semantic hits", ("semantic",), "semantic:|gptcache:"),
    "miss": Area("What is passed through", ("passthrough",), "passthrough:|litellm: pass"),
    # memory, restart and lookup take longer than all others together: they are run when they are named
    "size": Area("Streams, start and size", ("streams", "start"), "streams:|start:|memory:|restart:|lookup:"),
    # not `engine`, which is the group of all its parts
    "local": Area(
        "The local engine",
        ("prefix", "decode", "drafts", "eviction", "engines"),
        "prefix:|decode:|drafts:|eviction:|peers:",
    ),
}


def goals_of(area: Area, rows: Sequence[Row]) -> list[Goal]:
    """Those that are about this area's rows."""
    own = area.of(rows)
    return [goal for goal in GOALS if goal.read(own)]
