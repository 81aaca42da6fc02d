"""The memory of slabs is used again, within a bound, and never by two at a time."""

from collections.abc import Callable

import pytest
import torch

from backends.local.decoder.base import TOKEN_DIM
from backends.local.engine.slabs import Rows, Slabs
from kvtier.keys import pack

PER_TOKEN = 3 * 2 * 2 * 16 * 4


class Shape:
    """As much of a decoder as slabs need."""

    alike_rows = 0

    def __init__(self) -> None:
        self.num_made = 0
        self.has_memory: Callable[[int], bool] = lambda _: True

    def new_slab(self, capacity: int) -> torch.Tensor:
        if not self.has_memory(capacity):
            raise MemoryError
        self.num_made += bool(capacity)
        return torch.empty((3, 2, 2, capacity, 16))

    def forward(self, spans: object) -> torch.Tensor:
        raise NotImplementedError


def rows(*token_ids: int, root: bytes = b"root") -> Rows:
    return Rows(root, pack(token_ids))


def take(slabs: Slabs, capacity: int) -> torch.Tensor:
    slab, common = slabs.take(capacity)
    assert common == 0
    return slab


def test_a_slab_holds_what_was_asked_for_and_a_further_turn() -> None:
    slab = take(Slabs(Shape()), 100)

    assert slab.shape[:TOKEN_DIM] == (3, 2, 2)
    assert slab.shape[TOKEN_DIM] >= 150
    assert slab.is_contiguous()


def test_the_smallest_slab_that_is_large_enough_is_used_again() -> None:
    shape = Shape()
    slabs = Slabs(shape)
    large, small = take(slabs, 2000), take(slabs, 80)
    slabs.give_back(large)
    slabs.give_back(small)

    again = take(slabs, 70)

    assert again.data_ptr() == small.data_ptr()
    assert take(slabs, 90).data_ptr() == large.data_ptr()
    assert take(slabs, 10).data_ptr() not in (large.data_ptr(), small.data_ptr())
    assert shape.num_made == 3


def test_a_slab_is_handed_to_whom_it_holds_most_for() -> None:
    slabs = Slabs(Shape())
    one, other = take(slabs, 50), take(slabs, 50)
    slabs.give_back(one, rows(1, 2, 3, 9))
    slabs.give_back(other, rows(1, 2, 3, 4, 5))

    slab, common = slabs.take(60, rows(1, 2, 3, 4, 7))

    assert common == 4
    assert slab.data_ptr() == other.data_ptr()
    assert slabs.take(60, rows(1, 2, 3, 4, 7))[1] == 3


def test_a_slab_is_not_taken_from_a_longer_conversation_for_a_short_beginning() -> None:
    slabs = Slabs(Shape())
    slab = take(slabs, 50)
    slabs.give_back(slab, rows(*range(30)))

    other, common = slabs.take(50, rows(*range(10), 99))

    assert common == 0
    assert other.data_ptr() != slab.data_ptr()
    assert slabs.take(50, rows(*range(20), 99))[1] == 20


def test_nothing_is_found_under_another_root() -> None:
    slabs = Slabs(Shape(), spare_bytes=400 * PER_TOKEN)
    slabs.give_back(take(slabs, 50), rows(1, 2, 3))

    assert slabs.take(50, rows(1, 2, 3, root=b"another"))[1] == 0


def test_what_is_too_small_is_not_handed_over() -> None:
    slabs = Slabs(Shape())
    slab = take(slabs, 50)
    slabs.give_back(slab, rows(1, 2, 3))

    assert slabs.take(slab.shape[TOKEN_DIM] + 1, rows(1, 2, 3))[1] == 0


def test_what_a_slab_holds_is_kept_while_there_is_room_for_another() -> None:
    slabs = Slabs(Shape(), spare_bytes=800 * PER_TOKEN)
    first = take(slabs, 50)
    slabs.give_back(first, rows(1, 2, 3))
    second = take(slabs, 50)
    slabs.give_back(second, rows(4, 5, 6))
    assert second.data_ptr() != first.data_ptr()

    third, _ = slabs.take(100, rows(7, 8, 9))
    assert third.data_ptr() not in (first.data_ptr(), second.data_ptr())
    fourth, _ = slabs.take(300, rows(7, 8, 9))

    assert fourth.data_ptr() == first.data_ptr()
    assert slabs.take(50, rows(4, 5, 6))[1] == 3


def test_an_older_slab_that_holds_nothing_else_is_free_for_anybody() -> None:
    slabs = Slabs(Shape())
    first, second = take(slabs, 50), take(slabs, 50)
    slabs.give_back(first, rows(1, 2, 3))
    slabs.give_back(second, rows(1, 2, 3, 4))

    assert slabs.take(50, rows(8))[0].data_ptr() == first.data_ptr()


def test_what_is_forgotten_is_handed_to_nobody() -> None:
    slabs = Slabs(Shape())
    slabs.give_back(take(slabs, 50), rows(1, 2, 3))

    slabs.forget()

    assert slabs.take(50, rows(1, 2, 3))[1] == 0
    assert slabs.num_spare_bytes == 0


def test_spare_memory_is_bounded_and_can_be_dropped() -> None:
    slabs = Slabs(Shape(), spare_bytes=700 * PER_TOKEN)
    lent = [take(slabs, 60) for _ in range(5)]
    for number, slab in enumerate(lent):
        slabs.give_back(slab, rows(number))

    assert slabs.num_spare_bytes == 2 * lent[0].nbytes
    assert slabs.take(60, rows(3))[1] == slabs.take(60, rows(4))[1] == 1
    slabs.give_back(lent[3], rows(3))
    slabs.drop_spare()
    assert slabs.num_spare_bytes == 0


def test_a_slab_that_does_not_fit_leaves_the_others_alone() -> None:
    slabs = Slabs(Shape(), spare_bytes=800 * PER_TOKEN)
    kept, too_large = take(slabs, 60), take(slabs, 900)
    slabs.give_back(kept, rows(1, 2, 3))

    slabs.give_back(too_large, rows(1, 2, 3, 4))

    assert slabs.num_spare_bytes == kept.nbytes
    assert slabs.take(60, rows(1, 2, 3, 9))[1] == 3


def test_spare_slabs_go_before_anybody_is_told_that_memory_is_short() -> None:
    shape = Shape()
    slabs = Slabs(shape)
    slabs.give_back(take(slabs, 60), rows(1, 2, 3))
    shape.has_memory = lambda capacity: capacity <= 500 and not slabs.num_spare_bytes

    assert take(slabs, 500).shape[TOKEN_DIM] == 500
    with pytest.raises(MemoryError):
        slabs.take(501)


def test_no_more_is_added_than_would_be_kept() -> None:
    assert take(Slabs(Shape(), spare_bytes=120 * PER_TOKEN), 100).shape[TOKEN_DIM] == 120
    assert take(Slabs(Shape(), spare_bytes=50 * PER_TOKEN), 100).shape[TOKEN_DIM] == 100


def test_a_slab_without_room_is_no_memory() -> None:
    slabs = Slabs(Shape())
    slabs.give_back(take(slabs, 0))

    assert slabs.num_spare_bytes == 0


def test_the_first_slab_finds_memory_at_hand() -> None:
    shape = Shape()
    slabs = Slabs(shape)
    slabs.warm(100)
    made = shape.num_made

    take(slabs, 90)

    assert shape.num_made == made
    assert slabs.num_spare_bytes == 0


def test_nothing_is_made_ready_for_no_tokens() -> None:
    slabs = Slabs(Shape())

    slabs.warm(0)

    assert slabs.num_spare_bytes == 0
