"""`twicetold stats`: what a running gateway serves and saves."""

import argparse
from typing import Any

from gateway.cli.client import add_json, add_server, admin
from gateway.cli.screen import dump
from gateway.settings import read_key


def add_stats(verbs: Any) -> None:
    stats = verbs.add_parser("stats", help="a live table of hit rates and savings")
    stats.add_argument("--once", action="store_true", help="print one table and stop")
    stats.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="time between two looks (1)")
    add_json(stats)
    add_server(stats)
    stats.set_defaults(run=_stats)


def _stats(args: argparse.Namespace) -> int:
    if args.json:  # once: whoever wants more asks again
        with admin(args, timeout_s=5.0) as gateway:
            dump(gateway.ask("GET", "stats"))
        return 0
    from gateway.stats import show

    key = read_key("--admin-key-env", args.admin_key_env or "")
    return show(args.url, once=args.once, interval_s=args.interval, key=key)
