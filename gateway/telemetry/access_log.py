"""The access log: one JSON line per request, written by a thread of its own.

What people asked is not in it unless the operator says so. A disk that is slow holds no request up: lines wait within
a bound, and what finds no room is counted. A file may be renamed under us (logrotate); the next lines go to a new one.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any

import orjson
from starlette.types import Scope

from gateway.ledger import Failure, Line
from gateway.metrics import Sample
from gateway.telemetry.exchange import Exchange

MOST_WAITING = 10_000  # lines
STANDARD_OUTPUT = "-"
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})  # asked by machines every few seconds
CLOSE_S = 2.0

log = logging.getLogger(__name__)


class AccessLog:
    """An observer of exchanges."""

    def __init__(self, path: str, *, has_questions: bool = False) -> None:
        """Raises OSError when the file cannot be opened."""
        self.num_dropped = 0
        self._has_questions = has_questions
        self._waiting: Queue[bytes | None] = Queue(MOST_WAITING)
        self._sink = _Sink(path)
        self._thread = Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def begin(self, exchange: Exchange, scope: Scope) -> None:
        """Nothing is written before the end."""

    def end(self, exchange: Exchange) -> None:
        """Have a line written."""
        if exchange.path in QUIET and exchange.status < 500:
            return
        line = orjson.dumps(entry_of(exchange, has_questions=self._has_questions), option=orjson.OPT_APPEND_NEWLINE)
        try:
            self._waiting.put_nowait(line)
        except Full:
            self.num_dropped += 1

    def samples(self) -> Iterator[Sample]:
        """What was not written."""
        yield Sample(
            "twicetold_access_log_dropped", "Lines of the access log given up", self.num_dropped, is_total=True
        )

    def close(self) -> None:
        """Write what waits."""
        with suppress(Full):
            self._waiting.put(None, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)

    def _write(self) -> None:
        while True:
            lines = [self._waiting.get()]
            with suppress(Empty):
                while len(lines) < MOST_WAITING:
                    lines.append(self._waiting.get_nowait())
            text = b"".join(line for line in lines if line is not None)
            try:
                self._sink.write(text)
            except OSError as error:  # a full disk is no reason to stop serving
                self.num_dropped += text.count(b"\n")
                log.warning("the access log cannot be written: %s", error)
            if None in lines:
                return


class _Sink:
    """A file that is appended to, wherever its name leads now; or standard output."""

    def __init__(self, path: str) -> None:
        self._path = None if path == STANDARD_OUTPUT else Path(path)
        self._descriptor = sys.stdout.fileno() if self._path is None else _opened(self._path)

    def write(self, text: bytes) -> None:
        if self._path is not None and not self._is_ours(self._path):
            os.close(self._descriptor)
            self._descriptor = _opened(self._path)
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _is_ours(self, path: Path) -> bool:
        ours = os.fstat(self._descriptor)
        try:
            there = path.stat()
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)  # tenants' names are in it


def entry_of(exchange: Exchange, *, has_questions: bool = False) -> dict[str, Any]:
    """The line of one exchange; what does not apply is left out."""
    entry: dict[str, Any] = {
        "time": datetime.fromtimestamp(exchange.started_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
        "request_id": exchange.request_id,
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "ms": round(exchange.total_s * 1000, 3),
        "trace_id": exchange.trace_id,
    }
    line = exchange.line
    if isinstance(line, Line):
        entry |= _answered(line)
        entry["question"] = line.question if has_questions else None
    elif isinstance(line, Failure):
        entry |= {"route": line.route, "id": line.id, "tenant": line.tenant, "model": line.model, "error": line.code}
    return {name: value for name, value in entry.items() if value not in (None, "")}


def _answered(line: Line) -> Mapping[str, Any]:
    outcome, usage = line.outcome, line.usage
    is_stored = outcome.is_stored
    return {
        "route": line.route,
        "id": line.id,
        "tenant": line.tenant,
        "model": line.model,
        "tier": line.tier,
        "reason": outcome.reason,
        "entry": outcome.entry,
        "similarity": None if outcome.similarity is None else round(outcome.similarity, 4),
        "ttft_ms": round(line.ttft_s * 1000, 3),
        "overhead_ms": round(outcome.overhead_s * 1000, 3),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "saved_tokens": usage.prompt_tokens + usage.completion_tokens if is_stored else usage.cached_tokens,
        "saved_ms": round(line.saved_s * 1000, 1) if is_stored else None,
        "fallback": outcome.fallback,
    }
