"""`twicetold keys`: the keys that callers send, made, rotated and ended.

They are asked of a running gateway, or, with --data-dir, changed in its folder, which a running gateway notices within
seconds: so the first key can be made before anybody can reach the server.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.callers.caller import OF_CALLERS, SCOPES
from gateway.callers.keys import Keys, Wish
from gateway.callers.racks import FOLDER, FolderRack
from gateway.callers.records import MAX_NAME_CHARS
from gateway.cli.asking import seconds_of
from gateway.cli.client import Failed, add_json, add_server, admin, tenant_name
from gateway.cli.screen import dump, note, say
from gateway.errors import GatewayError
from gateway.identity.secret import load_secret
from gateway.quota.reading import read_said, written
from gateway.settings import load_settings, read_key

Answer = dict[str, Any]

NOTES = """Whoever sends a key is its tenant, however often it is rotated. Its text is shown once; kept are
keyed hashes, in the folder `keys` of the data folder and, with `redis`, there as well: every gateway knows of a
change within seconds. A key that is unknown, revoked or expired is refused with 401 in the error form of the route.
Other credentials stand for tenants of their own unless `[keys] required = true`; then they are refused, too, and
serving beyond loopback needs no `--allow-no-keys`. With `--data-dir` no gateway has to run: so the first key
can be made before anybody can reach it.
Scopes: chat (ask), feedback (say whether an answer was good), admin:read (look at what the admin API shows) and
admin:write (change it). A key with the last two is sent to the admin API as a bearer token.
"""


def add_keys(verbs: Any) -> None:
    keys = verbs.add_parser(
        "keys",
        help="keys for callers: create, list, rotate, revoke, and the tenant of one",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = keys.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key; its text is shown this once")
    create.add_argument("name", type=_name, metavar="NAME", help="what it is for")
    create.add_argument(
        "--tenant", type=tenant_name, help="the tenant it stands for: 32 hexadecimal digits (a new tenant)"
    )
    create.add_argument("--expires", type=seconds_of, metavar="AGE", help="when it ends: 90s, 15m, 12h, 30d or 4w")
    create.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        dest="scopes",
        help="what it opens; may be given several times (chat and feedback)",
    )
    create.add_argument(
        "--policy",
        type=_policy,
        metavar="FILE",
        help="what it allows of its tenant's policy, as JSON: docs/policies.md",
    )
    _finish(create, _create)
    _finish(actions.add_parser("list", help="all keys, without their texts"), _list)
    rotate = actions.add_parser("rotate", help="make a new key for the same tenant, and end the old one")
    rotate.add_argument("id", metavar="ID", help="key_..., as list shows it")
    rotate.add_argument("--grace", type=seconds_of, default=0.0, metavar="AGE", help="how long the old one still works")
    _finish(rotate, _rotate)
    revoke = actions.add_parser("revoke", help="end a key now")
    revoke.add_argument("id", metavar="ID", help="key_..., as list shows it")
    _finish(revoke, _revoke)
    tenant = actions.add_parser("tenant", help="the tenant that a key, or any other credential, stands for")
    tenant.add_argument("--key-env", metavar="NAME", help="variable that holds it (none: callers without one)")
    _finish(tenant, _tenant)


def _name(text: str) -> str:
    if not text.strip() or len(text) > MAX_NAME_CHARS or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a name has 1 to {MAX_NAME_CHARS} printable characters")
    return text


def _policy(path: str) -> dict[str, Any]:
    try:
        return written(read_said(json.loads(Path(path).read_text("utf-8"))))
    except (OSError, ValueError, TypeError, GatewayError) as error:
        raise argparse.ArgumentTypeError(f"{path} holds no policy: {error}") from error


def _finish(action: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    add_json(action)
    action.add_argument("--data-dir", type=Path, help="the folder of a gateway, instead of asking it")
    action.add_argument("--config", type=Path, metavar="FILE", help="with --data-dir: the gateway's TOML file")
    add_server(action)
    action.set_defaults(run=run)


def _create(args: argparse.Namespace) -> int:
    wish = Wish(args.name, args.tenant or "", args.expires, sorted(args.scopes or OF_CALLERS), args.policy)
    made = _ask(args, "POST", "keys", asdict(wish), lambda keys: keys.create(wish))
    return _made(args, made)


def _rotate(args: argparse.Namespace) -> int:
    path = f"keys/{args.id}/rotate"
    return _made(args, _ask(args, "POST", path, {"grace_s": args.grace}, lambda keys: keys.rotate(args.id, args.grace)))


def _made(args: argparse.Namespace, made: Answer) -> int:
    """The text alone goes to standard output, so that a script can take it."""
    if args.json:
        dump(made)
        return 0
    say(made["key"])
    note(f"{made['id']} of tenant {made['tenant']}, {_end(made)}; this is the only time it is shown")
    return 0


def _list(args: argparse.Namespace) -> int:
    async def listing(keys: Keys) -> Answer:
        return {"data": keys.listing()}

    told = _ask(args, "GET", "keys", None, listing)
    if args.json:
        dump(told)
        return 0
    for one in told["data"]:
        row = (f"{one['state']:<8}", one["id"], f"{one['prefix'] or '-':<11}", one["tenant"], f"{_end(one):<22}")
        say("  ".join((*row, f"{_used(one):<21}", ",".join(one["scopes"]), one["name"])))
    if not told["data"]:
        note("no keys yet: twicetold keys create NAME")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    done = _ask(args, "DELETE", f"keys/{args.id}", None, lambda keys: keys.revoke(args.id))
    if args.json:
        dump(done)
    else:
        say(f"{done['state']} {done['id']}  {done['name']}")
    return 0


def _tenant(args: argparse.Namespace) -> int:
    credential = read_key("--key-env", args.key_env or "")

    async def whose(keys: Keys) -> Answer:
        return {"tenant": keys.caller(credential)}

    told = _ask(args, "POST", "keys/tenant", {"api_key": credential}, whose)
    if args.json:
        dump(told)
    else:
        say(told["tenant"])
    return 0


def _end(key: Answer) -> str:
    if key["ends_s"] is None:
        return "without an end"
    word = "ends" if key["ends_s"] > time.time() else "ended"
    return f"{word} {_moment(key['ends_s'])}"


def _used(key: Answer) -> str:
    return "not used yet" if key["last_used_s"] is None else f"used {_moment(key['last_used_s'])}"


def _moment(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_s))


def _ask(
    args: argparse.Namespace, method: str, path: str, body: Answer | None, work: Callable[[Keys], Awaitable[Answer]]
) -> Answer:
    """The gateway's answer, or what its folder says."""
    if args.data_dir is None:
        with admin(args) as gateway:
            answer: Answer = gateway.ask(method, path, json=body)
        return answer
    from gateway.services.seal import seal_of  # the whole gateway comes along with it

    settings = load_settings({"data_dir": args.data_dir}, args.config)

    async def done() -> Answer:
        keys = Keys(
            load_secret(settings.data_dir, settings.secret, seal_of(settings)), [FolderRack(settings.data_dir / FOLDER)]
        )
        await keys.refresh()
        return await work(keys)

    try:
        return asyncio.run(done())
    except (GatewayError, OSError, ValueError) as error:
        raise Failed(str(error)) from error
