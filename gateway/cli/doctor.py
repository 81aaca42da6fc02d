"""`twicetold doctor`: look at everything a start needs, and say how to mend what is wrong."""

import json
import os
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from rich.table import Table

from gateway import __version__
from gateway.cli.checkup import Finding, backend_findings, redis_findings
from gateway.cli.door_checkup import door_findings
from gateway.cli.terminal import Screen
from gateway.engines import Unavailable
from gateway.services.seal import seal_of
from gateway.settings import DEMO, Settings

OUR_NAMES = ("gateway", "embeddings", "kvtier", "backends")
OUR_DISTRIBUTION = "twicetold-server"
MANY = 50_000  # answers whose index takes a while to be made

_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "bad": "[red]bad[/]"}


def examine(settings: Settings, *, as_json: bool = False) -> int:
    """Print every finding; returns 1 when one is bad."""
    return show(list(findings_of(settings)), as_json=as_json)


def show(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print findings; returns 1 when one is bad."""
    status = int(any(finding.verdict == "bad" for finding in findings))
    if as_json:
        print(json.dumps({"is_well": not status, "findings": [asdict(finding) for finding in findings]}, indent=2))
        return status
    table = Table(show_edge=False)
    for heading in ("what", "", "found", "mend"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(finding.what, _MARKS[finding.verdict], finding.detail, finding.mend)
    Screen().print(table)
    return status


def findings_of(settings: Settings) -> Iterator[Finding]:
    """Look at everything, in the order a start meets it."""
    looks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _versions,
        _names,
        _data_dir,
        _store,
        _port,
        _embedder,
        _models,
        door_findings,
        _upstream,
        backend_findings,
        redis_findings,
    )
    for look in looks:
        yield from look(settings)


def _versions(_: Settings) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", f"{python}, Twicetold {__version__}")
    for package, extra in (("torch", "local"), ("transformers", "local"), ("faiss-cpu", "semantic")):
        try:
            found = version(package)
        except PackageNotFoundError:
            yield Finding(package, "warn", "not installed", f"pip install '{OUR_DISTRIBUTION}[{extra}]'")
        else:
            heavy = package == "torch" and "+cpu" not in found and sys.platform == "linux"
            yield Finding(package, "ok", found + (" (a CUDA build: larger than a CPU needs)" if heavy else ""))


def _names(_: Settings) -> Iterator[Finding]:
    """Our import names are common words: another package may have taken one."""
    homes = {name: spec.origin for name in OUR_NAMES if (spec := find_spec(name)) is not None and spec.origin}
    roots = {Path(origin).parent.parent for origin in homes.values()}
    owners = packages_distributions()
    others = {name: set(owners.get(name, ())) - {OUR_DISTRIBUTION} for name in OUR_NAMES}
    taken = [f"{name} by {', '.join(sorted(found))}" for name, found in others.items() if found]
    if taken or len(roots) != 1 or len(homes) != len(OUR_NAMES):
        detail = "; ".join(taken) or f"found in {sorted(map(str, roots))}"
        yield Finding("import names", "bad", detail, "install Twicetold in an environment of its own")
    else:
        yield Finding("import names", "ok", ", ".join(OUR_NAMES))


def _data_dir(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir
    place = path if path.exists() else next(parent for parent in path.absolute().parents if parent.exists())
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        yield Finding("data folder", "bad", f"{path} cannot be written", "name another with --data-dir")
        return
    disk = os.statvfs(place)
    free_mb = disk.f_bavail * disk.f_frsize // 2**20
    if free_mb < settings.cache.disk_mb:
        mend = "free some space, or lower cache.disk_mb"
        yield Finding("data folder", "warn", f"{path}: {free_mb} MB free, {settings.cache.disk_mb} MB allowed", mend)
    else:
        yield Finding("data folder", "ok", f"{path}: {free_mb} MB free")


def _store(settings: Settings) -> Iterator[Finding]:
    path = settings.data_dir / "answers.db"
    if not path.exists():
        yield Finding("answers", "ok", "none yet")
        return
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)
        try:
            state = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            count = connection.execute("SELECT entries FROM totals").fetchone()[0]
            closed = _closed(connection, settings)
        finally:
            connection.close()
    except sqlite3.Error as error:
        mend = "it is moved aside at the next start and a new one begun; delete it to do so now"
        yield Finding("answers", "warn", f"{path}: {error}", mend)
        return
    verdict = "ok" if state == "ok" else "warn"
    yield Finding(
        "answers", verdict, f"{count} in {path}: {state}", "" if verdict == "ok" else "restart to quarantine it"
    )
    if closed:
        mend = "give it in seal.key_env or seal.old_keys_env; if it is lost: twicetold invalidate --all"
        yield Finding("answers", "bad", f"{closed} of them are sealed under a key that is not given", mend)
    if settings.cache.semantic and count > MANY and not any((settings.data_dir / "index").glob("*.lists")):
        detail = f"nothing is kept of the lists of up to {count:,} vectors: they are made while exact hits are served"
        yield Finding(
            "index", "warn", detail, "about a minute for a million; /readyz says how far it is; they are kept"
        )


def _closed(connection: sqlite3.Connection, settings: Settings) -> int:
    """Stored answers that do not open with the keys that are given."""
    try:
        seal = seal_of(settings)
        counts = dict(connection.execute("SELECT seal, count(*) FROM entries GROUP BY seal"))
    except (Unavailable, sqlite3.Error):  # told of the seal; a file of before there were seals
        return 0
    return sum(count for name, count in counts.items() if name not in (seal.name, "", *seal.older))


def _port(settings: Settings) -> Iterator[Finding]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = f"{settings.host}:{settings.port}"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        mend = "stop what listens there (a running Twicetold?), or choose another --port"
        yield Finding("port", "bad", f"{address}: {error.strerror}", mend)
        return
    yield Finding("port", "ok", f"{address} is free")


def _embedder(settings: Settings) -> Iterator[Finding]:
    if not settings.cache.semantic:
        yield Finding("embedder", "ok", "switched off")
        return
    try:
        from embeddings.base import EmbedderError
        from embeddings.local import load_embedder
    except ImportError as error:
        mend = f"pip install '{OUR_DISTRIBUTION}[semantic]'; until then only exact hits"
        yield Finding("embedder", "warn", f"{error.name} is not installed", mend)
        return
    try:
        embedder = load_embedder(settings.cache.embedder or None, precision=settings.cache.embedder_precision)
    except EmbedderError as error:
        mend = "name a folder or a reachable model in cache.embedder; until then only exact hits"
        yield Finding("embedder", "warn", str(error), mend)
        return
    yield Finding("embedder", "ok", embedder.fingerprint)


def _models(settings: Settings) -> Iterator[Finding]:
    if not settings.local_models:
        yield Finding("local model", "ok", "none, everything goes upstream")
        return
    try:
        from backends.local.decoder.checkpoint import find
        from backends.local.decoder.config import CheckpointError
        from backends.local.demo import checkpoint_path
    except ImportError as error:
        yield Finding(
            "local model", "bad", f"{error.name} is not installed", f"pip install '{OUR_DISTRIBUTION}[local]'"
        )
        return
    for model in settings.local_models:
        try:
            folder = find(checkpoint_path() if model.source == DEMO else model.source)
        except CheckpointError as error:
            yield Finding("local model", "bad", str(error), "name a folder with a checkpoint, or use --model demo")
            continue
        weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        yield Finding("local model", "ok", f"{model.name}, {weights / 2**20:.1f} MB of weights")


def _upstream(settings: Settings) -> Iterator[Finding]:
    if not settings.upstream:
        return
    import httpx

    headers = {"authorization": f"Bearer {settings.upstream_key}"} if settings.upstream_key else {}
    address = settings.upstream.rstrip("/")
    address += "/models" if address.endswith("/v1") else "/v1/models"
    try:
        status = httpx.get(address, headers=headers, timeout=5).status_code
    except httpx.HTTPError as error:
        yield Finding("upstream", "bad", f"{settings.upstream}: {error}", "start it, or correct --upstream")
        return
    if status in (401, 403):
        yield Finding("upstream", "bad", f"{settings.upstream}: {status}", "name the key's variable with --api-key-env")
    elif status >= 500:
        yield Finding("upstream", "warn", f"{settings.upstream}: {status}", "it answers, but is not well")
    else:
        yield Finding("upstream", "ok", f"{settings.upstream} answers")
