"""Any sequence of operations over RAM and disk, crashes and damage included: whatever is found is right to the bit."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvtier.lease import Lease
from kvtier.tiers.prefetch import Prefetch
from tests.kvtier.rows import SMALL, assert_rows, slab_of
from tests.kvtier.tiers.places import disk_tier, tiered_cache, write_all

SALTS = st.sampled_from(["a", "b"])
IDS = st.lists(st.integers(0, 1), max_size=75)  # up to three segments of 32 tokens
SEGMENT_BYTES = 4096 + 32 * SMALL.bytes_per_token


def count_common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class SmallTiers(RuleBasedStateMachine):
    """A RAM of a dozen blocks over a disk of ten segments: eviction from both all the time."""

    NUM_BLOCKS = 12
    BUDGET_BYTES = 10 * SEGMENT_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.open()
        self.kept: dict[str, set[tuple[int, ...]]] = {"a": set(), "b": set()}
        self.leases: list[tuple[Lease, str, list[int]]] = []
        self.prefetches: list[tuple[Prefetch, str, list[int]]] = []

    def open(self) -> None:
        self.tier = disk_tier(self.folder, budget_bytes=self.BUDGET_BYTES)
        self.cache = tiered_cache(self.NUM_BLOCKS, self.tier, queue_bytes=3 * SEGMENT_BYTES)

    def longest_kept(self, salt: str, ids: list[int]) -> int:
        return max((count_common(prefix, ids) for prefix in self.kept[salt]), default=0)

    @rule(salt=SALTS, ids=IDS, uncomputed=st.integers(0, 2), tail=st.booleans())
    def publish(self, salt: str, ids: list[int], uncomputed: int, tail: bool) -> None:
        num_computed = max(0, len(ids) - uncomputed)
        slab = slab_of(salt, ids[:num_computed])
        if tail:
            self.cache.publish_tail(salt, ids, slab, num_computed)
        else:
            self.cache.publish(salt, ids, slab, num_computed)
        self.kept[salt].add(tuple(ids[:num_computed]))

    @rule(salt=SALTS, ids=IDS, multiple_of=st.sampled_from([1, 4, 32]))
    def prefetch(self, salt: str, ids: list[int], multiple_of: int) -> None:
        self.prefetches.append((self.cache.prefetch(salt, ids, multiple_of=multiple_of), salt, ids))

    @precondition(lambda self: self.prefetches)
    @rule(data=st.data(), wait=st.booleans(), multiple_of=st.sampled_from([1, 4, 32]), keep=st.booleans())
    def match_prefetched(self, data: st.DataObject, wait: bool, multiple_of: int, keep: bool) -> None:
        prefetch, salt, ids = self.prefetches.pop(data.draw(st.integers(0, len(self.prefetches) - 1)))
        assert not wait or prefetch.wait(20)
        lease = self.cache.match(salt, ids, multiple_of=multiple_of, prefetched=prefetch)
        assert lease.num_tokens % multiple_of == 0
        assert lease.num_tokens <= self.longest_kept(salt, ids[:-1])
        assert_rows(lease, salt, ids)
        slab = slab_of(salt, ids)
        lease.load_into(slab)  # as the runner does: what was restored is published like what was computed
        self.cache.publish(salt, ids, slab, lease.num_tokens)
        if keep:
            self.leases.append((lease, salt, ids))
        else:
            lease.release()

    @rule()
    def idle(self) -> None:
        self.cache.idle()

    @rule()
    def write(self) -> None:
        write_all(self.cache)
        self.tier.check()

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))[0].release()

    @rule(in_time=st.booleans())
    def restart(self, in_time: bool) -> None:
        self.leave()
        self.cache.close(10 if in_time else 0)
        self.open()

    @rule(name=st.binary(min_size=2, max_size=2))
    def crash_and_damage(self, name: bytes) -> None:
        """What a crash may leave behind: half a temporary file, and a file whose pages were never written."""
        self.leave()
        self.cache.close(0)
        (self.folder / "left.tmp").write_bytes(b"half")
        for path in sorted(self.folder.glob("*/*.seg"))[: name[0] % 3]:
            data = bytearray(path.read_bytes())
            data[name[1] * 37 % len(data) :] = bytes(len(data) - name[1] * 37 % len(data))
            path.write_bytes(data)
        self.open()

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.kept = {"a": set(), "b": set()}

    @invariant()
    def the_accounts_agree(self) -> None:
        self.cache.check()

    @invariant()
    def every_lease_still_reads_its_own_rows(self) -> None:
        for lease, salt, ids in self.leases:
            assert_rows(lease, salt, ids)

    def leave(self) -> None:
        for lease, _, _ in self.leases:
            lease.release()
        self.leases.clear()
        for prefetch, _, _ in self.prefetches:
            prefetch.cancel()
        self.prefetches.clear()
        assert self.cache.blocks.leased == 0

    def teardown(self) -> None:
        self.leave()
        self.tier.check()
        assert self.tier.snapshot()["resident_bytes"] <= self.BUDGET_BYTES
        self.cache.close(0)
        shutil.rmtree(self.folder)


class RoomyTiers(SmallTiers):
    """A small RAM over a disk with room for everything and no damage: what was written is found to the token."""

    BUDGET_BYTES = 1 << 30

    @rule(name=st.binary(min_size=2, max_size=2))
    def crash_and_damage(self, name: bytes) -> None:
        super().crash_and_damage(bytes(2))

    @rule(salt=SALTS, ids=IDS)
    def publish_write_lose_and_find(self, salt: str, ids: list[int]) -> None:
        ids = ids[: self.NUM_BLOCKS * 4]
        self.leave()
        self.cache.flush()
        self.cache.publish_tail(salt, ids, slab_of(salt, ids), len(ids))
        self.kept[salt].add(tuple(ids))
        self.cache.close(10)
        self.open()
        prefetch = self.cache.prefetch(salt, ids, limit=len(ids))
        assert prefetch.wait(20)
        with self.cache.match(salt, ids, limit=len(ids), prefetched=prefetch) as lease:
            assert_rows(lease, salt, ids)
            assert lease.num_tokens == len(ids)
            assert lease.by_tier == ({"disk": len(ids)} if ids else {})


RUN = settings(max_examples=25, stateful_step_count=25, deadline=None, database=None)
TestSmallTiers = SmallTiers.TestCase
TestSmallTiers.settings = RUN
TestRoomyTiers = RoomyTiers.TestCase
TestRoomyTiers.settings = RUN
