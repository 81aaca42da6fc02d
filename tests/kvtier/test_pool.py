import pytest

from kvtier.eviction.policy import Facts
from kvtier.pool import BlockPool, Occupancy


def pool_with(path_length: int, *, num_blocks: int) -> tuple[BlockPool, list[int]]:
    """A pool with one cached chain."""
    pool = BlockPool(num_blocks)
    path = [block for block in (pool.take_free() for _ in range(path_length)) if block is not None]
    for block, parent in zip(path, [None, *path], strict=False):
        pool.keep(block, Facts(b"key %d" % block, parent))
    pool.release(path)
    return pool, path


def test_a_new_pool_is_free() -> None:
    assert BlockPool(3).occupancy == Occupancy(total=3, free=3, cached=0, leased=0)


def test_a_block_is_free_leased_or_cached() -> None:
    pool, path = pool_with(2, num_blocks=4)
    assert pool.occupancy == Occupancy(4, free=2, cached=2, leased=0)

    pool.lease(path[:1])
    assert pool.occupancy == Occupancy(4, free=2, cached=1, leased=1)
    pool.check()


def test_the_last_of_a_chain_goes_first() -> None:
    pool, (head, middle, last) = pool_with(3, num_blocks=3)

    assert pool.take_free() is None
    assert [pool.take_cached() for _ in range(4)] == [last, middle, head, None]


def test_the_least_recently_used_chain_goes_first() -> None:
    pool = BlockPool(2)
    for block in (pool.take_free(), pool.take_free()):
        assert block is not None
        pool.keep(block, Facts(b"key %d" % block))
        pool.release([block])
    pool.lease([0])
    pool.release([0])

    assert pool.take_cached() == 1


def test_a_leased_block_is_never_taken() -> None:
    pool, path = pool_with(2, num_blocks=2)
    pool.lease(path)

    assert pool.take_free() is None
    assert pool.take_cached() is None


def test_a_block_stays_leased_until_the_last_holder_lets_go() -> None:
    pool, path = pool_with(1, num_blocks=1)
    pool.lease(path)
    pool.lease(path)
    pool.release(path)

    assert pool.is_leased(path[0])
    pool.release(path)
    assert not pool.is_leased(path[0])


def test_a_forgotten_block_is_freed_when_its_holder_lets_go() -> None:
    pool, path = pool_with(1, num_blocks=1)
    pool.lease(path)
    pool.forget(path[0])

    assert pool.take_free() is None
    assert pool.release(path) == path
    assert pool.take_free() == path[0]


def test_letting_go_twice_is_our_bug() -> None:
    pool, path = pool_with(1, num_blocks=1)

    with pytest.raises(RuntimeError, match="more often"):
        pool.release(path)


def test_keeping_what_nobody_leased_is_our_bug() -> None:
    with pytest.raises(RuntimeError, match="without being leased"):
        BlockPool(1).keep(0, Facts(b"key"))


def test_a_broken_account_prints_the_equation() -> None:
    pool, path = pool_with(1, num_blocks=3)
    pool.forget(path[0])
    pool._free.append(path[0])

    with pytest.raises(RuntimeError, match=r"free 4 \+ cached 0 \+ leased 0 != 3"):
        pool.check()
