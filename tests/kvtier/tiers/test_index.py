"""The tree of segments, against plain lists."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvtier.keys import Chain, pack
from kvtier.tiers.base import Segment, Wanted
from kvtier.tiers.index import Entry, SegmentIndex

ROOT = bytes(32)
SIZE = 2  # tokens per block, sixteen per segment


def entries_of(ids: list[int]) -> list[Entry]:
    """The segments of one chain, the last one short."""
    chain, entries, parent = Chain(ROOT, SIZE), [], ROOT
    for start in range(0, len(ids), 16):
        part = pack(ids[start : start + 16])
        keys = chain.keys(pack(ids[: start + 16]))
        key = keys[-1] if len(ids[start : start + 16]) % SIZE == 0 else Chain(ROOT, 1).keys(pack(ids[: start + 16]))[-1]
        entries.append(Entry(key, parent, part, start, 100 + len(part)))
        parent = key
    return entries


def wanted(ids: list[int], start: int = 0) -> Wanted:
    packed = pack(ids)
    return Wanted(ROOT, Chain(ROOT, SIZE).keys(packed), packed, start, len(ids), SIZE)


def reached(index: SegmentIndex, ids: list[int], start: int = 0) -> int:
    run = index.find(wanted(ids, start))
    return run[-1].stop if run else start


def filled(*chains: list[int]) -> SegmentIndex:
    index = SegmentIndex(SIZE)
    for ids in chains:
        for entry in entries_of(ids):
            index.add(entry)
    index.check()
    return index


LONG = list(range(50))


def test_a_prefix_is_found_to_the_token_wherever_it_ends() -> None:
    index = filled(LONG, [*LONG[:20], *range(100, 120)])

    for length in range(51):
        assert reached(index, [*LONG[:length], 999, 999]) == length


def test_a_run_begins_in_the_segment_where_ram_ends() -> None:
    index = filled(LONG)

    assert [(f.start, f.stop) for f in index.find(wanted(LONG, 20))] == [(16, 32), (32, 48), (48, 50)]
    assert index.find(wanted(LONG, 50)) == []


def test_a_longer_end_takes_the_place_of_a_shorter_one() -> None:
    index = filled(LONG[:20])
    replaced = [old for entry in entries_of(LONG[:28]) for old in index.add(entry)]

    assert [len(old.packed) // 4 for old in replaced if old.start == 16] == [4]
    assert len(index) == 2
    assert index.covers(entries_of(LONG)[1].parent, pack(LONG[16:20]))


def test_a_segment_that_is_lost_cuts_the_chain_and_mends_it_when_it_is_back() -> None:
    index = filled(LONG)
    second = entries_of(LONG)[1]
    index.remove(second.key)
    assert reached(index, LONG) == 16
    assert reached(index, LONG, 32) == 50

    index.add(second)
    assert reached(index, LONG) == 50
    index.check()


class Index(RuleBasedStateMachine):
    """Any order of additions, uses and evictions keeps the oldest a leaf, and lookups equal to a plain search."""

    IDS = st.lists(st.integers(0, 1), min_size=1, max_size=40)

    def __init__(self) -> None:
        super().__init__()
        self.index = SegmentIndex(SIZE)
        self.held: dict[bytes, Entry] = {}

    @rule(ids=IDS)
    def add(self, ids: list[int]) -> None:
        for entry in entries_of(ids):
            if not self.index.covers(entry.parent, entry.packed):
                for old in self.index.add(entry):
                    del self.held[old.key]
                self.held[entry.key] = entry

    @rule(ids=IDS)
    def look_up(self, ids: list[int]) -> None:
        run = self.index.find(wanted(ids))
        at, parent = 0, ROOT
        for found in run:
            entry = self.held[found.key]
            assert (entry.start, entry.parent) == (at, parent)
            assert entry.packed[: (found.stop - at) * 4] == pack(ids)[at * 4 : found.stop * 4]
            at, parent = found.stop, found.key
        rivals = [e for e in self.held.values() if e.parent == parent and e.start == at]
        assert not any(e.packed[:4] == pack(ids)[at * 4 : at * 4 + 4] for e in rivals if at < len(ids))
        if run:
            self.index.touch(run[-1].key)

    @precondition(lambda self: self.held)
    @rule()
    def evict(self) -> None:
        oldest = self.index.oldest()
        assert oldest is not None
        assert not any(entry.parent == oldest.key for entry in self.held.values() if entry.start)
        self.index.remove(oldest.key)
        del self.held[oldest.key]

    @rule()
    def restart(self) -> None:
        times = [(float(i), entry) for i, entry in enumerate(self.index)]
        self.index = SegmentIndex(SIZE)
        assert self.index.rebuild(times) == []

    @invariant()
    def it_agrees_with_what_is_held(self) -> None:
        self.index.check()
        assert {entry.key for entry in self.index} == set(self.held)


TestIndex = Index.TestCase
TestIndex.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)


def test_a_segment_names_itself_by_its_last_block() -> None:
    assert Segment(ROOT, (b"one", b"two"), pack([1, 2, 3]), 0).key == b"two"
