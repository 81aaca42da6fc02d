"""The file of labels: what is put comes back in order, stays private, and loses its words when the entry goes."""

import sqlite3
import stat
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from embeddings.control import Label
from gateway.answers.base import CacheError
from gateway.semantic.labels import FEWEST_FEATURES, Given, LabelStore, read_all
from gateway.semantic.rule import LaneKey

LANE, OTHER = LaneKey("t", "default"), LaneKey("u", "default")
SCOPE = b"s" * 32
FEATURES = (1.0, *[0.1] * (FEWEST_FEATURES - 1))


def label(number: int, *, entry: str = "e_1", is_right: bool = True) -> Label:
    was_hit, corrects = number % 2 == 1, number % 3 == 1
    return Label(
        f"question {number}", "stored", entry, is_right, "shadow", 0.25, FEATURES, number < 9, float(number),
        was_hit, corrects,
    )  # fmt: skip


async def opened(folder: Path, per_tenant: int = 1000) -> LabelStore:
    store = LabelStore(folder / "labels.db", per_tenant=per_tenant)
    await store.open()
    return store


async def put(store: LabelStore, *labels: Label, lane: LaneKey = LANE, until_s: float | None = None) -> None:
    for one in labels:
        await store.put(Given(lane, SCOPE, one, until_s))


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_labels_come_back_as_they_were_in_order_after_a_restart_and_to_their_lane_alone(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await put(store, *map(label, range(5)))
    await put(store, label(9), lane=OTHER)
    await store.close()

    store = await opened(tmp_path)
    assert [kept.label for kept in await store.read(LANE)] == [label(number) for number in range(5)]
    assert await store.lanes() == {LANE: 5, OTHER: 1}
    await store.close()
    assert [kept.label for kept in read_all(tmp_path / "labels.db")[OTHER]] == [label(9)]


async def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    store = await opened(tmp_path / "new")
    await put(store, label(1))

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    assert modes["labels.db"] == 0o600
    assert all(mode & 0o077 == 0 for mode in modes.values())
    await store.close()


async def test_words_go_with_their_entry_and_the_numbers_stay(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await put(store, label(1, is_right=False), label(2, entry="e_2"))

    assert await store.forget(b"another scope", ["e_1"]) == 0
    assert await store.forget(SCOPE, ["e_1"]) == 1
    first, second = [kept.label for kept in await store.read(LANE)]
    assert (first.question, first.stored, first.is_right, first.probability) == ("", "", False, 0.25)
    assert second.question == "question 2"
    await store.close()
    assert b"question 1" not in bytes_of(tmp_path)


async def test_words_end_when_the_answers_would_have(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await put(store, label(1), until_s=time.time() - 1)
    await put(store, label(2), until_s=time.time() + 60)
    await put(store, label(3))

    assert await store.tidy() == 1
    assert [kept.label.question for kept in await store.read(LANE)] == ["", "question 2", "question 3"]
    await store.close()


async def test_a_tenants_oldest_labels_go_when_there_are_too_many(tmp_path: Path) -> None:
    store = await opened(tmp_path, per_tenant=10)
    await put(store, label(0), lane=OTHER)
    await put(store, *map(label, range(600)))

    numbers = [kept.label.at_s for kept in await store.read(LANE)]
    assert len(numbers) < 300
    assert numbers[-1] == 599
    await store.close()


async def test_a_broken_file_is_set_aside_and_a_strangers_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    path.write_bytes(b"not a database" * 1000)
    store = await opened(tmp_path)
    await put(store, label(1))
    await store.close()
    assert b"not a database" in bytes_of(tmp_path)

    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(CacheError, match="schema"):
        await LabelStore(tmp_path / "other.db", per_tenant=1).open()


async def test_features_that_a_lane_counts_no_more_are_dropped_and_make_no_hit_by_bare_form(tmp_path: Path) -> None:
    path, wording = tmp_path / "labels.db", replace(label(4), features=())
    store = await opened(tmp_path)
    await put(store, label(1), wording)
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")  # features of an older kind may be as many
    blank = replace(label(1), features=(), was_eligible=False)
    assert [kept.label for kept in read_all(path)[LANE]] == [blank, wording]

    store = await opened(tmp_path)
    await put(store, label(2))
    assert [kept.label for kept in await store.read(LANE)] == [blank, wording, label(2)]
    await store.close()
    assert [kept.label for kept in read_all(path)[LANE]] == [blank, wording, label(2)]


@pytest.mark.parametrize("features", [(1.0,), (float("nan"), *FEATURES[1:]), (*FEATURES, float("inf"))])
async def test_features_that_would_break_a_lane_are_not_read(tmp_path: Path, features: tuple[float, ...]) -> None:
    store = await opened(tmp_path)
    await put(store, replace(label(1), features=features))
    (kept,) = await store.read(LANE)
    await store.close()

    assert kept.label == replace(label(1), features=(), was_eligible=False)


async def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"labels\.db"):
        read_all(tmp_path / "labels.db")
