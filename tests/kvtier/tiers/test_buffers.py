import numpy as np

from kvtier.tiers.buffers import Buffers

SIZE = 1 << 16


class User:
    """Whoever uses borrowed memory."""


def address(memory: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> int:
    return memory.__array_interface__["data"][0]  # type: ignore[no-any-return]


def test_memory_comes_back_when_its_user_is_gone() -> None:
    buffers, user = Buffers(SIZE, 4 * SIZE), User()
    memory = buffers.take(SIZE)
    buffers.give_back_after(user, memory)
    first = address(memory)

    assert address(buffers.take(SIZE)) != first
    del user
    assert address(buffers.take(SIZE)) == first


def test_no_more_is_kept_than_was_said() -> None:
    buffers = Buffers(SIZE, 2 * SIZE)
    users = [User() for _ in range(5)]
    memories = [buffers.take(SIZE) for _ in users]
    for user, memory in zip(users, memories, strict=True):
        buffers.give_back_after(user, memory)
    known = {address(memory) for memory in memories}
    users.clear()
    del user

    assert len({address(buffers.take(SIZE)) for _ in range(1)} & known) == 1
    assert len(buffers._kept) == 1


def test_small_and_large_pieces_are_their_own() -> None:
    buffers = Buffers(SIZE, 4 * SIZE)

    assert buffers.take(100).size == 100
    assert buffers.take(2 * SIZE).size == 2 * SIZE


def test_memory_can_be_touched_ahead_within_its_bound() -> None:
    buffers = Buffers(SIZE, 3 * SIZE)
    buffers.warm(2 * SIZE - 1)
    assert len(buffers._kept) == 2
    buffers.warm(100 * SIZE)
    assert len(buffers._kept) == 3
