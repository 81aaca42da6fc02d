"""`twicetold explain`, `invalidate` and `prefixes`: a running gateway's admin API, from the command line."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from gateway.cli.client import add_json, add_server, admin, tell, tenant_name
from gateway.cli.screen import complain, counted, dump, say
from gateway.settings import SettingsError, read_key

MAX_AGE_S = 1e10  # as the API takes
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def add_explain(verbs: Any) -> None:
    explain = verbs.add_parser("explain", help="why a request hits or misses the cache, or why a response did")
    explain.add_argument("request", nargs="?", metavar="FILE", help="a chat request as JSON; - reads standard input")
    explain.add_argument("--question", metavar="TEXT", help="instead of a file: a question, with --model")
    explain.add_argument("--model", metavar="NAME", help="the model of the question")
    explain.add_argument("--response", metavar="ID", help="instead of a file: the id of a response that was given")
    explain.add_argument("--key-env", metavar="NAME", help="variable that holds the key the caller sends")
    explain.add_argument(
        "--tenant", type=tenant_name, help="instead of its key: the caller's name, as the admin API shows it"
    )
    add_json(explain)
    add_server(explain)
    explain.set_defaults(run=_explain)


def add_invalidate(verbs: Any) -> None:
    verb = verbs.add_parser("invalidate", help="remove stored answers; without --yes, only say which")
    for name, said in (
        ("id", "the entry of this id"),
        ("tag", "with this tag"),
        ("model", "of this model"),
        ("namespace", "of this namespace"),
        ("tenant", "of this tenant, by the name the admin API shows"),
        ("revision", "of this revision of the model"),
        ("embedder", "found by this embedder"),
    ):
        verb.add_argument(f"--{name}", metavar=name.upper(), help=said)
    verb.add_argument("--schema", type=int, metavar="N", help="of this version of the key")
    verb.add_argument("--older-than", type=seconds_of, metavar="AGE", help="older than 90, 90s, 15m, 12h, 7d or 4w")
    verb.add_argument(
        "--request", metavar="FILE", help="the entry of exactly this chat request; - reads standard input"
    )
    verb.add_argument("--key-env", metavar="NAME", help="variable that holds the key the request's caller sends")
    verb.add_argument("--all", action="store_true", help="everything")
    verb.add_argument("--yes", action="store_true", help="do it; without this, only say what would go")
    add_json(verb)
    add_server(verb)
    verb.set_defaults(run=_invalidate)


def add_prefixes(verbs: Any) -> None:
    verb = verbs.add_parser("prefixes", help="where prompts that could share a prefix first differ, and what it costs")
    verb.add_argument("--log", type=Path, metavar="FILE", help="requests as JSON lines, instead of a running gateway")
    verb.add_argument("--price", type=float, default=0.0, metavar="MONEY", help="of a million tokens, with --log")
    add_json(verb)
    add_server(verb)
    verb.set_defaults(run=_prefixes)


def seconds_of(text: str) -> float:
    """A time as people write it: 90, 90s, 15m, 12h, 7d, 4w."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; write 90, 90s, 15m, 12h, 7d or 4w")
    seconds = float(found[1]) * _UNITS_S[found[2] or "s"]
    if seconds > MAX_AGE_S:
        raise argparse.ArgumentTypeError(f"{text!r} is too long: {MAX_AGE_S:.0f} seconds (16534w) at most")
    return seconds


def _explain(args: argparse.Namespace) -> int:
    from gateway.cli.explain_text import rendered, rendered_response

    if args.response:
        return _told(args, "GET", f"explain/{args.response}", None, rendered_response)
    body = {"request": _question(args) or _read(args.request), "api_key": _caller(args), "tenant": args.tenant or ""}
    return _told(args, "POST", "explain", body, rendered)


def _prefixes(args: argparse.Namespace) -> int:
    from gateway.prefixes.report import lines_of

    if args.log is None:
        return _told(args, "GET", "prefixes", None, lambda told: "\n".join(lines_of(told)))
    from gateway.offline.rows import FileError
    from gateway.prefixes.offline import report_on

    try:
        report = report_on(args.log, args.price)
    except FileError as error:
        complain(str(error))
        return 2
    if args.json:
        dump(report)
    else:
        say("\n".join(lines_of(report)))
    return 0


def _question(args: argparse.Namespace) -> dict[str, Any] | None:
    if args.question is None:
        return None
    if not args.model:
        raise SettingsError("--question needs --model")
    return {"model": args.model, "messages": [{"role": "user", "content": args.question}]}


def _invalidate(args: argparse.Namespace) -> int:
    names = ("id", "tag", "model", "namespace", "tenant", "revision", "embedder", "schema", "older_than")
    body = {name: value for name in names if (value := getattr(args, name)) is not None}
    if not body and args.request is None and not args.all:
        raise SettingsError("say which answers: --tag, --model, --older-than and the like, or --all for every one")
    if args.request is not None:
        body |= {"request": _read(args.request), "api_key": _caller(args)}
    body |= {"all": args.all, "dry_run": not args.yes}
    return _told(args, "POST", "invalidate", body, _forgotten)


def _forgotten(done: dict[str, Any]) -> str:
    count = counted(done["count"], "answer")
    ids = "".join(f"\n  {entry}" for entry in done["sample"])
    more = "\n  ..." if done["count"] > len(done["sample"]) else ""
    how = f"{count} would go; --yes does it" if done["dry_run"] else f"{count} gone"
    return f"{how}{ids}{more}"


def _caller(args: argparse.Namespace) -> str:
    return read_key("--key-env", args.key_env or "")


def _read(source: str | None) -> Any:
    """A JSON file, or standard input. Raises `SettingsError`."""
    if source is None:
        raise SettingsError("name a file with a chat request, - for standard input, or --question and --model")
    try:
        return orjson.loads(sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise SettingsError(f"{source} cannot be read: {error}") from error


def _told(args: argparse.Namespace, method: str, path: str, body: Any, render: Callable[[dict[str, Any]], str]) -> int:
    """Ask the gateway and print what it says."""
    with admin(args) as gateway:
        tell(args, gateway.ask(method, path, json=body), render)
    return 0
