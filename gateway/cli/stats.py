"""`twicetold stats`: a live table of what a running gateway serves and saves."""

import argparse
import textwrap
import time
from typing import TYPE_CHECKING, Any

from gateway.cli.client import Admin, Failed, add_json, add_server, admin
from gateway.cli.screen import STYLES, counted, dump

if TYPE_CHECKING:
    from rich.console import Console, Group

WIDE = 100  # columns from which there is room to say what a tier is
_INDENT = " " * 9
_WHAT = {
    "exact": "same request",
    "semantic": "in other words",
    "kv": "kept prefix",
    "full": "generated",
}


def add_stats(verbs: Any) -> None:
    stats = verbs.add_parser("stats", help="a live table of hit rates and savings")
    stats.add_argument("--once", action="store_true", help="print one table and stop")
    stats.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="time between two looks (1)")
    add_json(stats)
    add_server(stats)
    stats.set_defaults(run=_stats)


def _stats(args: argparse.Namespace) -> int:
    from gateway.cli.terminal import Screen

    with admin(args, timeout_s=5.0) as gateway:
        if args.json:  # once: whoever wants more asks again
            dump(gateway.ask("GET", "stats"))
        elif args.once:
            console = Screen(highlight=False)
            console.print(_look(gateway, console))
        else:
            _watch(gateway, max(0.1, args.interval))
    return 0


def _watch(gateway: Admin, interval_s: float) -> None:
    """Keep the table fresh until interrupted, which is how one ends this."""
    from rich.live import Live

    from gateway.cli.terminal import Screen

    console = Screen(highlight=False)
    try:
        with Live(_look(gateway, console), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(interval_s)
                live.update(_look(gateway, console), refresh=True)
    except KeyboardInterrupt:
        pass


def _look(gateway: Admin, console: "Console") -> "Group":
    """What the gateway says now. Raises `Failed`."""
    told = gateway.ask("GET", "stats")
    try:
        return render(told, gateway.url, console.width)
    except (KeyError, TypeError, AttributeError) as error:
        raise Failed(f"what answers at {gateway.url} is not Twicetold") from error


def render(stats: dict[str, Any], url: str, width: int) -> "Group":
    """The table and the lines around it, of which none is wider than the screen."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Twicetold at {url}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("tier", no_wrap=True)
    if width >= WIDE:
        table.add_column("", no_wrap=True)
    for heading in ("requests", "share", "first token", "p90", "total", "p90"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, tier in stats["tiers"].items():
        times = stats["latency"].get(name, {})
        table.add_row(
            name,
            *([_WHAT.get(name, "")] if width >= WIDE else []),
            str(tier["requests"]),
            f"{tier['hit_ratio']:.1%}" if stats["requests"] else "",
            *(_seconds(times.get(what, {}).get(part)) for what in ("ttft", "total") for part in ("p50", "p90")),
            style=STYLES[name] if name in STYLES and tier["requests"] else "",
        )
    return Group(table, Text("\n".join(_folded(line, width) for line in _lines(stats))))


def _folded(line: str, width: int) -> str:
    """A line of figures on as many as it needs, broken between two figures."""
    label, figures = line[: len(_INDENT)], line[len(_INDENT) :]
    whole = ", ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in figures.split(", "))
    rows = textwrap.wrap(whole, max(20, width - len(_INDENT)), break_long_words=False, break_on_hyphens=False)
    return label + f"\n{_INDENT}".join(rows).replace("\N{NO-BREAK SPACE}", " ")


def _lines(stats: dict[str, Any]) -> list[str]:
    tokens = stats["tokens"]
    saved = tokens["saved_prompt"] + tokens["saved_completion"]
    every = saved + tokens["prompt"] + tokens["completion"]
    share = f" ({saved / every:.0%} of all)" if every else ""
    parts = ", ".join(f"{name} {state}" for name, state in stats["parts"].items())
    return [
        f"saved    {counted(saved, 'token')}{share}, {stats['saved_seconds']:,.1f} s of generation",
        *_money(stats["money"]),
        f"kept     {counted(stats['entries'], 'answer')}, {counted(stats['vectors'], 'vector')}",
        f"trouble  {counted(stats['errors'], 'error')}, {counted(stats['cache_failures'], 'cache fault')} done without",
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
    asked = f"{counted(redis['commands'], 'command')} in {counted(redis['round_trips'], 'round trip')}"
    lost = f"{counted(redis['waiting'], 'write')} waiting, {redis['dropped']} dropped"
    return f"redis    {redis['state']}{', a cluster' if redis['is_cluster'] else ''}: {asked}, {lost}"


def _engine(name: str, engine: dict[str, Any]) -> str:
    kv = engine["kv"]
    load = f"{engine['running']} running, {engine['waiting']} waiting"
    kept = f"{counted(kv.get('blocks_cached', 0), 'KV block')} kept"
    accepted = engine.get("drafts_accepted", 0)
    checked = accepted + engine.get("drafts_rejected", 0)
    drafts = f"{accepted:,} of {counted(checked, 'draft')} accepted"
    trouble = f"{counted(engine['restarts'], 'restart')}, {counted(engine['hangs'], 'hang')}"
    return f"engine   {name}: {load}, {kept}, {drafts}, {trouble}"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
