"""Names beside rows: whatever comes and goes, each name is found where it lies, and nowhere else."""

import random

import numpy as np
import pytest

from embeddings.index.rows import Rows
from embeddings.index.slots import Slots

HASHES = (0, 1, 2, 3, 0xFFFFFFFF, 1 << 31, 12345, -7, 1 << 40)


@pytest.mark.parametrize("seed", range(3))
def test_random_slots_agree_with_a_plain_dict(seed: int) -> None:
    rng, slots, truth = random.Random(seed), Slots(), dict[int, int]()
    for step in range(3000):
        slot = rng.randrange(400)
        if slot not in truth:
            truth[slot] = rng.choice(HASHES) if rng.random() < 0.3 else rng.getrandbits(64)
            slots.add(truth[slot], slot)
        elif rng.random() < 0.5:
            slots.remove(truth.pop(slot), slot)
        else:
            other = 1000 + step
            truth[other] = truth.pop(slot)
            slots.move(truth[other], slot, other)
    assert len(slots) == len(truth)
    assert all(slot in slots.find(hashed) for slot, hashed in truth.items())
    assert sum(len(slots.find(hashed)) for hashed in {h & 0xFFFFFFFF for h in truth.values()}) == len(truth)


def test_ids_of_any_length_and_alphabet_are_told_apart() -> None:
    names = ["", "a", "aa", "a\0", "\xff", "\ud800", "e_0123456789abcdef01234567", "\u4f60\u597d", "x" * 300]
    rows = Rows(4)
    for number, name in enumerate(names):
        rows.put(name, np.full(4, number, np.float32))

    assert [rows.slot_of(name) for name in names] == list(range(len(names)))
    assert sorted(rows.ids()) == sorted(names)
    assert rows.slot_of("b") is None
    for name in reversed(names):
        assert rows.remove(name) is not None
        assert rows.slot_of(name) is None
    assert (len(rows), rows.nbytes) == (0, 0)
