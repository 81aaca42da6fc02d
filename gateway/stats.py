"""`twicetold stats`: a live table of what a running gateway serves and saves."""

import sys
import time
from typing import Any

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.cli.screen import STYLES

_WHAT = {
    "exact": "same request",
    "semantic": "in other words",
    "kv": "kept prefix",
    "full": "generated",
}


def show(url: str, *, once: bool, interval_s: float, key: str = "") -> int:
    """Print the table once, or keep it fresh until interrupted. `key` is the admin key. Returns the exit status."""
    console = Console()
    address = url.rstrip("/") + "/admin/api/stats"
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(timeout=5.0, headers=headers) as client:
            if once:
                console.print(render(_read(client, address), url))
                return 0
            with Live(render(_read(client, address), url), console=console, auto_refresh=False) as live:
                while True:
                    time.sleep(max(0.1, interval_s))
                    live.update(render(_read(client, address), url), refresh=True)
    except httpx.HTTPStatusError as error:
        print(f"twicetold: {url} answers {_told(error.response)}", file=sys.stderr)
        return 1
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        print(f"twicetold: no gateway answers at {url}: {error}", file=sys.stderr)
        return 1
    except (KeyError, TypeError, AttributeError):
        print(f"twicetold: what answers at {url} is not Twicetold", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _told(response: httpx.Response) -> str:
    """The status, and the server's own words where it has some."""
    try:
        return f"{response.status_code}: {response.json()['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return str(response.status_code)


def _read(client: httpx.Client, address: str) -> dict[str, Any]:
    stats: dict[str, Any] = client.get(address).raise_for_status().json()
    return stats


def render(stats: dict[str, Any], url: str) -> Group:
    """The table and the lines around it."""
    table = Table(title=f"Twicetold at {url}", title_justify="left")
    for heading, justify in (("tier", "left"), ("", "left"), ("requests", "right"), ("share", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    for heading in ("first token", "p90", "total", "p90"):
        table.add_column(heading, justify="right")
    for name, tier in stats["tiers"].items():
        times = stats["latency"].get(name, {})
        table.add_row(
            name,
            _WHAT.get(name, ""),
            str(tier["requests"]),
            f"{tier['hit_ratio']:.1%}" if stats["requests"] else "",
            *(_seconds(times.get(what, {}).get(part)) for what in ("ttft", "total") for part in ("p50", "p90")),
            style=STYLES[name] if name in STYLES and tier["requests"] else "",
        )
    return Group(table, Text("\n".join(_lines(stats))))


def _lines(stats: dict[str, Any]) -> list[str]:
    tokens = stats["tokens"]
    saved = tokens["saved_prompt"] + tokens["saved_completion"]
    every = saved + tokens["prompt"] + tokens["completion"]
    share = f" ({saved / every:.0%} of all)" if every else ""
    parts = ", ".join(f"{name} {state}" for name, state in stats["parts"].items())
    return [
        f"saved    {saved:,} tokens{share}, {stats['saved_seconds']:,.1f} s of generation",
        *_money(stats["money"]),
        f"kept     {stats['entries']:,} answers, {stats['vectors']:,} vectors",
        f"trouble  {stats['errors']} errors, {stats['cache_failures']} cache faults done without",
        f"parts    {parts}",
        *(_backend(backend) for backend in stats.get("backends", ())),
        *([_redis(stats["redis"])] if stats.get("redis") else []),
        *(_engine(name, engine) for name, engine in stats.get("engines", {}).items() if engine),
    ]


def _money(money: dict[str, Any]) -> list[str]:
    """What it was worth, where prices are known."""
    if not any(model["is_priced"] for model in money["by_model"].values()):
        return []
    return [f"money    {money['saved']:,.2f} {money['currency']} saved, {money['spent']:,.2f} spent"]


def _backend(backend: dict[str, Any]) -> str:
    failed = sum(backend["failures"].values())
    held = "" if backend["cached_share"] is None else f", {backend['cached_share']:.0%} of prompt tokens cached"
    load = f"{backend['running']} running, {backend['waiting']} waiting"
    return (
        f"backend  {backend['name']}: {backend['state']}, {load}, {backend['requests']:,} sent, {failed} failed{held}"
    )


def _redis(redis: dict[str, Any]) -> str:
    asked = f"{redis['commands']:,} commands in {redis['round_trips']:,} round trips"
    lost = f"{redis['waiting']} writes wait, {redis['dropped']} dropped"
    return f"redis    {redis['state']}{', a cluster' if redis['is_cluster'] else ''}: {asked}, {lost}"


def _engine(name: str, engine: dict[str, Any]) -> str:
    kv = engine["kv"]
    load = f"{engine['running']} running, {engine['waiting']} waiting"
    kept = f"{kv.get('blocks_cached', 0):,} KV blocks kept"
    accepted = engine.get("drafts_accepted", 0)
    checked = accepted + engine.get("drafts_rejected", 0)
    drafts = f"{accepted:,} of {checked:,} drafts accepted"
    return f"engine   {name}: {load}, {kept}, {drafts}, {engine['restarts']} restarts, {engine['hangs']} hangs"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
