"""Memory: the budgets hold, what a policy says goes first, and the maps always agree."""

import random
from collections import Counter
from dataclasses import dataclass, replace

import pytest

from gateway.answers.base import CacheError, Entry, unembedded_of
from gateway.answers.codec import encode, size_bytes
from gateway.answers.eviction import POLICIES
from gateway.answers.memory import MemoryAnswers
from tests.contracts.answers_contract import Clock, digest, entry_of, full_entry

SIZE = size_bytes(entry_of(), encode(entry_of().completion))


def is_kept(memory: MemoryAnswers, name: str) -> bool:
    return memory.get_now(digest("s"), digest(name)) is not None


def test_the_least_recently_used_goes_first() -> None:
    memory = MemoryAnswers(3 * SIZE, policy="lru")
    for name in "abc":
        memory.put_now(entry_of(name))
    memory.get_now(digest("s"), digest("a"))
    memory.by_id_now(digest("s"), "e_b")  # looked at as a neighbour
    memory.put_now(entry_of("d"))

    assert [is_kept(memory, name) for name in "abcd"] == [True, False, True, True]
    assert memory.stats.evicted == 1


def test_neighbours_are_looked_at_as_they_are_kept_and_what_went_meanwhile_stays_gone() -> None:
    clock = Clock()
    memory = MemoryAnswers(16 * 2 * SIZE, keep_stale_s=10.0, now=clock)
    entries = [entry_of("a"), replace(entry_of("b"), expires_s=clock() + 1), entry_of("c")]
    for entry in entries:
        memory.put_now(entry)

    found = memory.near_now(digest("s"), [entry.id for entry in entries] + ["e_nobody"])
    assert [one and (one.id, one.question, one.bad) for one in found[:2]] == [
        ("e_a", "what is a?", 0),
        ("e_b", "what is b?", 0),
    ]
    assert found[-1] is None
    assert [memory.whole_now(one) for one in found[:2] if one is not None] == entries[:2]
    assert memory.near_now(digest("another"), ["e_a"]) == [None]

    memory.remove_now(digest("s"), "e_a")
    held = memory._parsed.num_bytes
    assert found[0] is not None
    assert memory.whole_now(found[0]) == entries[0]  # who looked at it may still give it
    assert memory._parsed.num_bytes == held
    clock.now_s += 12
    assert memory.near_now(digest("s"), ["e_a", "e_b"]) == [None, None]


def test_an_entry_larger_than_the_budget_is_not_kept_and_drops_nobody_else() -> None:
    memory = MemoryAnswers(2 * SIZE)
    memory.put_now(entry_of("a"))
    memory.put_now(entry_of("b"))

    memory.put_now(entry_of("b", text="x" * 2 * SIZE))

    assert is_kept(memory, "a")
    assert not is_kept(memory, "b")  # the old answer is no longer true
    assert memory.stats.too_large == 1


async def test_a_put_that_cannot_be_kept_is_an_error() -> None:
    with pytest.raises(CacheError, match="larger than the memory budget"):
        await MemoryAnswers(10).put(entry_of())


def test_an_ended_entry_frees_its_bytes_when_it_is_met() -> None:
    clock = Clock()
    memory = MemoryAnswers(10 * SIZE, keep_stale_s=5, now=clock)
    memory.put_now(replace(full_entry(), expires_s=clock() + 10))
    clock.now_s += 15

    assert not is_kept(memory, "a")
    assert (memory.bytes_kept, len(memory), memory.stats.expired) == (0, 0, 1)


@pytest.mark.parametrize(
    ("policy", "goes"),
    [("lru", "b"), ("fifo", "a"), ("lfu", "c"), ("cost", "b")],
)
def test_each_policy_lets_another_one_go(policy: str, goes: str) -> None:
    memory = MemoryAnswers(4 * SIZE, policy=policy)
    for name in "abcd":
        memory.put_now(replace(entry_of(name), elapsed_s=0.1 if name == "b" else 5.0))
    for name in "abbad":
        assert is_kept(memory, name)
    if policy != "lru":
        assert is_kept(memory, "b")
    if policy == "lru":
        memory.get_now(digest("s"), digest("c"))
    memory.put_now(entry_of("e"))

    assert [name for name in "abcde" if memory.peek_now(digest("s"), digest(name)) is None] == [goes]


def test_random_eviction_spares_nobody_and_prefers_nobody() -> None:
    gone: Counter[str] = Counter()
    for seed in range(400):
        memory = MemoryAnswers(4 * SIZE, policy="random", seed=seed)
        for name in "abcd":
            memory.put_now(entry_of(name))
        memory.put_now(entry_of("e"))
        gone.update(name for name in "abcd" if not is_kept(memory, name))

    assert set(gone) == set("abcd")
    assert max(gone.values()) < 1.6 * min(gone.values())


def test_a_tenant_over_its_budget_pays_alone() -> None:
    size = SIZE + len("loud")
    memory = MemoryAnswers(10 * size, tenant_bytes=3 * size, policy="lru")
    memory.put_now(entry_of("q"))
    for name in "abcdef":
        memory.put_now(replace(entry_of(name), tenant="loud"))

    assert [name for name in "qabcdef" if is_kept(memory, name)] == ["q", "d", "e", "f"]


def test_reading_without_using_moves_nothing() -> None:
    memory = MemoryAnswers(3 * SIZE, policy="lru")
    for name in "abc":
        memory.put_now(entry_of(name))
    assert memory.peek_now(digest("s"), digest("a")) is not None
    memory.put_now(entry_of("d"))

    assert not is_kept(memory, "a")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(3))
def test_random_operations_agree_with_a_plain_model(seed: int, policy: str) -> None:
    rng, clock = random.Random(seed), Clock()
    budget, share = rng.randrange(3, 8) * SIZE, rng.randrange(2, 6) * SIZE
    memory = MemoryAnswers(budget, tenant_bytes=share, policy=policy, seed=seed, keep_stale_s=0, now=clock)
    truth = Model(budget, share, policy, random.Random(seed))
    for _ in range(1200):
        scope, name = rng.choice("xy"), rng.choice("abcdefgh")
        key, entry_id = (digest(scope), digest(name)), f"e_{name}"
        match rng.randrange(8):
            case 0 | 1 | 2:
                entry = replace(
                    entry_of(name, scope=scope, text="t" * rng.randrange(2 * SIZE), created_s=clock()),
                    id=f"e_{rng.choice('abcdefgh')}",
                    expires_s=clock() + rng.randrange(1, 40),
                    elapsed_s=rng.random() * 9,
                    tenant=scope,
                )
                truth.put(entry)
                memory.put_now(entry)
            case 3:
                assert memory.get_now(*key) == truth.get(key, clock())
            case 4:
                assert memory.by_id_now(digest(scope), entry_id) == truth.peek(truth.named(*key[:1], entry_id), clock())
            case 5:
                assert memory.remove_now(digest(scope), entry_id) == truth.remove(truth.named(digest(scope), entry_id))
            case 6:
                row, vector = unembedded_of(entry_of(name, scope=scope)), bytes(rng.randrange(SIZE))
                assert row is not None
                memory.set_vector_now(row, "mini@1", vector)
                truth.set_vector(truth.named(digest(scope), entry_id), row.question, vector)
            case _:
                clock.now_s += rng.randrange(4)
        sizes = truth.sizes()
        assert memory.bytes_kept == sum(sizes.values()) <= budget
        assert max(sizes.values(), default=0) <= share
        assert memory._room.tenants == sizes
        assert {k: kept.unpacked() for k, kept in memory._kept.items()} == {k: m.entry for k, m in truth.kept.items()}
        assert memory._ids == {(e.scope, e.id): e.exact for e in (m.entry for m in truth.kept.values())}


@dataclass
class Kept:
    entry: Entry
    uses: int
    worth: float
    priority: float
    number: int


class Model:
    """The same promises, told by looking at everything every time."""

    def __init__(self, budget: int, share: int, policy: str, draws: random.Random) -> None:
        self.budget, self.share, self.policy, self.draws = budget, share, policy, draws
        self.kept: dict[tuple[bytes, bytes], Kept] = {}
        self.tick, self.floor = 0, 0.0
        self.asked: Counter[bytes] = Counter()  # kept or not

    def sizes(self) -> Counter[str]:
        sizes: Counter[str] = Counter()
        for kept in self.kept.values():
            sizes[kept.entry.tenant] += size_of(kept.entry)
        return sizes

    def named(self, scope: bytes, entry_id: str) -> tuple[bytes, bytes] | None:
        return next((k for k, m in self.kept.items() if (m.entry.scope, m.entry.id) == (scope, entry_id)), None)

    def remove(self, key: tuple[bytes, bytes] | None) -> bool:
        return key is not None and self.kept.pop(key, None) is not None

    def get(self, key: tuple[bytes, bytes] | None, now_s: float) -> Entry | None:
        kept = self.kept.get(key) if key is not None else None
        if kept is None or key is None:
            return None
        if not kept.entry.is_fresh(now_s):
            self.remove(key)
            return None
        self.tick += 1
        self.asked[kept.entry.exact] += 1
        kept.uses = max(kept.uses + 1, self.asked[kept.entry.exact])
        if self.policy not in ("fifo", "random"):
            kept.priority = self.priority(kept.uses, kept.worth)
        return kept.entry

    def peek(self, key: tuple[bytes, bytes] | None, now_s: float) -> Entry | None:
        kept = self.kept.get(key) if key is not None else None
        return kept.entry if kept is not None and kept.entry.is_fresh(now_s) else None

    def priority(self, uses: int, value: float) -> float:
        if self.policy == "random":
            return self.floor + self.draws.expovariate(1.0)
        return {"cost": self.floor + min(uses, 100) * value * (1 if uses > 1 else 0.2), "lfu": float(uses)}.get(
            self.policy, float(self.tick)
        )

    def put(self, entry: Entry) -> None:
        before = self.kept.pop((entry.scope, entry.exact), None)
        self.remove(self.named(entry.scope, entry.id))
        size = size_of(entry)
        if size > min(self.budget, self.share):
            return
        self.shrink(entry.tenant, size)
        self.tick += 1
        self.asked[entry.exact] += 1
        uses = max(before.uses + 1 if before else 1, self.asked[entry.exact])
        value = (entry.elapsed_s + 0.05) / size
        self.kept[entry.scope, entry.exact] = Kept(entry, uses, value, self.priority(uses, value), self.tick)

    def set_vector(self, key: tuple[bytes, bytes] | None, question: str, vector: bytes) -> None:
        if key is not None and self.kept[key].entry.question == question:
            kept = self.kept[key]
            kept.entry = replace(kept.entry, embedder="mini@1", vector=vector)
            self.shrink(kept.entry.tenant, 0)

    def shrink(self, tenant: str, size: int) -> None:
        while self.sizes()[tenant] + size > self.share:
            self.evict([k for k, m in self.kept.items() if m.entry.tenant == tenant])
        while self.sizes().total() + size > self.budget:
            self.evict(list(self.kept))

    def evict(self, among: list[tuple[bytes, bytes]]) -> None:
        first = min(among, key=lambda key: (self.kept[key].priority, self.kept[key].number))
        if self.policy in ("cost", "random"):
            self.floor = max(self.floor, self.kept[first].priority)
        del self.kept[first]


def size_of(entry: Entry) -> int:
    return size_bytes(entry, encode(entry.completion))
