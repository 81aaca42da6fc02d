import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtier.keys import ID_BYTES, pack
from kvtier.prefix import Node, PrefixIndex

ROOT = b"root"


def index_of(*children: list[int]) -> PrefixIndex:
    """An index whose children of the root are blocks 0, 1, ..."""
    index = PrefixIndex()
    for block, ids in enumerate(children):
        index.add(Node(block, b"key %d" % block, ROOT, 0, pack(ids)))
    return index


def test_the_run_ends_at_the_first_unknown_key() -> None:
    index = index_of([1, 2])
    index.add(Node(7, b"second", b"key 0", 1, pack([3, 4])))

    assert index.longest_run([b"key 0", b"second", b"third"], pack([1, 2, 3, 4, 5, 6]), 8) == [0, 7]


def test_a_known_key_over_other_token_ids_is_no_hit() -> None:
    assert index_of([1, 2]).longest_run([b"key 0"], pack([1, 9]), 8) == []


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ([1, 2, 3, 9], (0, 3)),
        ([1, 2, 4, 4], (1, 3)),
        ([1, 2, 4, 5], (1, 4)),
        ([1, 2], (0, 2)),
        ([1, 2, 9, 9], (1, 2)),
        ([2, 6, 6, 6], (2, 1)),
        ([9, 9, 9, 9], None),
        ([], None),
    ],
)
def test_the_child_sharing_most_rows_is_found(prompt: list[int], found: tuple[int, int] | None) -> None:
    index = index_of([1, 2, 3, 4], [1, 2, 4, 5], [2, 2, 2, 2])

    assert index.nearest_child(ROOT, pack(prompt)) == found


@given(st.lists(st.lists(st.integers(0, 600), min_size=1, max_size=4), max_size=12), st.lists(st.integers(0, 600)))
def test_no_child_shares_more_rows_than_the_nearest(children: list[list[int]], prompt: list[int]) -> None:
    index = index_of(*children)
    shared = [
        next((i for i, (a, b) in enumerate(zip(ids, prompt, strict=False)) if a != b), min(len(ids), len(prompt)))
        for ids in children
    ]
    found = index.nearest_child(ROOT, pack(prompt))

    assert (found[1] if found else 0) == max(shared, default=0)


@pytest.mark.parametrize(
    ("ids", "replaced"), [([1, 2, 3], 0), ([1, 2], None), ([1], None), ([1, 3, 3], None), ([5, 5, 5, 5, 5], 1)]
)
def test_only_a_true_beginning_is_replaced(ids: list[int], replaced: int | None) -> None:
    assert index_of([1, 2], [5, 5]).beginning_of(ROOT, pack(ids)) == replaced


def test_a_block_with_children_is_not_removed() -> None:
    index = index_of([1, 2])
    index.add(Node(7, b"second", b"key 0", 1, pack([3, 4])))

    with pytest.raises(RuntimeError, match="has children"):
        index.remove(0)
    index.remove(7)
    index.remove(0)
    assert not len(index)
    assert index.nearest_child(ROOT, pack([1, 2])) is None


def test_a_key_is_indexed_once() -> None:
    index = index_of([1, 2])

    with pytest.raises(RuntimeError, match="twice"):
        index.add(Node(5, b"key 0", ROOT, 0, pack([1, 2])))


def test_a_block_beside_its_own_beginning_is_reported() -> None:
    with pytest.raises(RuntimeError, match="block 1 is the beginning of block 0"):
        index_of([1, 2, 3], [1, 2]).check()


def test_a_chain_broken_in_the_middle_is_reported() -> None:
    index = PrefixIndex()
    index.add(Node(3, b"orphan", b"nobody", 1, bytes(2 * ID_BYTES)))

    with pytest.raises(RuntimeError, match="block 3 at depth 1 lost its parent"):
        index.check()
