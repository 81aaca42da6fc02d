"""`twicetold erase`: everything that a deployment keeps of one tenant, or under one tag."""

import argparse
from dataclasses import asdict
from typing import Any

from gateway.cli.client import add_json, add_server, admin, tell, tenant_name
from gateway.cli.screen import counted
from gateway.cli.scrubbing import Whose, files_of, scrub
from gateway.settings import SettingsError

WAIT_S = 300.0  # other gateways, logs of files, and every segment in a Redis

NAMES = {
    "answers": "answers",
    "embeddings": "vectors of /v1/embeddings",
    "labels": "labels",
    "verifiers": "verifiers fitted to them",
    "commons": "witnesses and shared answers",
    "responses": "responses that feedback may name",
    "shared_responses": "of them in Redis",
    "conversations": "responses that conversations go on from",
    "requests": "last requests with words",
    "prompts": "prompts compared by their beginnings",
    "kv_blocks": "blocks of prefixes in memory",
    "kv_disk_segments": "segments of prefixes on disk",
    "kv_redis_segments": "segments of prefixes in Redis",
    "keys": "keys ended",
    "budgets": "sums of what it and its keys used",
    "set_aside": "corrupt files that were set aside",
}


def add_erase(verbs: Any) -> None:
    verb = verbs.add_parser("erase", help="remove all that is kept of a tenant or a tag; without --yes, only say what")
    verb.add_argument("--tenant", type=tenant_name, metavar="TENANT", help="by the name the admin API shows")
    verb.add_argument("--tag", metavar="TAG", help="with this tag; with --tenant, of that tenant alone")
    verb.add_argument(
        "--export",
        action="append",
        default=[],
        metavar="FILE",
        help="take its lines out of this export, too, and of FILE.part where one was cut off; repeatable",
    )
    verb.add_argument("--keys", action="store_true", help="end the tenant's keys, too")
    verb.add_argument("--yes", action="store_true", help="do it; without this, only say what would go")
    add_json(verb)
    add_server(verb)
    verb.set_defaults(run=_erase)


def _erase(args: argparse.Namespace) -> int:
    if args.tenant is None and args.tag is None:
        raise SettingsError("say whom: --tenant, --tag, or both")
    whose, files = Whose(args.tenant, args.tag), files_of(args.export)
    body = {"tenant": args.tenant, "tag": args.tag, "keys": args.keys, "dry_run": not args.yes}
    with admin(args, timeout_s=WAIT_S) as gateway:
        done = gateway.ask("POST", "erase", json=body)
    exports = [scrub(file, whose, dry_run=done["dry_run"]) for file in files]
    failed = [one.failed for one in exports if one.failed]
    done["exports"] = [asdict(one) for one in exports if not one.failed]
    done |= {"pending": [*done["pending"], *failed], "is_whole": done["is_whole"] and not failed}
    tell(args, done, rendered)
    return 0 if done["dry_run"] or done["is_whole"] else 1


def rendered(done: dict[str, Any]) -> str:
    """What was erased, place by place, and what is left to do."""
    lines = [f"  {count:>8,}  {NAMES.get(place, place)}" for place, count in done["counts"].items() if count]
    for number, other in enumerate(done["replicas"] or (), 1):
        lines += [
            f"  {count:>8,}  {NAMES.get(place, place)}, gateway {number} of the others"
            for place, count in other["counts"].items()
            if count
        ]
    for file in done["exports"]:
        unread = f", and {file['unreadable']:,} that nobody can read" if file["unreadable"] else ""
        lines.append(f"  {file['removed']:>8,}  lines of {file['file']}{unread}")
    if done["dry_run"]:
        head = f"{counted(done['total'], 'thing')} would go, and what engines keep of prefixes; --yes does it"
        lines += [f"  cannot be looked at: {place}" for place in done["pending"]]
        return "\n".join((head, *lines))
    lines += [f"  not done yet: {place}" for place in done["pending"]]
    lines += [
        f"  not done yet on another gateway: {place}" for one in done["replicas"] or () for place in one["pending"]
    ]
    head = f"{counted(done['total'], 'thing')} gone" + ("" if done["is_whole"] else ", and not everything is done")
    return "\n".join((head, *lines))
