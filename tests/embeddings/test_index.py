import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from embeddings.base import Vector
from embeddings.index import VectorIndex

DIM = 16


def unit(seed: int) -> Vector:
    vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


@dataclass
class Reference:
    """The same thing, by brute force."""

    rows: dict[tuple[bytes, str], tuple[Vector, str]] = field(default_factory=dict)

    def search(self, partition: bytes, vector: Vector, k: int) -> list[tuple[float, str, str]]:
        inside = [(float(row @ vector), id, text) for (name, id), (row, text) in self.rows.items() if name == partition]
        return sorted(inside, reverse=True)[:k]


def assert_same_search(index: VectorIndex, reference: Reference, partition: bytes, vector: Vector, k: int) -> None:
    found, expected = index.search(partition, vector, k), reference.search(partition, vector, k)

    assert [(c.id, c.text) for c in found] == [(id, text) for _, id, text in expected]
    assert np.allclose([c.similarity for c in found], [similarity for similarity, _, _ in expected], atol=4e-5)


@pytest.mark.parametrize("seed", range(6))
def test_random_operations_agree_with_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    index, reference = VectorIndex(DIM), Reference()
    for step in range(600):
        partition, id = b"%d" % rng.randrange(3), str(rng.randrange(40))
        if rng.random() < 0.55:
            vector, text = unit(rng.randrange(10**6)), f"text {step}"
            index.add(partition, id, vector, text)
            reference.rows[partition, id] = vector, text
        else:
            assert index.remove(partition, id) == (reference.rows.pop((partition, id), None) is not None)
        assert len(index) == len(reference.rows) == sum(index.sizes().values())
        assert_same_search(index, reference, b"%d" % rng.randrange(3), unit(step), rng.choice([1, 4, 100]))


def test_a_partition_never_sees_another() -> None:
    index = VectorIndex(DIM)
    index.add(b"a", "1", unit(1))

    assert index.search(b"b", unit(1), 5) == []
    assert [c.id for c in index.search(b"a", unit(1), 5)] == ["1"]


def test_the_same_id_may_live_in_two_partitions() -> None:
    index = VectorIndex(DIM)
    index.add(b"a", "1", unit(1))
    index.add(b"b", "1", unit(2))

    assert index.remove(b"a", "1")
    assert [c.id for c in index.search(b"b", unit(2), 5)] == ["1"]


def test_adding_an_id_again_replaces_it() -> None:
    index = VectorIndex(DIM)
    index.add(b"a", "1", unit(1), "old")
    index.add(b"a", "1", unit(2), "new")

    (only,) = index.search(b"a", unit(2), 5)
    assert (only.text, round(only.similarity, 4), len(index)) == ("new", 1.0, 1)


def test_an_empty_partition_is_freed() -> None:
    index = VectorIndex(DIM)
    index.add(b"a", "1", unit(1))
    index.remove(b"a", "1")

    assert index.sizes() == {}
    assert len(index) == 0
    assert index.search(b"a", unit(1), 1) == []


def test_clearing_forgets_one_partition_or_all() -> None:
    index = VectorIndex(DIM)
    for name in (b"a", b"b", b"c"):
        index.add(name, "1", unit(1))
        index.add(name, "2", unit(2))

    index.clear(b"a")
    index.clear(b"never there")
    assert (index.sizes(), len(index)) == ({b"b": 2, b"c": 2}, 4)
    index.clear()
    assert (index.sizes(), len(index)) == ({}, 0)


def test_ids_can_be_listed_while_they_are_removed() -> None:
    index = VectorIndex(DIM)
    for i in range(5):
        index.add(b"a", str(i), unit(i))
    for id in index.ids(b"a"):
        index.remove(b"a", id)

    assert len(index) == 0


@pytest.mark.parametrize("k", [0, -1])
def test_asking_for_nothing_gives_nothing(k: int) -> None:
    index = VectorIndex(DIM)
    index.add(b"a", "1", unit(1))

    assert index.search(b"a", unit(1), k) == []


@pytest.mark.parametrize(
    "vector",
    [np.zeros(DIM + 1, np.float32), np.zeros((1, DIM), np.float32), np.full(DIM, np.nan, np.float32)],
)
def test_a_vector_that_cannot_be_compared_is_refused(vector: Vector) -> None:
    index = VectorIndex(DIM)
    with pytest.raises(ValueError, match="vector"):
        index.add(b"a", "1", vector)
    assert index.sizes() == {}


def test_the_nearest_is_the_more_similar_not_the_less() -> None:
    index = VectorIndex(DIM)
    near, far = unit(1), -unit(1)
    index.add(b"a", "far", far)
    index.add(b"a", "near", near)

    assert [c.id for c in index.search(b"a", unit(1), 2)] == ["near", "far"]
