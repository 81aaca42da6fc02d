"""What the embedder made of stored questions, kept beside them."""

import os
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.base import Reading
from embeddings.guards import near_misses
from embeddings.guards.nearness import tell
from embeddings.hashing import HashingEmbedder
from embeddings.verifier.features import facts_of, features_of
from gateway.seal import NO_SEAL, Seal
from gateway.seal.ring import KeyRing, key_of
from gateway.semantic.kept_readings import KeptReadings, Ring, pack, unpack

EMBEDDER = HashingEmbedder(32)
SCOPE = b"s" * 32


def reading(text: str) -> Reading:
    (found,) = EMBEDDER.read([text])
    return found


def test_a_kept_reading_says_what_the_fresh_one_says() -> None:
    fresh, other = EMBEDDER.read(["which river runs through paris", "what river runs through berlin"])
    packed = pack(fresh)
    assert packed is not None

    (kept,) = unpack([packed], [fresh.text])

    assert kept is not None
    assert (kept.text, kept.pieces) == (fresh.text, fresh.pieces)
    assert kept.vector == pytest.approx(fresh.vector, abs=0)
    assert features_of(kept, other) == pytest.approx(features_of(fresh, other), abs=1e-4)


def test_a_reading_of_other_words_is_not_found(tmp_path: Path) -> None:
    readings = KeptReadings(tmp_path)
    readings.keep(SCOPE, "e_1", reading("open the door"))

    assert readings.find(SCOPE, [("e_1", "open the window")]) == [None]
    assert readings.find(b"t" * 32, [("e_1", "open the door")]) == [None]
    assert readings.find(SCOPE, [("e_1", "open the door")]) != [None]


def test_what_memory_has_no_room_for_is_in_a_file_without_a_name(tmp_path: Path) -> None:
    readings = KeptReadings(tmp_path, memory_bytes=2000)
    texts = [f"open door number {n} please" for n in range(50)]
    for text in texts:
        readings.keep(SCOPE, text, reading(text))

    found = readings.find(SCOPE, [(text, text) for text in texts])

    assert [one.text for one in found if one is not None] == texts
    assert list(tmp_path.iterdir()) == []


def test_what_is_dropped_is_nowhere_any_more(tmp_path: Path) -> None:
    ring = Ring(tmp_path, 1000)
    ring.put((SCOPE, "e_1"), b"secret" * 10)
    ring.put((SCOPE, "e_2"), b"other" * 10)

    ring.drop((SCOPE, "e_1"))

    assert ring.get((SCOPE, "e_1")) is None
    assert ring._file is not None
    assert os.pread(ring._file, 1000, 0) == bytes(60) + b"other" * 10


def test_a_seal_covers_what_lies_on_the_disk(tmp_path: Path) -> None:
    readings = KeptReadings(tmp_path, KeyRing([key_of("one")]), memory_bytes=0)
    readings.keep(SCOPE, "e_1", reading("open the door"))

    assert readings._far is not None
    written = readings._far.get((SCOPE, "e_1"))

    assert written is not None
    assert b"door" not in written
    assert readings.find(SCOPE, [("e_1", "open the door")]) != [None]


def test_what_is_found_together_is_what_is_found_one_by_one(tmp_path: Path) -> None:
    readings = KeptReadings(tmp_path, memory_bytes=2000)
    texts = [*(f"open door number {n} " * (1 + n % 4) for n in range(8)), "caf\u00e9 \ud800", ""]
    for text in texts:
        readings.keep(SCOPE, text, reading(text))
    asked = [("nothing of this name", "?"), *((text, text) for text in texts), (texts[0], "of other words")]

    together = readings.find(SCOPE, asked)

    for one, pair in zip(together, asked, strict=True):
        (alone,) = readings.find(SCOPE, [pair])
        assert (one is None) == (alone is None)
        if one is not None and alone is not None:
            assert (one.text, one.pieces) == (alone.text, alone.pieces)
            assert (one.vector == alone.vector).all()
            assert (one.states == alone.states).all()
            assert one.vector == pytest.approx(reading(one.text).vector, abs=0)


@pytest.mark.parametrize("seal", [NO_SEAL, KeyRing([key_of("one")])], ids=["plain", "sealed"])
def test_looking_writes_nothing(tmp_path: Path, seal: Seal) -> None:
    readings = KeptReadings(tmp_path, seal, memory_bytes=2000)
    asked = [(text, text) for text in (f"open door number {n} please" for n in range(50))]
    for name, text in asked:
        readings.keep(SCOPE, name, reading(text))
    assert readings._far is not None
    assert readings._far._file is not None
    readings.find(SCOPE, asked)  # what memory had to itself may have to go for what is unsealed
    written = readings._far._end, os.pread(readings._far._file, 1 << 20, 0)

    for _ in range(3):
        assert None not in readings.find(SCOPE, asked)

    assert (readings._far._end, os.pread(readings._far._file, 1 << 20, 0)) == written


def test_without_a_folder_that_can_be_written_memory_goes_on(tmp_path: Path) -> None:
    readings = KeptReadings(tmp_path / "is not here")

    readings.keep(SCOPE, "e_1", reading("open the door"))

    assert readings.find(SCOPE, [("e_1", "open the door")]) != [None]


@given(steps=st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 9), st.integers(1, 60)), max_size=80))
def test_a_ring_gives_back_what_was_put_or_nothing(
    steps: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ring, known = Ring(tmp_path_factory.getbasetemp(), 200), dict[int, bytes]()
    for what, name, size in steps:
        key = (SCOPE, str(name))
        if what == "p":
            value = os.urandom(size)
            ring.drop(key)
            ring.put(key, value)
            known[name] = value
        elif what == "d":
            ring.drop(key)
            known.pop(name, None)
        assert ring.get(key) in (known.get(name), None)
        if what == "p":
            assert ring.get(key) == known[name]  # the newest is there
    ring.close()


def test_long_texts_and_texts_without_pieces_are_read_again() -> None:
    assert pack(reading("word " * 200)) is None
    assert pack(Reading("", np.ones(4, np.float32), (), np.zeros((0, 4), np.float32))) is None


@given(
    text=st.text(max_size=60),
    other=st.sampled_from(["turn on 3 lamps in Oslo", "don't list the US cities", "请打开灯"]),
)
def test_what_was_read_of_words_is_the_same_when_it_is_put_back(text: str, other: str) -> None:
    before = near_misses(text, other)
    facts = facts_of(text)

    tell(text, orjson.loads(facts)[1])

    assert near_misses(text, other) == before
    assert facts_of(text) == facts
