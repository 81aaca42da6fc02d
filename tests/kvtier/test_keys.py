import subprocess
import sys
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtier.geometry import KVGeometry
from kvtier.keys import Chain, block_keys, chain_root, count_common_ids, pack

GEOMETRY = KVGeometry(30, 3, 64, "bfloat16")
ROOT = chain_root(b"secret", "model", "tokenizer", GEOMETRY, "salt")
IDS = st.lists(st.integers(0, 3), max_size=24)


@pytest.mark.parametrize(
    "other",
    [
        chain_root(b"other", "model", "tokenizer", GEOMETRY, "salt"),
        chain_root(b"secret" * 20, "model", "tokenizer", GEOMETRY, "salt"),
        chain_root(b"secret", "other", "tokenizer", GEOMETRY, "salt"),
        chain_root(b"secret", "model", "other", GEOMETRY, "salt"),
        chain_root(b"secret", "model", "tokenizer", replace(GEOMETRY, dtype="float16"), "salt"),
        chain_root(b"secret", "model", "tokenizer", replace(GEOMETRY, block_tokens=16), "salt"),
        chain_root(b"secret", "model", "tokenizer", GEOMETRY, "other"),
        chain_root(b"secret", "model", "tokenizer", GEOMETRY, ""),
        chain_root(b"secret", "modelt", "okenizer", GEOMETRY, "salt"),
    ],
)
def test_whatever_changes_a_row_changes_the_root(other: bytes) -> None:
    assert len(other) == 32
    assert other != ROOT
    assert set(block_keys(other, range(64), 32)).isdisjoint(block_keys(ROOT, range(64), 32))


def test_without_a_secret_there_is_no_root() -> None:
    with pytest.raises(ValueError, match="secret"):
        chain_root(b"", "model", "tokenizer", GEOMETRY, "salt")


def test_a_key_is_the_keyed_hash_of_its_parent_and_its_little_endian_ids() -> None:
    first = blake2b(ROOT + bytes([1, 0, 0, 0, 0, 1, 0, 0]), key=ROOT, digest_size=32).digest()
    second = blake2b(first + bytes([2, 0, 0, 0, 3, 0, 0, 0]), key=ROOT, digest_size=32).digest()

    assert block_keys(ROOT, [1, 256, 2, 3, 9], 2) == [first, second]


@pytest.mark.parametrize(("num_tokens", "num_keys"), [(0, 0), (31, 0), (32, 1), (63, 1), (64, 2)])
def test_only_full_blocks_have_keys(num_tokens: int, num_keys: int) -> None:
    assert len(block_keys(ROOT, range(num_tokens), 32)) == num_keys


def test_one_token_changes_the_key_of_its_block_and_of_all_after_it() -> None:
    ids = list(range(12))
    changed = [*ids[:5], 99, *ids[6:]]
    same = [a == b for a, b in zip(block_keys(ROOT, ids, 4), block_keys(ROOT, changed, 4), strict=True)]

    assert same == [True, False, False]


def test_equal_blocks_after_unlike_parents_have_unlike_keys() -> None:
    keys = block_keys(ROOT, [7, 7, 7, 7, 7, 7], 2)

    assert len(set(keys)) == 3


@pytest.mark.parametrize("bad", [-1, 2**32])
def test_an_id_beyond_u32_is_refused(bad: int) -> None:
    with pytest.raises(OverflowError):
        pack([bad])


@given(IDS, IDS, st.integers(1, 5))
def test_a_chain_agrees_with_hashing_from_the_start(before: list[int], after: list[int], block_tokens: int) -> None:
    chain = Chain(ROOT, block_tokens)
    for ids in (before, before + after, after, before):
        assert chain.keys(pack(ids)) == block_keys(ROOT, ids, block_tokens)


def test_a_growing_chain_keeps_the_keys_it_has() -> None:
    chain = Chain(ROOT, 2)
    early = chain.keys(pack([1, 2, 3, 4]))
    later = chain.keys(pack([1, 2, 3, 4, 5, 6]))

    assert all(a is b for a, b in zip(early, later, strict=False))


@given(IDS, IDS)
def test_common_ids_are_counted_whole(one: list[int], other: list[int]) -> None:
    expected = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))

    assert count_common_ids(pack(one), pack(other)) == expected


def test_ids_that_share_some_bytes_are_not_equal() -> None:
    assert count_common_ids(pack([1, 0x0102]), pack([1, 0x0202])) == 1


def test_keys_are_the_same_in_another_process() -> None:
    script = (
        "from kvtier.keys import *; from kvtier.geometry import KVGeometry as G;"
        "r = chain_root(b'secret', 'model', 'tokenizer', G(30, 3, 64, 'bfloat16'), 'salt');"
        "print(block_keys(r, range(40), 32)[0].hex())"
    )
    root = Path(__file__).parents[2]
    made = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)

    assert made.stdout.strip() == block_keys(ROOT, range(40), 32)[0].hex()
