"""What lies on disk, damaged: it is read as it was written, or refused in the words of whoever reads it."""

import logging
import random
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backends.chat import Choice, Completion, Usage
from bench.fuzz.base import Case, Finding
from bench.fuzz.mutate import damaged, mutated, nasty, spelled
from gateway.answers.base import CacheError, Entry
from gateway.answers.codec import decode, encode
from gateway.answers.sqlite import SqliteAnswers
from gateway.callers.records import Record, read_record
from gateway.callers.sessions import Sessions
from gateway.curation.portable import Movement, entry_line, read_line
from gateway.errors import GatewayError
from gateway.identity.canonical import fingerprints
from gateway.identity.scope import SCHEMA
from gateway.live.prices import Prices
from gateway.settings import SettingsError, load_settings

SECRET = b"s" * 32
SCOPE = b"c" * 32
CONFIG = b"""
host = "127.0.0.1"
port = 8420
upstream = "http://127.0.0.1:8000"
max_body_mb = 1.5
[cache]
semantic_mode = "shadow"
max_wrong_hit_rate = 0.01
eviction = "lru"
[[cache.routes]]
model = "gpt-*"
semantic_mode = "off"
[engine]
kv_mb = 64
[timeouts]
first_token_s = 5
[[backends]]
name = "a"
url = "http://127.0.0.1:8001"
flavour = "vllm"
models = ["*"]
[[aliases]]
name = "fast"
fallback = ["a"]
[[aliases.targets]]
model = "m"
weight = 1
[[normalise]]
patterns = ["[0-9]+"]
[routing]
retries = 1
[keys]
required = false
"""
VARIABLES = (
    "PORT", "HOST", "CACHE__TTL", "CACHE__MEMORY_MB", "CACHE__SEMANTIC", "BACKENDS__A__URL", "CACHE",
    "X", "MAX_BODY_MB", "CACHE__ROUTES", "UPSTREAM", "SECRET_ENV", "ADMIN_KEY_ENV", "KEYS__REQUIRED",
    "ENGINE__KV_MB", "TIMEOUTS__IDLE_S", "CACHE____X",
)  # fmt: skip


def completion(text: str = "It is a lease.") -> Completion:
    return Completion((Choice({"role": "assistant", "content": text}, "stop"),), Usage(3, 4))


def entry(number: int = 0, text: str = "What is a lease?") -> Entry:
    """An entry as the gateway keeps it."""
    from backends.chat import ChatRequest

    request = ChatRequest("m", ({"role": "user", "content": f"{text} {number}"},), {})
    fp = fingerprints(SECRET, SCOPE, request, {})
    return Entry(
        id=fp.entry_id,
        scope=fp.scope,
        exact=fp.exact,
        compat=fp.compat,
        canonical=fp.canonical,
        question=f"{text} {number}",
        model="m",
        completion=completion(),
        created_s=1_700_000_000.0,
        expires_s=None,
        elapsed_s=1.0,
        tenant="anonymous",
        schema=SCHEMA,
    )


def answers(rng: random.Random, outcomes: Counter[str]) -> None:
    """A stored answer: what is read spells itself again."""
    good = encode(completion(str(nasty(rng))[:200]) if rng.random() < 0.5 else completion())
    raw = damaged(rng, good) if rng.random() < 0.5 else spelled(rng, mutated(rng, orjson.loads(good)))
    try:
        found = decode(raw)
        if decode(encode(found)) != found:
            raise Finding(f"it is not read as it is written: {raw!r}")
    except CacheError:
        outcomes["refused"] += 1
        return
    outcomes["read"] += 1


def keys(rng: random.Random, outcomes: Counter[str]) -> None:
    """A record of a key: one that is believed has every field as it should be."""
    good = Record("key_" + "0" * 12, "app", "0" * 32, "1" * 64, 1.0).as_json()
    record = read_record(spelled(rng, mutated(rng, good)))
    outcomes["refused" if record is None else "read"] += 1
    if record is not None:
        try:
            record.state(time.time())
            orjson.dumps(record.as_json())
            sorted((record, record), key=lambda one: -one.created_s)
            assert isinstance(record.tenant, str)
            assert isinstance(record.name, str)
        except (TypeError, ValueError, AssertionError) as error:
            raise Finding(f"a record is believed that cannot be used ({error!r}): {record}") from error


def imported(rng: random.Random, outcomes: Counter[str]) -> None:
    """A line of an import: it is refused, or it is an entry that can be kept and exported again."""
    good = orjson.loads(entry_line(SECRET, entry(), 1, ""))
    raw = spelled(rng, mutated(rng, good)) if rng.random() < 0.8 else damaged(rng, orjson.dumps(good))
    try:
        taken = read_line(SECRET, raw, Movement(), time.time())
    except GatewayError:
        outcomes["refused"] += 1
        return
    outcomes["read"] += 1
    if taken is not None:
        with suppress(CacheError):
            if decode(encode(taken.entry.completion)) != taken.entry.completion:
                raise Finding(f"an imported answer is kept as another: {raw!r}")


def config(rng: random.Random, outcomes: Counter[str], folder: Path) -> None:
    """A configuration: settings, or one `SettingsError` that says what is wrong."""
    path = folder / "twicetold.toml"
    path.write_bytes(_config(rng))
    environ = {"TWICETOLD_" + rng.choice(VARIABLES): _text(rng) for _ in range(rng.choice((0, 0, 1, 3)))}
    try:
        load_settings({}, path, environ)
        outcomes["read"] += 1
    except SettingsError as error:
        outcomes["refused"] += 1
        if not str(error):
            raise Finding(f"no word of what is wrong: {path.read_bytes()!r} {environ}") from error


def small_files(rng: random.Random, outcomes: Counter[str], folder: Path) -> None:
    """Prices, and sessions that were ended."""
    prices = {"currency": "USD", "models": {"m": {"prompt": 1.0, "cached": 0.5, "completion": 2.0}}}
    for name, good in (("prices.json", prices), ("ended.json", {"00" * 16: 2e9})):
        raw = orjson.dumps(good)
        (folder / name).write_bytes(damaged(rng, raw) if rng.random() < 0.3 else spelled(rng, mutated(rng, good)))
    read = Prices(folder / "prices.json")
    read.open()
    read.of("m")
    orjson.dumps(read.told(["m"]))
    sessions = Sessions(SECRET, "key", file=folder / "ended.json")
    cookie, made = sessions.begin()
    if rng.random() < 0.5:
        cookie = damaged(rng, cookie.encode()).decode("latin-1")
    session = sessions.read(cookie)
    if session is not None and session.nonce != made.nonce:
        raise Finding(f"a session that nobody began: {cookie!r}")
    outcomes["shipped prices" if read.is_shipped else "own prices"] += 1


def snapshots(rng: random.Random, outcomes: Counter[str], folder: Path) -> None:
    """What the lists of a large partition were trained to, and the bare forms."""
    from embeddings.index.lists import Trained
    from embeddings.index.snapshot import END, Snapshots
    from gateway.semantic.kept_forms import KeptForms

    shelf = Snapshots(folder / "index", "embedder", 4)
    trained = Trained(np.ones((2, 4), np.float32), np.ones(8, np.float32), 1, 2, 1.0)
    shelf.write(b"p" * 64, trained, np.array([1, 2], np.uint64), np.array([0, 1], np.int32))
    forms = KeptForms(folder / "index" / "bare.forms", "1")
    forms.write(bytes(32))
    for path in (folder / "index").iterdir():
        if path.suffix in (END, ".forms"):
            raw = path.read_bytes()
            path.write_bytes(damaged(rng, raw) if rng.random() < 0.8 else raw)
    found = shelf.read()
    outcomes["read" if found else "refused"] += 1
    outcomes["forms" if forms.read() else "no forms"] += 1


@asynccontextmanager
async def rows(folder: Path) -> AsyncIterator[Case]:
    """Rows of the store that hold something else, and a file with other bytes: an answer is whole, or it is a miss."""

    async def case(rng: random.Random, outcomes: Counter[str]) -> None:
        await _rows(rng, outcomes, folder / f"{rng.randrange(10**9)}.db")

    yield case


async def _rows(rng: random.Random, outcomes: Counter[str], path: Path) -> None:
    good = [replace(entry(n), question=f"q{n}") for n in range(3)]
    async with _opened(path) as store:
        for one in good:
            await store.put(one)
    if rng.random() < 0.6:
        with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.Error):
            column = rng.choice([row[1] for row in connection.execute("PRAGMA table_info(entries)") if row[1] != "seq"])
            value = rng.choice(
                (
                    None,
                    -1,
                    2**62,
                    1.5,
                    "",
                    "x",
                    b"",
                    b"\0",
                    rng.randbytes(32),
                    "[]",
                    "{}",
                    encode(completion("Another.")),
                )
            )
            connection.execute(f"UPDATE entries SET {column} = ? WHERE seq = 1", (value,))  # noqa: S608 - a name of the table's own
            connection.commit()
    else:
        for file in path.parent.glob(path.name + "*"):
            raw = bytearray(file.read_bytes())
            for _ in range(rng.choice((1, 4, 64))):
                at = rng.randrange(max(1, len(raw)))
                raw[at : at + 8] = rng.randbytes(8)
            file.write_bytes(bytes(raw))
    with _calm():
        try:
            async with _opened(path) as store:
                for one in good:
                    found = await _found(store, one, outcomes)
                    if found is not None and (found.completion, found.canonical) != (one.completion, one.canonical):
                        raise Finding(f"another answer than was kept, in {path}: {found}")
                with suppress(CacheError):
                    await store.put(entry(9))
        except CacheError:
            outcomes["refused whole"] += 1
    for file in path.parent.glob(path.name + "*"):
        file.unlink(missing_ok=True)


async def _found(store: Any, one: Entry, outcomes: Counter[str]) -> Entry | None:
    try:
        found: Entry | None = await store.get(one.scope, one.exact)
    except CacheError:
        outcomes["refused"] += 1
        return None
    outcomes["missed" if found is None else "read"] += 1
    return found


class _opened:
    """The store, open."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteAnswers(path, budget_bytes=1 << 26)

    async def __aenter__(self) -> SqliteAnswers:
        await self._store.open()
        return self._store

    async def __aexit__(self, *_: object) -> None:
        await self._store.close()


@contextmanager
def _calm() -> Iterator[None]:
    """Without the warnings that each damaged file is worth."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        yield
    finally:
        logging.disable(before)


def _config(rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return damaged(rng, CONFIG)
    lines = CONFIG.split(b"\n")
    for _ in range(rng.choice((0, 1, 2))):
        at = rng.randrange(len(lines))
        match rng.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, rng.choice(lines))
            case 2:
                name, is_set, _ = lines[at].partition(b" = ")
                if is_set:
                    lines[at] = name + b" = " + rng.choice(_VALUES)
            case 3:
                lines[at] = lines[at].replace(b"[", b"", 1) if rng.random() < 0.5 else lines[at].upper()
    return b"\n".join(lines)


def _text(rng: random.Random) -> str:
    return str(nasty(rng))[:200].replace("\0", "")


_VALUES = (
    b"1", b"-1", b"0", b"1e308", b"nan", b"inf", b"-inf", b'""', b'"x"', b"[]", b"[1]", b'["x"]', b"{}",
    b"{x = 1}", b"true", b"1979-05-27", b"[[]]",
    b'"\\u0000"', b"99999999999999999999", b"0x10", b'"http://[::1"', b'"http://u:p@h/"', b"'''x'''",
)  # fmt: skip
