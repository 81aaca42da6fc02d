"""Files that were cut off in the middle, by a crash or a full disk: a gateway starts over each of them, and serves."""

import asyncio
import json
import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.control import Label
from embeddings.hashing import HashingEmbedder
from embeddings.index.lists import Trained
from embeddings.index.snapshot import Snapshots
from gateway.callers.keys import Wish
from gateway.callers.sessions import ENDED_FILE, Sessions
from gateway.identity.secret import SecretLocked
from gateway.keptfile import write_whole
from gateway.live.prices import Price
from gateway.quota.file import FILE as BUDGETS
from gateway.quota.file import BudgetFile
from gateway.semantic.labels import FEWEST_FEATURES, Given, LabelStore
from gateway.semantic.rule import LaneKey
from gateway.semantic.shelf import Shelf, shipped
from gateway.services import build
from gateway.settings import load_settings
from tests.gateway.express.serving import Caller, Said, Town, asking, request_of, town
from tests.upstream import RunningUpstream, running_upstream

DIM = 64
EMBEDDER = HashingEmbedder(DIM)
LANE = LaneKey("t", "default")
SECRET = b"s" * 32
FREE = "sk-free"
QUESTIONS = ("What is a half?", "What is a whole?", "What is a quarter?")
WORDS = {"input": ["one half", "the other half"]}
EVERYBODY = "tenants/everybody.json"
CUTS = (  # what a data directory holds; ONE is a key, or its tenant
    "answers.db",
    "embeddings.db",
    "labels.db",
    "budgets.db",
    "prices.json",
    "sessions-ended.json",
    "index/bare.forms",
    "index/*.lists",
    "verifiers/all/*.safetensors",
    "keys/used.json",
    "keys/ONE.json",
    "tenants/ONE.json",
    EVERYBODY,
)


@dataclass(frozen=True)
class Filled:
    """A data directory in which everything was kept, and what was said then."""

    folder: Path
    upstream: RunningUpstream
    one: dict[str, Any]  # a key whose tenant has a policy of its own
    other: dict[str, Any]  # one whose tenant has none
    told: dict[str, str]  # by question
    vectors: bytes
    cookies: tuple[str, str]  # of a session that goes on, and of one that was ended

    @property
    def credentials(self) -> tuple[str, ...]:
        return self.one["key"], self.other["key"], FREE

    def path_of(self, cut: str, folder: Path) -> Path:
        name = cut.replace("keys/ONE", f"keys/{self.one['id']}").replace("tenants/ONE", f"tenants/{self.one['tenant']}")
        (found,) = folder.glob(name)
        return found

    def refused(self, cut: str) -> dict[str, tuple[int, str]]:
        """Who is let in no more, and what it is told: nobody knows what it may."""
        unread = (403, "policy_unreadable")
        match cut:
            case "keys/ONE.json":
                return {self.one["key"]: (401, "invalid_api_key")}
            case "tenants/ONE.json":
                return {self.one["key"]: unread}
            case "tenants/everybody.json":
                return {self.other["key"]: unread, FREE: unread}
        return {}


living = partial(town, cache={"semantic": True}, load=partial(HashingEmbedder, DIM))


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def filled(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return asyncio.run(fill(tmp_path_factory.mktemp("filled") / "data", upstream))


async def fill(folder: Path, upstream: RunningUpstream) -> Filled:
    """Everything that a gateway keeps, kept once."""
    async with living(folder, upstream) as place:
        services, caller = place.services, await place.connect()
        one, other = [await services.keys.create(Wish(name)) for name in ("one", "other")]
        await services.policies.say(one["tenant"], {"models": ["test-model"], "limits": {"tokens_per_day": 10**6}})
        await services.policies.say("*", {"min_similarity": 0.5})
        await services.recent.prices.change("EUR", {"test-model": Price(1.0, 1.0, 1.0)})
        told = {}
        for question in QUESTIONS:
            for key in (one["key"], other["key"], FREE):
                told[question] = content(await caller.ask(request_of(asking(question), key)))
        vectors = await embedded(caller, other["key"])
    sessions = Sessions(SECRET, "admin", file=folder / ENDED_FILE)
    (going_on, _), (ended, session) = sessions.begin(), sessions.begin()
    await sessions.end(session)
    await keep_lessons(folder)
    return Filled(folder, upstream, one, other, told, vectors, (going_on, ended))


async def keep_lessons(folder: Path) -> None:
    """What would take thousands of questions: labels, a fitted verifier, trained lists."""
    labels = LabelStore(folder / "labels.db", per_tenant=1000)
    await labels.open()
    features = (1.0, *[0.1] * (FEWEST_FEATURES - 1))
    for number in range(50):
        label = Label(f"q {number}", "stored", "e_1", True, "shadow", 0.5, features, True, 1.0, False, False)
        await labels.put(Given(LANE, SECRET, label))
    await labels.close()
    Shelf(folder / "verifiers").put(None, shipped(EMBEDDER.fingerprint), EMBEDDER.fingerprint)
    trained = Trained(np.eye(DIM, dtype=np.float32)[:2], np.zeros(2 * DIM, np.float32), 1, 2, 1.0)
    lists = np.zeros(1, np.int32)
    Snapshots(folder / "index", EMBEDDER.fingerprint, DIM).write(b"p", trained, np.ones(1, np.uint64), lists)


def content(said: Said) -> str:
    assert said.status == 200, said.body
    text: str = json.loads(said.body)["choices"][0]["message"]["content"]
    return text


async def embedded(caller: Caller, key: str) -> bytes:
    said = await caller.ask(request_of(WORDS, key, "/v1/embeddings"))
    assert said.status == 200, said.body
    return json.dumps([row["embedding"] for row in json.loads(said.body)["data"]]).encode()


@pytest.mark.parametrize("cut", CUTS)
async def test_whichever_file_is_cut_in_half_all_else_is_there_and_nothing_wrong_is_told(
    filled: Filled, cut: str, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(filled.folder, folder)
    halve(filled.path_of(cut, folder))
    refused = filled.refused(cut)
    async with living(folder, filled.upstream) as place:
        caller = await place.connect()
        for key in filled.credentials:
            if key in refused:
                await is_refused(caller, key, refused[key])
            else:
                await is_served(caller, key, filled, is_kept=cut != "answers.db")
        if filled.one["key"] not in refused:
            said = await caller.ask(request_of({**asking("What is free?"), "model": "another"}, filled.one["key"]))
            assert (said.status, json.loads(said.body)["error"]["code"]) == (403, "model_not_allowed")
        await remembers(place, filled, cut)
    await remembers_at_rest(folder, filled, cut)


async def is_refused(caller: Caller, key: str, wanted: tuple[int, str]) -> None:
    for question in (*QUESTIONS, "What is new?"):
        said = await caller.ask(request_of(asking(question), key))
        assert (said.status, json.loads(said.body)["error"]["code"]) == wanted


async def is_served(caller: Caller, key: str, filled: Filled, *, is_kept: bool) -> None:
    for question in QUESTIONS:
        said = await caller.ask(request_of(asking(question), key))
        assert content(said) == filled.told[question]
        assert said.tier == "exact" if is_kept else said.tier in ("exact", "full")
    for tier in ("full", "exact"):
        assert (await caller.ask(request_of(asking("What is new?"), key))).tier == tier


async def remembers(place: Town, filled: Filled, cut: str) -> None:
    """What of the rest the gateway knows."""
    services, asked = place.services, filled.upstream.counters().get("embedded", 0)
    assert services.has_store
    assert services.semantic_state == "ready"
    assert services.recent.prices.currency == ("USD" if cut == "prices.json" else "EUR")
    if cut != EVERYBODY:
        assert await embedded(await place.connect(), filled.other["key"]) == filled.vectors
        is_asked = filled.upstream.counters().get("embedded", 0) > asked
        assert is_asked is (cut == "embeddings.db")


async def remembers_at_rest(folder: Path, filled: Filled, cut: str) -> None:
    """What the others among its files still say, and that those that were mended are sound."""
    sessions = Sessions(SECRET, "admin", file=folder / ENDED_FILE)
    assert [sessions.read(one) is not None for one in filled.cookies] == [True, cut == "sessions-ended.json"]
    used = {name: account.month.sums.requests for name, account in await BudgetFile(folder / BUDGETS).load()}
    served = {"keys/ONE.json": 3, "tenants/ONE.json": 3, "budgets.db": 5}.get(cut, 8)
    assert used.get(filled.one["tenant"]) == served
    labels = LabelStore(folder / "labels.db", per_tenant=1000)
    await labels.open()
    assert (LANE in await labels.lanes()) is (cut != "labels.db")
    await labels.close()
    in_use = Shelf(folder / "verifiers").in_use(LANE, EMBEDDER.fingerprint)
    assert (in_use.name == "shipped") is cut.startswith("verifiers")
    for name in ("answers.db", "embeddings.db", "labels.db", "budgets.db"):
        with closing(sqlite3.connect(folder / name)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), name


async def test_all_of_them_cut_one_after_the_other_keep_it_from_nothing(filled: Filled, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(filled.folder, folder)
    for path in sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != "secret" and path.stat().st_size
    ):
        halve(path)
    refused = {
        filled.one["key"]: 401,
        filled.other["key"]: 401,
        FREE: 403,
    }  # no key is known, and of nobody what it may
    async with living(folder, filled.upstream) as place:
        caller = await place.connect()
        for key, status in refused.items():
            assert (await caller.ask(request_of(asking(QUESTIONS[0]), key))).status == status
        await place.services.policies.unsay("*")
        for tier in ("full", "exact"):
            said = await caller.ask(request_of(asking(QUESTIONS[0]), FREE))
            assert (said.tier, content(said)) == (tier, filled.told[QUESTIONS[0]])


def test_half_a_secret_is_told_and_none_is_made_in_its_place(filled: Filled, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(filled.folder, folder)
    halve(folder / "secret")
    with pytest.raises(SecretLocked, match="16 bytes"):
        build(load_settings({"upstream": filled.upstream.base_url, "data_dir": folder}, environ={}))

    assert (folder / "secret").read_bytes() == (filled.folder / "secret").read_bytes()[:16]


def halve(path: Path) -> None:
    whole = path.read_bytes()
    assert len(whole) > 1, path
    path.write_bytes(whole[: len(whole) // 2])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_cannot_be_written_stays_as_it_was_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    write_whole(path, "before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (path.read_text(), names(tmp_path)) == ("before", ["prices.json"])


def test_what_a_killed_writer_left_is_swept_up_by_a_later_one(tmp_path: Path) -> None:
    old, new = tmp_path / "prices.json.abc.part", tmp_path / "prices.json.def.part"
    for part in (old, new):
        part.touch()
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    write_whole(tmp_path / "prices.json", "{}")

    assert names(tmp_path) == ["prices.json", new.name]
