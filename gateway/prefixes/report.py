"""What was found, in order of cost, with a line of advice each. Pure."""

from collections.abc import Iterator
from typing import Any

from gateway.prefixes.kinds import RULES
from gateway.prefixes.watch import Finding, PrefixWatch, Sketch

JSON = dict[str, Any]

DAY_S = 86400.0
MIN_OBSERVED_S = 60.0  # before that a day is guessed at from nothing

NAMES = {
    "agent_nonces": "a coding agent's nonce",
    "clock": "the time of day",
    "dates": "the date",
    "request_ids": "an id of the request",
    "session_ids": "an id of the session",
    "uuids": "a UUID",
    "timestamps": "a timestamp",
    "tools": "the list of tools",
    "code": "a word with digits in it",
    "words": "other words",
}


def report_of(watch: PrefixWatch, price_per_million: float = 0.0) -> JSON:
    """Every tenant and model, the one that loses most first. A price is of a million tokens read anew, in any money."""
    watch.settle()
    rows = [_row(*sees, sketch, price_per_million) for sees, sketch in watch.sketches.items()]
    return {
        "models": sorted(rows, key=lambda row: -row["lost_tokens"]),
        "unseen": watch.unseen,
        "size_bytes": watch.size_bytes,
        "price_per_million": price_per_million,
    }


def _row(tenant: str, model: str, sketch: Sketch, price: float) -> JSON:
    observed_s = sketch.last_s - sketch.since_s
    days = observed_s / DAY_S if observed_s >= MIN_OBSERVED_S else None
    found = sorted(sketch.findings.values(), key=lambda one: -one.lost_tokens)
    return {
        "tenant": tenant,
        "model": model,
        "prompts": sketch.prompts,
        "observed_s": observed_s,
        "tokens": sketch.tokens,
        "shared_tokens": sketch.shared_tokens,
        "lost_tokens": sketch.lost_tokens,
        "lost_cost": _cost(sketch.lost_tokens, price),
        "same_otherwise": sketch.same_otherwise,
        "findings": [_finding(one, sketch.prompts, days, price) for one in found],
    }


def _finding(found: Finding, prompts: int, days: float | None, price: float) -> JSON:
    per_day = None if days is None else found.lost_tokens / days
    said: JSON = {
        "message": found.message,
        "role": found.role,
        "kind": found.kind,
        "rule": found.kind if found.kind in RULES else None,
        "char": found.char,
        "token": found.token,
        "count": found.count,
        "lost_tokens": found.lost_tokens,
        "lost_tokens_per_day": per_day,
        "lost_cost": _cost(found.lost_tokens, price),
        "lost_cost_per_day": None if per_day is None else _cost(per_day, price),
        "words": None if found.words is None else dict(zip(("before", "here", "there"), found.words, strict=True)),
    }
    return {**said, "advice": _advice(said, prompts)}


def _cost(tokens: float, price: float) -> float | None:
    return tokens * price / 1e6 if price else None


def _advice(found: JSON, prompts: int) -> str:
    return f"{_where(found)} {_costs(found, prompts)}: {_what_to_do(found)}"


def _where(found: JSON) -> str:
    place = f"in message {found['message'] + 1} ({found['role']})"
    place = {"tools": "in the tools", "system": "in the system prompt"}.get(found["role"], place)
    return f"{NAMES[found['kind']]} {place} at token {found['token']}"


def _costs(found: JSON, prompts: int) -> str:
    if found["lost_tokens_per_day"] is not None:
        tokens, money, time = found["lost_tokens_per_day"], found["lost_cost_per_day"], " a day"
    else:
        tokens, money, time = found["lost_tokens"], found["lost_cost"], f" in {prompts} prompts"
    price = "" if money is None else f" ({money:.2f})"
    return f"costs {_short(tokens)} tokens{price}{time}"


def _short(count: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f}"


def _what_to_do(found: JSON) -> str:
    kind = found["kind"]
    if kind == "dates":
        return "it changes once a day; put it behind what stays the same"
    if kind in RULES:
        coarser = ' and clock_to = "hour" or "day"' if kind in ("clock", "timestamps") else ""
        return f'switch on rule "{kind}" with send = true{coarser}, or put it behind what stays the same'
    if kind == "tools":
        return "send the same tools in the same order and spelling, or those that change last"
    if kind == "code":
        return "take it out with a pattern of your own and send = true, or put it behind what stays the same"
    return "put what changes behind what stays the same"


def lines_of(report: JSON) -> Iterator[str]:
    """The report as text."""
    if not report["models"]:
        yield "nothing was sent to a backend yet"
    for row in report["models"]:
        tokens = row["tokens"] or 1
        tenant = f", tenant {row['tenant']}" if row["tenant"] not in ("", "anonymous") else ""
        yield (
            f"{row['model']}{tenant}: {row['prompts']:,} prompts, {_short(row['tokens'])} tokens, "
            f"{row['shared_tokens'] / tokens:.1%} shared with an earlier prompt, {row['lost_tokens'] / tokens:.1%} lost"
        )
        if row["same_otherwise"]:
            yield f"  {row['same_otherwise']:,} prompts were an earlier one but for what stands below"
        for found in row["findings"]:
            yield f"  {found['advice']}"
            if found["words"] is not None:
                words = found["words"]
                yield f"    ...{words['before']!r} then {words['here']!r}, before {words['there']!r}"
    if report["unseen"]:
        yield f"{report['unseen']:,} prompts were not compared: too many at once"
