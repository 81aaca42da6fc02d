"""A log of requests, read as if it were sent now: JSON lines, gzipped or not, in order of arrival.

A line is a chat request (`messages`, `model`, `tools`), or holds one as `request` or `body`. `tenant` (or `user`) and
`time` (seconds since 1970, or ISO 8601) are read where they are given; without times nothing is said of a day.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backends.chat import ChatRequest
from gateway.offline.rows import FileError, objects
from gateway.prefixes.report import report_of
from gateway.prefixes.watch import PrefixWatch

HELD_BYTES = 256 << 20
TIMES = ("time", "timestamp", "created", "at")


def report_on(path: Path, price_per_million: float = 0.0) -> dict[str, Any]:
    """What the requests of a log tell, with their words: who reads it has the file. Raises `FileError`."""
    watch = PrefixWatch(HELD_BYTES, keeps_words=True)
    for request, at_s in requests_of(path):
        watch.look(request, at_s)
    return report_of(watch, price_per_million)


def requests_of(path: Path) -> Iterator[tuple[ChatRequest, float]]:
    """The requests of a log, and when they came. Raises `FileError`."""
    for where, row in objects(path):
        body = next((row[name] for name in ("request", "body") if isinstance(row.get(name), dict)), row)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
            raise FileError(f"{where}: messages must be a list of messages")
        model, tenant = body.get("model") or "", row.get("tenant") or body.get("user") or ""
        params = {"tools": body["tools"]} if body.get("tools") else {}
        yield ChatRequest(str(model), tuple(messages), params, owner=str(tenant)), _time(row, where)


def _time(row: dict[str, Any], where: str) -> float:
    name = next((name for name in TIMES if row.get(name) is not None), None)
    if name is None:
        return 0.0
    value = row[name]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / 1000 if value > 1e11 else float(value)
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise FileError(f"{where}: {name} must be seconds or an ISO 8601 time, got {value!r}") from error
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
