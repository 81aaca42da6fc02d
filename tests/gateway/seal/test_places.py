"""Small files with a key: labels, vectors of embeddings, lists of the index."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embeddings.index.lists import Trained
from embeddings.index.snapshot import Snapshots
from gateway.answers.selection import Selection
from gateway.embedded.file import FileVectors
from gateway.embedded.vector import Vector
from gateway.seal import NO_SEAL, Seal
from gateway.seal.ring import KeyRing, Opening, key_of
from gateway.semantic.labels import LabelStore, read_all
from tests.gateway.embedded.test_keeping import ROW
from tests.gateway.semantic.test_labels import LANE, SCOPE, bytes_of, label, put

ONE, TWO = KeyRing([key_of("one")]), KeyRing([key_of("two")])
BOTH = KeyRing([*TWO.keys, *ONE.keys])
KEPT = replace(ROW, vector=Vector("f", b"wombat vectors.."), tags=("zoology",), namespace="burrows")


async def labels(folder: Path, seal: Seal) -> LabelStore:
    store = LabelStore(folder / "labels.db", per_tenant=100, seal=seal)
    await store.open()
    if store._resealing is not None:
        await store._resealing
    return store


@pytest.mark.parametrize(("before", "after"), [(ONE, ONE), (NO_SEAL, ONE), (ONE, BOTH)])
async def test_words_of_labels_are_sealed_those_of_before_too(tmp_path: Path, before: Seal, after: Seal) -> None:
    said = replace(label(1, is_right=False), source="feedback", question="a wombat?", stored="the marsupial?")
    store = await labels(tmp_path, before)
    await put(store, said)
    await store.close()
    store = await labels(tmp_path, after)

    assert [kept.label for kept in await store.read(LANE)] == [said]
    assert await store.is_refused(SCOPE, "e_1", "a wombat?")
    assert not await store.is_refused(SCOPE, "e_1", "a wallaby?")
    await store.close()
    assert b"wombat" not in bytes_of(tmp_path)
    assert b"marsupial" not in bytes_of(tmp_path)
    assert [kept.label for kept in read_all(tmp_path / "labels.db", after)[LANE]] == [said]


@pytest.mark.parametrize("other", [NO_SEAL, TWO])
async def test_a_label_whose_words_do_not_open_keeps_its_numbers_and_its_words_for_later(
    tmp_path: Path, other: Seal
) -> None:
    store = await labels(tmp_path, ONE)
    await put(store, label(1))
    await store.close()
    store = await labels(tmp_path, other)

    assert [kept.label for kept in await store.read(LANE)] == [replace(label(1), question="", stored="")]
    await store.close()
    store = await labels(tmp_path, ONE)
    assert [kept.label for kept in await store.read(LANE)] == [label(1)]
    await store.close()


async def vectors(folder: Path, seal: Seal) -> FileVectors:
    file = FileVectors(folder / "embeddings.db", 1 << 20, seal)
    await file.open()
    if file._resealing is not None:
        await file._resealing
    return file


@pytest.mark.parametrize(("before", "after"), [(ONE, ONE), (NO_SEAL, ONE), (ONE, BOTH), (ONE, Opening(ONE))])
async def test_vectors_of_embeddings_are_sealed_those_of_before_too(tmp_path: Path, before: Seal, after: Seal) -> None:
    file = await vectors(tmp_path, before)
    await file.put([KEPT])
    await file.close()
    file = await vectors(tmp_path, after)

    assert await file.get([KEPT.key]) == {KEPT.key: KEPT}
    assert await file.count(Selection(tag="zoology", namespace="burrows")) == 1
    assert await file.count(Selection(tag="zoo")) == await file.count(Selection(namespace="bur")) == 0
    await file.close()
    if after.name:
        assert not any(word in bytes_of(tmp_path) for word in (b"wombat", b"zoology", b"burrows"))
    file = await vectors(tmp_path, KeyRing([key_of("a third")]))
    assert await file.get([KEPT.key]) == ({} if after.name else {KEPT.key: KEPT})
    await file.close()


def test_lists_of_the_index_are_sealed_and_made_anew_without_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    centroids = np.eye(4, dtype=np.float32)[:2]
    trained = Trained(centroids, np.zeros(8, np.float32), 1, 2, 1.0)
    ids = np.frombuffer(b"a wombat", np.uint64)
    Snapshots(tmp_path, "mini", 4, ONE).write(b"partition", trained, ids, np.zeros(1, np.int32))

    assert b"wombat" not in bytes_of(tmp_path)
    known = Snapshots(tmp_path, "mini", 4, BOTH).read()[b"partition"]
    assert (known.digests.tolist(), known.lists.tolist()) == (ids.tolist(), [0])
    with caplog.at_level(logging.WARNING):
        assert Snapshots(tmp_path, "mini", 4, TWO).read() == {}
    assert "made anew" in caplog.text
