"""Any sequence of operations against a plain model: a set of kept prefixes per salt, whose rows are computed anew."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvtier.lease import Lease
from tests.kvtier.rows import assert_rows, slab_of, small_cache

SALTS = st.sampled_from(["a", "b"])  # each an owner of its own
IDS = st.lists(st.integers(0, 1), max_size=22)  # few ids and short blocks: prefixes meet often
RUN = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)


def count_common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class TightCache(RuleBasedStateMachine):
    """Five blocks: eviction, rejection and pinned pools all the time."""

    NUM_BLOCKS = 5
    POLICY = "adaptive"

    def __init__(self) -> None:
        super().__init__()
        self.cache = small_cache(self.NUM_BLOCKS, policy=self.POLICY)
        self.pins: list[tuple[str, list[int], int]] = []
        self.kept: dict[str, set[tuple[int, ...]]] = {"a": set(), "b": set()}
        self.leases: list[tuple[Lease, str, list[int]]] = []

    def longest_kept(self, salt: str, ids: list[int]) -> int:
        return max((count_common(prefix, ids) for prefix in self.kept[salt]), default=0)

    @rule(salt=SALTS, ids=IDS)
    def match(self, salt: str, ids: list[int]) -> None:
        lease = self.cache.match(self.cache.chain(salt, salt), ids)
        assert lease.num_tokens <= self.longest_kept(salt, ids[:-1])
        self.leases.append((lease, salt, ids))

    @rule(salt=SALTS, ids=IDS, chunk=st.integers(1, 9))
    def publish_in_chunks(self, salt: str, ids: list[int], chunk: int) -> None:
        chain, slab = self.cache.chain(salt, salt), slab_of(salt, ids)
        for num_computed in [*range(chunk, len(ids), chunk), len(ids)]:
            self.cache.publish(chain, ids, slab, num_computed)
        self.kept[salt].add(tuple(ids[: len(ids) // 4 * 4]))

    @rule(salt=SALTS, ids=IDS, uncomputed=st.integers(0, 2))
    def publish_tail(self, salt: str, ids: list[int], uncomputed: int) -> None:
        num_computed = max(0, len(ids) - uncomputed)
        self.cache.publish_tail(self.cache.chain(salt, salt), ids, slab_of(salt, ids[:num_computed]), num_computed)
        self.kept[salt].add(tuple(ids[:num_computed]))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lease, _, _ = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        lease.release()
        lease.release()

    @rule(salt=SALTS, ids=IDS)
    def pin(self, salt: str, ids: list[int]) -> None:
        pinned = self.cache.pin(salt, ids)
        assert self.cache.blocks.pinned * 5 <= self.cache.blocks.total
        self.pins.append((salt, ids, pinned))

    @precondition(lambda self: self.pins)
    @rule()
    def unpin(self) -> None:
        for salt, ids, _ in self.pins:
            self.cache.unpin(salt, ids)
        self.pins.clear()
        assert self.cache.blocks.pinned == 0

    @invariant()
    def what_is_pinned_is_found(self) -> None:
        for salt, ids, pinned in self.pins:
            assert self.cache.peek(salt, ids, limit=len(ids)) >= pinned

    @rule(salt=SALTS)
    def erase(self, salt: str) -> None:
        self.pins = [pin for pin in self.pins if pin[0] != salt]
        self.cache.erase(salt)
        self.kept[salt] = set()

    @rule()
    def clear(self) -> None:
        self.pins.clear()
        self.cache.clear()
        self.kept = {"a": set(), "b": set()}

    @invariant()
    def the_accounts_agree(self) -> None:
        self.cache.check()

    @invariant()
    def every_lease_still_reads_its_own_rows(self) -> None:
        for lease, salt, ids in self.leases:
            assert_rows(lease, salt, ids)

    def teardown(self) -> None:
        for lease, _, _ in self.leases:
            lease.release()
        assert self.cache.blocks.leased == 0
        self.cache.check()


class RoomyCache(TightCache):
    """With room for everything, a lookup finds exactly the longest common prefix, to the token."""

    NUM_BLOCKS = 600

    @rule(salt=SALTS, ids=IDS)
    def match(self, salt: str, ids: list[int]) -> None:
        super().match(salt, ids)
        assert self.leases[-1][0].num_tokens == self.longest_kept(salt, ids[:-1])
        assert self.cache.stats.evicted_blocks == self.cache.stats.rejected_blocks == 0


class TightLru(TightCache):
    POLICY = "lru"


class TightLfu(TightCache):
    POLICY = "lfu"


class TightRandom(TightCache):
    POLICY = "random"


for machine in (TightLru, TightLfu, TightRandom):
    machine.TestCase.settings = RUN
TestTightLru, TestTightLfu, TestTightRandom = TightLru.TestCase, TightLfu.TestCase, TightRandom.TestCase
TestTightCache = TightCache.TestCase
TestTightCache.settings = RUN
TestRoomyCache = RoomyCache.TestCase
TestRoomyCache.settings = RUN
