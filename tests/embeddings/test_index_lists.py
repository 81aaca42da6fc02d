"""A partition with lists: what a search says is what the rows say, whatever happens in the background."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embeddings.index import VectorIndex
from embeddings.index.snapshot import DIGEST_BYTES, FORMAT

DIM = 32
FLAT = 200  # rows: beyond, lists are made, as beyond 4,096 in the product
ROUNDED = 2e-5  # a row is 16-bit integers; the more dimensions it has, the less it matters
NAME = b"large"
ROOT = Path(__file__).resolve().parents[2]

Matrix = NDArray[np.float32]


def clustered(count: int, seed: int, spread: float = 0.8) -> Matrix:
    """Unit vectors around forty directions."""
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(7).standard_normal((40, DIM), dtype=np.float32)
    rows = middles[rng.integers(0, 40, count)] + spread * rng.standard_normal((count, DIM), dtype=np.float32)
    unit: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def filled(rows: Matrix, index: VectorIndex | None = None) -> VectorIndex:
    index = VectorIndex(DIM, flat_rows=FLAT) if index is None else index
    for number, row in enumerate(rows):
        index.add(NAME, str(number), row)
    return index


def settled(index: VectorIndex) -> VectorIndex:
    deadline = time.monotonic() + 30
    while not index.settle():
        assert time.monotonic() < deadline, "lists are not ready"
        time.sleep(0.001)
    return index


@pytest.fixture(scope="module")
def rows() -> Matrix:
    return clustered(3000, 1)


@pytest.fixture
def large(rows: Matrix) -> Iterator[VectorIndex]:
    index = settled(filled(rows))
    assert index.probes()[NAME] > 0
    yield index
    index.close()


def exact(rows: dict[str, NDArray[np.float32]], query: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
    found = sorted((-float(row @ query), id) for id, row in rows.items())
    return [(id, -score) for score, id in found[:k]]


def test_of_the_eight_nearest_nearly_all_are_found_and_scores_are_exact(large: VectorIndex, rows: Matrix) -> None:
    queries, hits = clustered(200, 2), 0
    for query in queries:
        scores = rows @ query
        found = large.search(NAME, query, 8)
        hits += len({c.id for c in found} & {str(slot) for slot in np.argsort(-scores)[:8]})
        assert np.allclose([c.similarity for c in found], [scores[int(c.id)] for c in found], atol=ROUNDED)
        assert [c.similarity for c in found] == sorted((c.similarity for c in found), reverse=True)
    assert hits / (8 * len(queries)) >= 0.99


def test_scores_are_the_same_to_the_bit_with_and_without_lists(large: VectorIndex, rows: Matrix) -> None:
    flat = filled(rows, VectorIndex(DIM))
    for query in clustered(20, 3):
        scores = {c.id: c.similarity for c in flat.search(NAME, query, len(rows))}
        assert all(scores[c.id] == c.similarity for c in large.search(NAME, query, 8))


def test_who_asks_for_more_than_lists_are_good_for_has_every_row_looked_at(large: VectorIndex, rows: Matrix) -> None:
    query = clustered(1, 4)[0]
    found = [int(c.id) for c in large.search(NAME, query, 1000)]

    assert len(set(found)) == 1000
    assert np.allclose(rows[found] @ query, np.sort(rows @ query)[::-1][:1000], atol=ROUNDED)


def test_what_is_removed_is_not_found_again_and_what_is_added_is_found_at_once(
    large: VectorIndex, rows: Matrix
) -> None:
    for number in range(0, 3000, 7):
        assert large.remove(NAME, str(number))
        assert str(number) not in {c.id for c in large.search(NAME, rows[number], 8)}
    for number, row in enumerate(clustered(50, 5)):
        large.add(NAME, f"new {number}", row)
        assert large.search(NAME, row, 1)[0].id == f"new {number}"


def test_an_id_that_gets_another_vector_is_found_by_it_and_not_by_the_old(large: VectorIndex, rows: Matrix) -> None:
    new = clustered(1, 6)[0]
    large.add(NAME, "17", new)

    (found,) = large.search(NAME, new, 1)
    assert (found.id, round(found.similarity, 5)) == ("17", 1.0)
    assert "17" not in {c.id for c in large.search(NAME, rows[17], 3)}
    assert len(large) == 3000


def test_two_that_are_as_near_come_in_the_order_of_their_ids() -> None:
    row = clustered(1, 8)[0]
    for order in (range(400), reversed(range(400))):
        index = VectorIndex(DIM, flat_rows=10**6)
        for number in order:
            index.add(NAME, f"{number:03d}", row)
        assert [c.id for c in index.search(NAME, row, 3)] == ["000", "001", "002"]


def test_the_same_calls_find_the_same_candidates(large: VectorIndex, rows: Matrix) -> None:
    again = VectorIndex(DIM, flat_rows=FLAT)
    again.open("")
    filled(rows, again).start()
    other = VectorIndex(DIM, flat_rows=FLAT)
    other.open("")
    filled(rows, other).start()
    settled(again)
    settled(other)

    assert again.probes() == other.probes()
    for query in clustered(100, 9):
        assert again.search(NAME, query, 8) == other.search(NAME, query, 8)
    again.close()
    other.close()


@pytest.mark.parametrize("seed", range(3))
def test_random_writes_while_lists_are_made_lose_nothing(seed: int) -> None:
    """Against a plain dictionary: what is reported is there, with its own score, and a row always finds itself."""
    rng, index, model = random.Random(seed), VectorIndex(DIM, flat_rows=FLAT), dict[str, NDArray[np.float32]]()
    pool = clustered(4000, seed + 10)
    seen: set[bool] = set()
    hits = asked = 0
    for step in range(3000):
        id = str(rng.randrange(1200))
        is_growing = (step // 1000) % 2 == 0
        if rng.random() < (0.85 if is_growing else 0.25):
            index.add(NAME, id, pool[step])
            model[id] = pool[step]
        else:
            assert index.remove(NAME, id) == (model.pop(id, None) is not None)
        assert len(index) == len(model)
        if step % 20 == 0 and model:
            seen.add(bool(index.probes()))
            query = pool[rng.randrange(4000)]
            found, true = index.search(NAME, query, 8), exact(model, query, 8)
            assert all(abs(c.similarity - float(model[c.id] @ query)) < ROUNDED for c in found)
            hits, asked = hits + len({c.id for c in found} & {id for id, _ in true}), asked + len(true)
            own = rng.choice(sorted(model))
            assert index.search(NAME, model[own], 1)[0].similarity == pytest.approx(1.0, abs=ROUNDED)
        if step % 500 == 499:
            settled(index)
    assert seen == {True, False}
    assert hits / asked >= 0.98
    for id in list(model):
        assert index.remove(NAME, id)
    assert (len(index), index.sizes(), index.nbytes) == (0, {}, 0)


def test_lists_are_made_anew_when_the_partition_has_doubled(large: VectorIndex) -> None:
    part = large._partitions[NAME]
    assert part._lists is not None
    before = part._lists.trained.num_rows
    for number, row in enumerate(clustered(2 * before, 11)):
        large.add(NAME, f"more {number}", row)
    settled(large)

    assert part._lists.trained.num_rows >= 2 * before


def test_lists_are_made_anew_when_new_rows_crowd_into_few(large: VectorIndex) -> None:
    part = large._partitions[NAME]
    assert part._lists is not None
    crowd = clustered(1, 16) + 0.1 * clustered(2900, 17)
    for number, row in enumerate(crowd / np.linalg.norm(crowd, axis=1, keepdims=True)):
        large.add(NAME, f"crowd {number}", row)
    settled(large)

    assert 3000 < part._lists.trained.num_rows < 6000


def test_a_partition_that_shrinks_is_searched_row_by_row_again(large: VectorIndex, rows: Matrix) -> None:
    for number in range(FLAT // 2 - 1, 3000):
        large.remove(NAME, str(number))
    settled(large)

    assert large.probes() == {}
    assert large.search(NAME, rows[3], 1)[0].id == "3"


def test_where_rows_have_no_neighbours_to_speak_of_as_many_lists_are_read_as_it_takes() -> None:
    rows = np.random.default_rng(21).standard_normal((2000, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index, hits = settled(filled(rows)), 0
    for query in rows[:100] + rows[100:200]:
        hits += len({c.id for c in index.search(NAME, query, 8)} & {str(i) for i in np.argsort(-(rows @ query))[:8]})

    assert hits / 800 >= 0.98
    index.close()


def test_clearing_in_the_middle_of_a_build_leaves_nothing_behind(rows: Matrix) -> None:
    index = filled(rows)
    index.clear(NAME)
    filled(rows[:50], index)

    assert settled(index).sizes() == {NAME: 50}
    assert index.search(NAME, rows[3], 1)[0].id == "3"
    index.close()


# -- budget ----------------------------------------------------------------------------------------------------------


def test_a_row_takes_two_bytes_a_number_and_little_beside(rows: Matrix) -> None:
    index = filled(rows, VectorIndex(DIM, flat_rows=10**6))
    for number in range(0, 3000, 3):
        index.remove(NAME, str(number))

    assert index.nbytes <= len(index) * (2 * DIM + 32) + 512 * (2 * DIM + 32) + 1000
    index.close()


def test_past_the_budget_what_is_found_least_goes_and_is_counted(rows: Matrix) -> None:
    index = VectorIndex(DIM, budget_bytes=60_000)
    for number, row in enumerate(rows[:1000]):
        index.add(b"idle" if number % 2 else b"busy", str(number), row)
        index.search(b"busy", rows[0], 1)

    assert index.nbytes <= 60_000
    assert len(index) + index.num_let_go == 1000
    assert index.search(b"busy", rows[0], 1)[0].id == "0"
    assert len(list(index.ids(b"idle"))) < len(list(index.ids(b"busy")))


# -- snapshots -------------------------------------------------------------------------------------------------------


@pytest.fixture
def reopened(rows: Matrix, tmp_path: Path) -> Callable[..., VectorIndex]:
    first = VectorIndex(DIM, flat_rows=FLAT, snapshots=tmp_path)
    first.open("embedder 1")
    filled(rows, first).start()
    settled(first)
    first.close()

    def reopen(rows: Matrix = rows, fingerprint: str = "embedder 1") -> VectorIndex:
        index = VectorIndex(DIM, flat_rows=FLAT, snapshots=tmp_path)
        index.open(fingerprint)
        filled(rows, index).start()
        return settled(index)

    return reopen


def trained_rows(index: VectorIndex) -> int:
    lists = index._partitions[NAME]._lists
    assert lists is not None
    return lists.trained.num_rows


def test_a_start_uses_what_was_trained_before(reopened: Callable[..., VectorIndex], rows: Matrix) -> None:
    more = np.concatenate([rows, clustered(500, 13)])
    index = reopened(more)

    assert trained_rows(index) == 3000  # not 3,500: nothing was trained
    for number in (0, 1500, 2999, 3200):
        assert index.search(NAME, more[number], 1)[0].id == str(number)


def test_training_for_another_embedder_or_other_rows_is_not_used(
    reopened: Callable[..., VectorIndex], rows: Matrix
) -> None:
    assert trained_rows(reopened(clustered(3100, 14), "embedder 2")) == 3100
    assert trained_rows(reopened(np.concatenate([rows[:10], clustered(9000, 15)]), "embedder 2")) == 9010


@pytest.mark.parametrize("at", [5, 40, 3000, -1])
def test_a_damaged_snapshot_is_as_good_as_none(
    reopened: Callable[..., VectorIndex], rows: Matrix, tmp_path: Path, at: int
) -> None:
    (path,) = tmp_path.glob("*.lists")
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    index = reopened(rows[:2500])

    assert trained_rows(index) == 2500
    assert index.search(NAME, rows[77], 1)[0].id == "77"


@pytest.mark.parametrize("written", ["lists1", "lists3"])
def test_a_whole_snapshot_of_another_version_is_as_good_as_none(
    reopened: Callable[..., VectorIndex], rows: Matrix, tmp_path: Path, written: str
) -> None:
    (path,) = tmp_path.glob("*.lists")
    body = path.read_bytes()[DIGEST_BYTES:].replace(FORMAT.encode(), written.encode(), 1)
    path.write_bytes(blake2b(body, digest_size=DIGEST_BYTES).digest() + body)
    index = reopened(rows[:2500])

    assert trained_rows(index) == 2500
    assert index.search(NAME, rows[77], 1)[0].id == "77"


def test_what_was_trained_for_a_partition_that_is_gone_is_deleted(
    reopened: Callable[..., VectorIndex], rows: Matrix, tmp_path: Path
) -> None:
    assert [path.suffix for path in tmp_path.iterdir()] == [".lists"]
    reopened(rows[:50]).close()

    assert list(tmp_path.iterdir()) == []


def test_each_snapshot_is_a_generation_and_leaves_no_half_file(
    reopened: Callable[..., VectorIndex], tmp_path: Path
) -> None:
    from embeddings.index.snapshot import _opened

    (path,) = tmp_path.glob("*")
    before = int(_opened(path.read_bytes())[0]["generation"])
    reopened().close()

    assert [p.suffix for p in tmp_path.iterdir()] == [".lists"]
    assert int(_opened(path.read_bytes())[0]["generation"]) == before + 1
    assert path.stat().st_mode & 0o077 == 0


def test_a_process_may_end_in_the_middle_of_a_build() -> None:
    script = (
        "import numpy as np; from embeddings.index import VectorIndex\n"
        "index = VectorIndex(64, flat_rows=100)\n"
        "for number, row in enumerate(np.random.default_rng(0).standard_normal((3000, 64), dtype=np.float32)):\n"
        "    index.add(b'a', str(number), row)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
