"""`twicetold simulate`: what each eviction policy of the KV tier makes of a trace, beside the best possible.

A trace is JSON lines, gzipped or not, one request a line in order of arrival: `input_tokens`, and `block_hashes`, the
ids of the prefix blocks of the prompt (512 tokens each, the last one may be partly filled; equal ids are equal
prefixes). `output_tokens` may tell the length of the answer. Other fields are left alone.

Beside the tokens found stands what finding them saves of computing the prompts: late tokens cost more than early ones.
"""

import gzip
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.table import Table

from gateway.cli.terminal import Screen
from kvtier.eviction import KNEE_TOKENS
from kvtier.simulate import Request, Trace, best_tokens, ceiling_tokens, found_by, saved_compute

BLOCK_TOKENS = 512


class TraceError(Exception):
    """A trace cannot be used; the message names the line and the field."""


@dataclass(frozen=True, slots=True)
class Line:
    """One size of the pool: shares of all input tokens that are found."""

    blocks: int
    hit_rate: dict[str, float]  # by policy
    saved_compute: dict[str, float]  # by policy: share of the cost of all prompts
    best: float
    closed: dict[str, float | None]  # share of the way from `lru` to the best; None where there is none

    @classmethod
    def of(cls, trace: Trace, blocks: int, policies: Sequence[str], knee_tokens: float = KNEE_TOKENS) -> "Line":
        total = trace.num_tokens or 1
        found = {
            policy: found_by(trace, blocks, policy, knee_tokens=knee_tokens)
            for policy in dict.fromkeys(("lru", *policies))
        }
        tokens = {policy: sum(each) for policy, each in found.items()}
        best = best_tokens(trace, blocks)
        gap = best - tokens["lru"]
        return cls(
            blocks,
            {policy: tokens[policy] / total for policy in policies},
            {policy: saved_compute(trace, found[policy], knee_tokens) for policy in policies},
            best / total,
            {policy: (tokens[policy] - tokens["lru"]) / gap if gap else None for policy in policies},
        )


def simulate(
    path: Path, sizes: Sequence[int], policies: Sequence[str], *, as_json: bool, knee_tokens: float = KNEE_TOKENS
) -> int:
    """Print the table, or JSON; returns the exit status."""
    try:
        trace = read_trace(path)
    except TraceError as error:
        print(f"twicetold: {error}", file=sys.stderr)
        return 2
    if not trace.num_tokens:
        print(f"twicetold: {path} has no requests", file=sys.stderr)
        return 2
    started = time.perf_counter()
    lines = [Line.of(trace, size, policies, knee_tokens) for size in sizes]
    ceiling = ceiling_tokens(trace) / (trace.num_tokens or 1)
    if as_json:
        body = {
            "requests": len(trace.requests),
            "input_tokens": trace.num_tokens,
            "block_tokens": trace.block_tokens,
            "ceiling": ceiling,
            "knee_tokens": knee_tokens,
            "sizes": [asdict(line) for line in lines],
        }
        print(json.dumps(body, indent=2))
    else:
        _show(trace, lines, policies, ceiling, time.perf_counter() - started)
    return 0


def read_trace(path: Path) -> Trace:
    """The requests of a trace file. Raises `TraceError`."""
    try:
        with _opened(path) as file:
            return Trace(tuple(_requests(file, path)), BLOCK_TOKENS)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TraceError(f"cannot read the trace {path}: {error}") from error


def _opened(path: Path) -> TextIO:
    with path.open("rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8") if is_zipped else path.open(encoding="utf-8")


def _requests(file: TextIO, path: Path) -> Iterator[Request]:
    for number, text in enumerate(file, start=1):
        where = f"{path}, line {number}"
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise TraceError(f"{where}: not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise TraceError(f"{where}: not an object")
        yield _request(fields, where)


def _request(fields: dict[str, Any], where: str) -> Request:
    tokens, blocks = fields.get("input_tokens"), fields.get("block_hashes")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise TraceError(f"{where}: input_tokens must be a whole number from 0, got {tokens!r}")
    if blocks is None:
        raise TraceError(
            f"{where}: block_hashes is missing: a trace without the ids of its prefix blocks says nothing of reuse"
        )
    if not isinstance(blocks, list) or not all(isinstance(name, int) and -(2**63) <= name < 2**64 for name in blocks):
        raise TraceError(f"{where}: block_hashes must be a list of whole numbers of 64 bits")
    if len(blocks) != -(-tokens // BLOCK_TOKENS):
        raise TraceError(
            f"{where}: block_hashes has {len(blocks)} blocks, and {tokens} input_tokens fill "
            f"{-(-tokens // BLOCK_TOKENS)} of {BLOCK_TOKENS}"
        )
    if len(set(blocks)) != len(blocks):
        raise TraceError(f"{where}: block_hashes names a block twice")
    answered = fields.get("output_tokens")
    if answered is not None and (not isinstance(answered, int) or isinstance(answered, bool) or answered < 0):
        raise TraceError(f"{where}: output_tokens must be a whole number from 0, got {answered!r}")
    return Request(tokens, tuple(blocks), num_answered=answered)


def _show(trace: Trace, lines: Sequence[Line], policies: Sequence[str], ceiling: float, seconds: float) -> None:
    others = [policy for policy in policies if policy != "lru"]
    found = _table("tokens found", *policies, "best possible", *(f"{policy} closes" for policy in others))
    saved = _table("compute saved", *policies)
    for line in lines:
        closed = (line.closed[policy] for policy in others)
        found.add_row(
            f"{line.blocks:,}",
            *(_percent(line.hit_rate[policy]) for policy in policies),
            _percent(line.best),
            *("" if share is None else f"{share:.0%}" for share in closed),
        )
        saved.add_row(f"{line.blocks:,}", *(_percent(line.saved_compute[policy]) for policy in policies))
    console = Screen(width=None if sys.stdout.isatty() else 150)
    console.print(found, saved, sep="\n\n")
    console.print(
        f"{len(trace.requests):,} requests, {trace.num_tokens:,} input tokens, blocks of {trace.block_tokens}; "
        f"without eviction {_percent(ceiling)} of the tokens are found; {seconds:.0f} s",
        highlight=False,
    )


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", show_edge=False)
    for heading in ("blocks", *headings):
        table.add_column(heading, justify="right")
    return table


def _percent(share: float) -> str:
    return f"{share:.1%}"
