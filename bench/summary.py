"""What a replay saw, added up per tier, as JSON and as a table. Pure but for the printing."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.asking import Seen
from bench.figures import METHOD, Spread, spread
from bench.labels import Accuracy

TIERS = ("exact", "semantic", "kv", "full")


def summarise(seen: Sequence[Seen]) -> dict[str, Any]:
    """Totals and per-tier figures; times in milliseconds. Errors are no part of any tier."""
    good = [one for one in seen if one.error is None]
    names = [*TIERS, *sorted({one.tier for one in good} - set(TIERS))]
    tiers = {name: _tier([one for one in good if one.tier == name], len(good)) for name in names}
    prompt_tokens = sum(one.prompt_tokens for one in good)
    spent = sum(one.prompt_tokens + one.completion_tokens for one in good)
    saved = sum(saved_tokens(one) for one in good)
    return {
        "requests": len(seen),
        "answered": len(good),
        "errors": dict(Counter(one.error for one in seen if one.error is not None)),
        "hit_rate": _ratio(sum(one.tier in ("exact", "semantic") for one in good), len(good)),
        "saved_tokens": saved,
        "saved_share": _ratio(saved, spent),
        "saved_tokens_by_header": sum(one.saved_tokens for one in good),
        "cached_tokens": sum(one.cached_tokens for one in good if one.tier in ("kv", "full")),
        "cached_share": _ratio(
            sum(one.cached_tokens for one in good if one.tier in ("kv", "full")),
            sum(one.prompt_tokens for one in good if one.tier in ("kv", "full")),
        ),
        "prompt_tokens": prompt_tokens,
        "cut_by_length": sum(one.finish_reason == "length" for one in good),
        "tiers": tiers,
        "method": METHOD,
    }


def saved_tokens(seen: Seen) -> int:
    """Tokens nobody had to compute, by the usage: all of a stored answer's, the cached prefix of a generated one."""
    if seen.tier in ("exact", "semantic"):
        return seen.prompt_tokens + seen.completion_tokens
    return seen.cached_tokens


def _tier(seen: Sequence[Seen], of: int) -> dict[str, Any]:
    def milliseconds(values: Iterable[float | None]) -> dict[str, Any] | None:
        found = spread([value * 1000 for value in values if value is not None])
        return None if found is None else asdict(found)

    return {
        "requests": len(seen),
        "share": _ratio(len(seen), of),
        "first_ms": milliseconds(one.first_s for one in seen),
        "total_ms": milliseconds(one.total_s for one in seen),
        "overhead_ms": milliseconds(one.overhead_ms / 1000 for one in seen if one.overhead_ms is not None),
        "saved_tokens": sum(saved_tokens(one) for one in seen),
        "cached_tokens": sum(one.cached_tokens for one in seen),
        "cached_share": _ratio(sum(one.cached_tokens for one in seen), sum(one.prompt_tokens for one in seen)),
        "reasons": dict(Counter(one.reason for one in seen).most_common()),
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def show(console: Console, title: str, summary: dict[str, Any], accuracy: Accuracy | None) -> None:
    """Print one replay."""
    table = Table(title=title, title_justify="left", caption=METHOD, caption_justify="left")
    table.add_column("tier")
    for heading in ("requests", "share", "first text ms", "total ms", "gateway's own ms", "saved tokens", "cached"):
        table.add_column(heading, justify="right")
    for name, tier in summary["tiers"].items():
        table.add_row(
            name,
            str(tier["requests"]),
            _percent(tier["share"]),
            _three(tier["first_ms"]),
            _three(tier["total_ms"]),
            _three(tier["overhead_ms"]),
            f"{tier['saved_tokens']:,}",
            _percent(tier["cached_share"]) if name in ("kv", "full") else "",
        )
    console.print(table)
    for line in _lines(summary, accuracy):
        console.print(line, highlight=False)


def _lines(summary: dict[str, Any], accuracy: Accuracy | None) -> list[str]:
    errors = ", ".join(f"{code} {count}" for code, count in summary["errors"].items()) or "none"
    lines = [
        "times are p50 / p90 / p99, measured by the client",
        f"answers from the store  {_percent(summary['hit_rate'])} of {summary['answered']} answered",
        f"saved                   {summary['saved_tokens']:,} tokens, {_percent(summary['saved_share'])} of all",
        f"prompt tokens kept      {_percent(summary['cached_share'])} of those sent to a backend",
        f"cut by length           {summary['cut_by_length']} (the write gate keeps none of them)",
        f"errors                  {errors}",
    ]
    if accuracy is not None:
        lines += [
            f"true hits               {accuracy.true_hits} of the prompts whose class was seen",
            f"  of them semantic      {accuracy.true_semantic}",
            f"wrong semantic hits     {accuracy.wrong_of_semantic} of the semantic hits",
            f"                        {accuracy.wrong_of_prompts} of all prompts",
            f"wrong exact hits        {accuracy.wrong_exact} (one text under two labels)",
            f"hits that no label can judge  {accuracy.unjudged}",
        ]
    return lines


def _three(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    figures = (found[name] for name in Spread.__slots__ if name.startswith("p"))
    return " / ".join(f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in figures)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
