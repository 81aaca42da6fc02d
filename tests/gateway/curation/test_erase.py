"""What was learned of a tenant goes with it: labels, verifiers, commonplaces, and what is being compared just then."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.control import Label
from gateway.curation.erase import Erasure, Whom
from gateway.curation.invalidate import Invalidation
from gateway.semantic.commonplaces import Commonplaces
from gateway.semantic.labels import FEWEST_FEATURES, Given, LabelStore
from gateway.semantic.rule import LaneKey
from gateway.semantic.shelf import Shelf, shipped
from gateway.services import build
from gateway.settings import load_settings
from gateway.shared.erasures import whom_of
from tests.gateway.embedded.test_keeping import ROW
from tests.gateway.house import house

FEATURES = (1.0, *[0.1] * (FEWEST_FEATURES - 1))
MINE, YOURS = LaneKey("me", "default"), LaneKey("you", "default")


def given(lane: LaneKey, question: str, at_s: float = 1.0) -> Given:
    label = Label(question, f"stored {question}", "e_1", True, "shadow", 0.5, FEATURES, True, at_s, False, False)
    return Given(lane, b"s" * 32, label)


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def labels_of(folder: Path) -> LabelStore:
    store = LabelStore(folder / "labels.db", per_tenant=1000)
    await store.open()
    await store.put(given(MINE, "Quetzalfeather"))
    await store.put(given(YOURS, "Xylograph"))
    return store


async def test_labels_of_a_tenant_are_deleted_and_leave_no_word_behind(tmp_path: Path) -> None:
    store = await labels_of(tmp_path)

    assert await store.erase("me") == 1
    assert await store.is_purged()

    assert await store.lanes() == {YOURS: 1}
    assert b"Quetzal" not in bytes_of(tmp_path)
    assert b"Xylograph" in bytes_of(tmp_path)
    await store.close()


async def test_where_only_words_are_meant_the_numbers_stay(tmp_path: Path) -> None:
    store = await labels_of(tmp_path)

    assert await store.blank("me") == 1
    assert await store.blank("me") == 0
    assert await store.is_purged()

    assert [kept.label.features for kept in await store.read(MINE)] == [FEATURES]
    assert b"Quetzal" not in bytes_of(tmp_path)
    await store.close()


async def test_labels_older_than_they_may_be_are_deleted(tmp_path: Path) -> None:
    store = await labels_of(tmp_path)
    await store.put(given(MINE, "a newer one", at_s=2.0))

    assert await store.drop_before(1.5) == 2

    assert await store.lanes() == {MINE: 1}
    await store.close()


def test_verifiers_of_a_lane_go_and_anothers_stay(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for lane in (MINE, YOURS):
        shelf.put(lane, shipped("hashing"), "hashing")

    assert shelf.erase(MINE) == 1
    assert shelf.erase(MINE) == 0
    assert shelf.versions(MINE) == []
    assert len(shelf.versions(YOURS)) == 1


def test_commonplaces_of_a_tenant_are_forgotten() -> None:
    places = Commonplaces()
    for lane in (MINE, YOURS):
        for number in range(4):
            places.note(lane, b"sorry", np.eye(4, dtype=np.float32)[number])

    places.forget("me")

    assert not places.has(MINE, b"sorry")
    assert places.has(YOURS, b"sorry")
    assert len(places) == 1


async def test_an_erased_tenants_vectors_and_labels_are_gone_from_the_tier(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        await one.chat("How do I boil an egg?", tenant="me")
        await one.chat("How do I boil an egg?", tenant="you")
        async with asyncio.timeout(10):
            while one.semantic.num_vectors < 2:  # noqa: ASYNC110 - learned behind the answers
                await asyncio.sleep(0.01)
        await one.labels.put(given(MINE, "Quetzalfeather"))

        told = await one.semantic.erase("me", ("default",), words_only=False)

        assert told["labels"] == 1
        assert await one.labels.lanes() == {}
        assert MINE not in one.semantic.lanes._held


async def test_what_a_gateway_learned_goes_when_it_erases_what_only_it_has(tmp_path: Path) -> None:
    flags = {"data_dir": tmp_path / "data", "upstream": "http://127.0.0.1:9", "cache": {"semantic": False}}
    services = build(load_settings(flags, environ={}))
    async with services.opened(), house(tmp_path) as one:
        for lane in (MINE, YOURS):
            await one.labels.put(given(lane, "Quetzalfeather"))
        invalidation = Invalidation(one.answers, one.semantic, one.ledger)
        parts = services.embeddings, services.engines, services.keys
        erasure = Erasure(one.answers, invalidation, *parts, tmp_path, semantic=one.semantic)

        done = await erasure.run_here(("me",), Whom("me"))

        assert (done.counts["labels"], done.pending) == (1, [])
        assert await one.labels.lanes() == {YOURS: 1}


async def test_another_gateways_vectors_of_texts_go_when_it_hears_of_an_erasure(tmp_path: Path) -> None:
    flags = {"data_dir": tmp_path / "data", "upstream": "http://127.0.0.1:9", "cache": {"semantic": False}}
    services = build(load_settings(flags, environ={}))
    async with services.opened():
        tagged = replace(ROW, key=b"t" * 32, tenant="me", tags=("user-7",))
        rows = [tagged, replace(ROW, key=b"m" * 32, tenant="me"), replace(ROW, key=b"y" * 32, tenant="you")]
        file = services.embeddings.file
        assert file is not None
        await file.put(rows)
        services.embeddings.memory.put(rows)

        letter: dict[str, Any] = {"tenants": ["me"], "words_only": True}
        letters = [letter, {**letter, "tenant": None, "tag": "user-7"}, {"tenants": ["me"], "words_only": False}]
        left = []
        for said in letters:
            account = await services.erasure.run_here(said["tenants"], whom_of(said))
            left.append((account.counts["embeddings"], len(services.embeddings.memory)))
        await file.put(rows[:2])
        report = await services.erasure.run(Whom("me"))

        assert left == [(0, 3), (1, 2), (1, 1)]
        assert list(await file.get([row.key for row in rows])) == [b"y" * 32]
        assert report.account.counts["embeddings"] == 2
