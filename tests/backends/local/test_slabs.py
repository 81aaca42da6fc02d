"""The memory of slabs is used again, within a bound, and never by two at a time."""

import torch

from backends.local.engine.slabs import Slabs


class Shape:
    """As much of a decoder as slabs need."""

    def __init__(self) -> None:
        self.num_made = 0

    def new_slab(self, capacity: int) -> torch.Tensor:
        self.num_made += bool(capacity)
        return torch.empty((3, 2, 2, capacity, 16))

    def forward(self, spans: object) -> torch.Tensor:
        raise NotImplementedError


def test_a_slab_has_the_shape_it_would_have_had_afresh() -> None:
    slabs = Slabs(Shape())
    slabs.give_back(slabs.take(100))

    slab = slabs.take(60)

    assert slab.shape == (3, 2, 2, 60, 16)
    assert slab.is_contiguous()


def test_the_smallest_buffer_that_is_large_enough_is_used_again() -> None:
    shape = Shape()
    slabs = Slabs(shape)
    large, small = slabs.take(200), slabs.take(80)
    slabs.give_back(large)
    slabs.give_back(small)

    again = slabs.take(70)

    assert again.data_ptr() == small.data_ptr()
    assert slabs.take(90).data_ptr() == large.data_ptr()
    assert slabs.take(10).data_ptr() not in (large.data_ptr(), small.data_ptr())
    assert shape.num_made == 3


def test_spare_memory_is_bounded_and_can_be_dropped() -> None:
    per_token = 3 * 2 * 2 * 16 * 4
    slabs = Slabs(Shape(), spare_bytes=100 * per_token)
    lent = [slabs.take(60) for _ in range(5)]
    for slab in lent:
        slabs.give_back(slab)

    assert slabs.num_spare_bytes == 60 * per_token
    slabs.drop_spare()
    assert slabs.num_spare_bytes == 0


def test_a_slab_without_room_is_no_memory() -> None:
    slabs = Slabs(Shape())
    slabs.give_back(slabs.take(0))

    assert slabs.num_spare_bytes == 0


def test_the_first_slab_finds_memory_at_hand() -> None:
    shape = Shape()
    slabs = Slabs(shape)
    slabs.warm(100)
    made = shape.num_made

    slabs.take(90)

    assert shape.num_made == made
    assert slabs.num_spare_bytes == 0


def test_nothing_is_made_ready_for_no_tokens() -> None:
    slabs = Slabs(Shape())

    slabs.warm(0)

    assert slabs.num_spare_bytes == 0
