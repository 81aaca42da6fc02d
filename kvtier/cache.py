"""The KV cache: keeps the keys and values of token prefixes in RAM and gives them back by copy.

    # tokens   0 ............ found .......... computed ....... total
    #          |  copied out    |  full blocks    |  not here yet  |
    #          |  of the cache  |  published      |                |

`match` finds the longest kept prefix and pins it; `Lease.load_into` copies its rows into the slab of the sequence;
`publish` copies full blocks out of the slab as the sequence grows, and `publish_tail` the last, partly filled one when
it ends. A sequence never sees a block's memory and a block never sees a sequence's: both sides are copies.

What may be relied on: nothing is found under another salt; token ids are compared on every hit; rows past the fill of a
block are never copied out; a full pool keeps less, and is never an error. It belongs to one thread.

What was published through `public_chain`, whose root is that of no salt, everybody may begin with: its full blocks are
found where a chain of one's own has fewer. What follows them is published under one's own root like everything else.

With colder tiers, `prefetch` starts to load what RAM lacks while the request queues, and a `match` that is given the
prefetch leases those rows too; what was published is written behind. Tiers have threads of their own, which see bytes
and never a block: a tier that is slow, broken or gone is a miss, counted, and never an error.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import torch

from kvtier.eviction import KNEE_TOKENS, make_policy
from kvtier.geometry import KVGeometry
from kvtier.keys import ID_BYTES, Chain, block_key, chain_root, count_common_ids, owner_mark, pack, public_root
from kvtier.lease import Lease
from kvtier.pool import Occupancy
from kvtier.stats import KVStats, MissReason
from kvtier.store import BlockStore, Draft
from kvtier.survey import Survey
from kvtier.tiers.base import Restored, Tier, Wanted
from kvtier.tiers.behind import WriteBehind
from kvtier.tiers.gate import RecomputeCost
from kvtier.tiers.prefetch import Prefetch, Source
from kvtier.tiers.writer import Erasure

QUEUE_BYTES = 32 << 20  # copies of rows that wait to be written, per tier
ERASURES = 10_000  # owners whose erasure is remembered: of requests that began before it and still run
MARKS = 1024  # of owners that are not computed again
PUBLIC = "public"  # the owner of what everybody may begin with; no tenant is called so
PREFETCHES = 4  # prompts whose rows are being loaded at a time


class KVCache:
    """Keeps prefixes of one model within `budget_bytes` of RAM; a budget below one block keeps nothing.

    Wherever a salt is taken, the `chain` of a sequence may stand instead: it remembers the keys it hashed.
    """

    def __init__(
        self,
        geometry: KVGeometry,
        budget_bytes: int,
        *,
        secret: bytes,
        model: str,
        tokenizer: str,
        tiers: Sequence[Tier] = (),  # warmest first; closed with the cache
        queue_bytes: int = QUEUE_BYTES,
        policy: str = "adaptive",  # of kvtier.eviction.POLICIES
        knee_tokens: float = KNEE_TOKENS,  # for "cost-aware"
        poison_freed: bool = False,  # for tests: what is freed turns to NaN
    ) -> None:
        self.geometry = geometry
        self.stats = KVStats()
        self._secret, self._model, self._tokenizer = secret, model, tokenizer
        self._public_root = public_root(secret, model, tokenizer, geometry)
        self._has_public = False
        num_blocks = max(0, budget_bytes) // geometry.block_bytes
        ranking = make_policy(policy, num_blocks, knee_tokens=knee_tokens)
        self._store = BlockStore(geometry, num_blocks, self.stats, ranking, poison_freed=poison_freed)
        self._num_chains = 0
        self._cost = RecomputeCost()
        self._sources = [Source(tier, self._cost, queue_bytes) for tier in tiers]
        writers = [source.writer for source in self._sources]
        self._behind = WriteBehind(self._store, writers, queue_bytes, lru_cache(MARKS)(partial(owner_mark, secret)))
        self._erased: OrderedDict[str, int] = OrderedDict()  # owners, and the newest chain from before
        self._prefetches = ThreadPoolExecutor(PREFETCHES, "kv-prefetch")  # starts no thread before it is needed
        self._epoch = 0  # of `clear`: a prefetch from before it gives nothing

    @property
    def blocks(self) -> Occupancy:
        return self._store.occupancy

    def chain(self, salt: str, owner: str = "") -> Chain:
        """A memory of block keys for one sequence under `salt`, to pass instead of the salt."""
        root = chain_root(self._secret, self._model, self._tokenizer, self.geometry, salt)
        self._num_chains += 1
        return Chain(root, self.geometry.block_tokens, owner, self._num_chains)

    def public_chain(self) -> Chain:
        """As `chain`, for a prompt that everybody may begin with: what it publishes is found under every salt."""
        self._num_chains += 1
        self._has_public = True
        return Chain(self._public_root, self.geometry.block_tokens, PUBLIC, self._num_chains)

    def keys(self, salt: str | Chain, token_ids: Sequence[int]) -> list[bytes]:
        """Keys of every full block of `token_ids`: equal keys mean equal prefixes under equal salts."""
        return self._as_chain(salt).keys(pack(token_ids))

    def peek(self, salt: str | Chain, token_ids: Sequence[int], *, limit: int | None = None) -> int:
        """How many tokens `match` would find; pins, counts and refreshes nothing."""
        return self._find(self._as_chain(salt), token_ids, limit).num_tokens

    def prefetch(
        self, salt: str | Chain, token_ids: Sequence[int], *, limit: int | None = None, multiple_of: int = 1
    ) -> Prefetch:
        """Begin to load from colder tiers what RAM does not hold of `token_ids[:limit]`; returns at once.

        Nothing is begun that would not make the hit longer by a multiple of `multiple_of`.
        """
        chain = self._as_chain(salt)
        asked = max(0, len(token_ids) - 1 if limit is None else min(limit, len(token_ids)))
        start, stop = 0, asked - asked % multiple_of
        wanted = None
        if self._sources and self.blocks.total:
            start = self._find(chain, token_ids, stop).num_tokens
            if start - start % multiple_of < stop:
                packed = pack(token_ids[:stop])
                wanted = Wanted(chain.root, chain.keys(packed), packed, start, stop, self.geometry.block_tokens)
        prefetch = Prefetch(wanted, self._sources, self._cost, self._epoch)
        prefetch.start(self._prefetches)
        return prefetch

    def match(
        self,
        salt: str | Chain,
        token_ids: Sequence[int],
        *,
        limit: int | None = None,
        multiple_of: int = 1,
        count: bool = True,
        is_asked: bool = True,
        prefetched: Prefetch | None = None,
    ) -> Lease:
        """Find and pin the longest kept prefix of `token_ids[:limit]`, cut down to a multiple of `multiple_of` tokens.

        The limit is by default one less than the prompt, whose last token is always computed to get its logits. Say
        `count=False` when the same request asks again, so that `stats` counts each request once.

        What was found for nobody yet, `is_asked=False`, is no hit in `stats` and surveys; eviction hears of it.

        What a `prefetched` of the same prompt has brought so far extends the hit, where it joins up with what RAM
        holds by now; the rest of it is dropped.
        """
        chain = self._as_chain(salt)
        found = self._find(chain, token_ids, limit)
        restored, reached = self._joined(found.num_tokens, chain, token_ids, limit, prefetched)
        num_tokens = reached - reached % multiple_of
        num_ram_tokens = min(found.num_tokens, num_tokens)
        miss = None if num_tokens else self._miss_reason(found, prefetched)
        path = found.path[: -(-num_ram_tokens // self.geometry.block_tokens)]
        lease = Lease(self._store, path, num_tokens, miss, num_ram_tokens=num_ram_tokens, restored=restored)
        if count and is_asked:
            self._count(len(token_ids), lease, found)
        if count:
            self._store.hit(path, num_ram_tokens, is_asked=is_asked)
            self._behind.note(path, is_hit=True)
        return lease

    def publish(
        self,
        salt: str | Chain,
        token_ids: Sequence[int],
        slab: torch.Tensor,
        num_computed: int,
        *,
        num_answered: int | None = None,
    ) -> int:
        """Keep every full block of `token_ids[:num_computed]` not kept yet; returns how many were added.

        The head of the chain comes first. A request that ends tells how many tokens it was answered with, which says
        something of whether it will be gone on with. Raises ValueError when the slab does not hold such rows.
        """
        self._check_computed(token_ids, slab, num_computed)
        chain = self._as_chain(salt)
        if self._is_erased(chain):
            return 0
        known = self._follow(chain, token_ids[:num_computed])
        added = self._store.extend(
            known.path,
            known.missing(),
            slab,
            may_evict=True,
            owner=chain.owner,
            sequence=chain.sequence,
            num_answered=num_answered,
        )
        self.stats.published_blocks += added
        if self._sources and added:
            self._behind.note(self._follow(chain, token_ids[:num_computed]).path, since=len(known.path))
        self._behind.pump()
        return added

    def publish_tail(
        self,
        salt: str | Chain,
        token_ids: Sequence[int],
        slab: torch.Tensor,
        num_computed: int,
        *,
        num_answered: int | None = None,
    ) -> bool:
        """Publish, and keep the last, partly filled block too; returns whether that one was added.

        For the end of a sequence: the next turn then resumes at the very token. Less than half a block takes a free
        block but evicts nothing: it would cost others more than it saves.
        """
        chain = self._as_chain(salt)
        self.publish(chain, token_ids, slab, num_computed, num_answered=num_answered)
        if self._is_erased(chain):
            return False
        known = self._follow(chain, token_ids[:num_computed])
        tail = known.next_ids()
        if not tail or known.next_key is not None or self._is_covered(known, tail):
            return False
        draft = Draft(block_key(chain.root, known.parent, tail), known.parent, len(known.keys), tail)
        may_evict = len(tail) * 2 >= chain.block_bytes
        added = self._store.extend(
            known.path,
            [draft],
            slab,
            may_evict=may_evict,
            owner=chain.owner,
            sequence=chain.sequence,
            num_answered=num_answered,
        )
        self.stats.published_tails += added
        if self._sources and added:
            child = self._store.index.nearest_child(known.parent, tail)
            self._behind.note([*known.path, *([child[0]] if child else [])], since=len(known.path))
        return bool(added)

    def pin(self, salt: str | Chain, token_ids: Sequence[int]) -> int:
        """Keep what RAM holds of a prefix, in full blocks, from eviction; returns how many tokens are pinned.

        At most a fifth of all blocks are pinned at a time; the head of the prefix comes first.
        """
        return self._store.pin(self._follow(self._as_chain(salt), token_ids).path) * self.geometry.block_tokens

    def unpin(self, salt: str | Chain, token_ids: Sequence[int]) -> int:
        """Take the pins off a prefix, whoever set them; returns how many tokens had one."""
        return self._store.unpin(self._follow(self._as_chain(salt), token_ids).path) * self.geometry.block_tokens

    def persist(self, salt: str | Chain, token_ids: Sequence[int]) -> None:
        """Have what RAM holds of a prefix written to every tier without waiting for a second use."""
        self._behind.note(self._follow(self._as_chain(salt), token_ids).path, admit=True)

    def observe_compute(self, start: int, num_tokens: int, seconds: float) -> None:
        """Learn what a prefill chunk of `num_tokens` behind `start` others cost, to know when a load is cheaper."""
        self._cost.observe(start, num_tokens, seconds)

    def idle(self) -> bool:
        """Hand a few segments to the writers, as there is nothing else to do; returns whether any are left.

        Takes a few milliseconds at most: the copy of two segments, or a short wait for a full queue.
        """
        return self._behind.idle()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until what was handed to the writers is written; returns whether it is."""
        return all(source.writer.flush(timeout_s) for source in self._sources)

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is not written yet as far as the time allows, and end every thread. RAM can still be used."""
        until = time.monotonic() + timeout_s
        self._behind.drain(until)
        self._prefetches.shutdown(wait=False, cancel_futures=True)
        for source in self._sources:
            source.writer.close(max(0.0, until - time.monotonic()))
            source.tier.close()

    def clear(self) -> None:
        """Forget everything, in every tier; what is leased stays readable for its holder."""
        self._epoch += 1
        self._store.clear()
        self._behind.clear()
        for source in self._sources:
            source.writer.clear()

    def erase(self, owner: str) -> "Erasing":
        """Forget everything of an owner, in every tier; what is leased stays readable for its holder, and what its
        requests compute now is not kept. RAM has forgotten when this returns; tiers follow."""
        self._epoch += 1
        self._erased[owner] = self._num_chains
        self._erased.move_to_end(owner)
        if len(self._erased) > ERASURES:
            self._erased.popitem(last=False)
        mark = owner_mark(self._secret, owner)
        self._behind.erase(mark)
        blocks = self._store.erase(owner)
        return Erasing(blocks, {source.tier.name: source.writer.erase(mark) for source in self._sources})

    def _is_erased(self, chain: Chain) -> bool:
        return bool(self._erased) and chain.sequence <= self._erased.get(chain.owner, -1)

    def snapshot(self) -> dict[str, int]:
        """Counters and occupancy under flat names, for whoever exports them; those of a tier begin with its name."""
        flat = asdict(self.stats)
        misses = {f"miss_{reason}": count for reason, count in flat.pop("misses").items()}
        for source in self._sources:
            flat |= {f"{source.tier.name}_{name}": count for name, count in source.snapshot().items()}
        blocks, size = self.blocks, self.geometry.block_bytes
        flat |= {"ram_resident_bytes": (blocks.total - blocks.free) * size, "ram_budget_bytes": blocks.total * size}
        return flat | misses | {f"blocks_{state}": count for state, count in asdict(blocks).items()}

    def survey(self, most_nodes: int) -> Survey:
        """Begin to find out which prefixes in RAM are shared most; drive it with `step`, between whatever is urgent."""
        return self._store.survey(most_nodes)

    def check(self) -> None:
        """Raise RuntimeError, with the numbers, when the accounting or a chain is broken. Walks every block."""
        self._store.check()

    def _as_chain(self, salt: str | Chain) -> Chain:
        return self.chain(salt) if isinstance(salt, str) else salt

    def _follow(self, chain: Chain, token_ids: Sequence[int]) -> "Known":
        packed = pack(token_ids)
        keys = chain.keys(packed)
        return Known(chain, packed, keys, self._store.index.longest_run(keys, packed, chain.block_bytes))

    def _find(self, chain: Chain, token_ids: Sequence[int], limit: int | None) -> "Found":
        asked = len(token_ids) - 1 if limit is None else limit
        known = self._follow(chain, token_ids[: max(0, asked)])
        num_tokens = len(known.path) * self.geometry.block_tokens
        child = self._store.index.nearest_child(known.parent, known.next_ids())
        found = Found(known.path, num_tokens, known.next_key)
        if child is not None:
            found = Found([*known.path, child[0]], num_tokens + child[1], known.next_key)
        if self._has_public and chain.root != self._public_root:
            public = self._public_run(known.packed)
            if len(public) * self.geometry.block_tokens > found.num_tokens:
                return Found(public, len(public) * self.geometry.block_tokens, known.next_key)
        return found

    def _public_run(self, packed: bytes) -> list[int]:
        """The leading full blocks that are public. Hashed as far as they are, so others' prompts cost one hash."""
        path: list[int] = []
        key, size = self._public_root, self.geometry.block_tokens * ID_BYTES
        for start in range(0, len(packed) - size + 1, size):
            ids = packed[start : start + size]
            key = block_key(self._public_root, key, ids)
            block = self._store.index.find(key)
            if block is None or self._store.index.node(block).packed != ids:
                break
            path.append(block)
        return path

    def _joined(
        self,
        num_ram_tokens: int,
        chain: Chain,
        token_ids: Sequence[int],
        limit: int | None,
        prefetched: Prefetch | None,
    ) -> tuple[list[Restored], int]:
        """What of a prefetch continues the rows that RAM holds, and up to which token."""
        if prefetched is None or prefetched.wanted is None or prefetched.epoch != self._epoch:
            return [], num_ram_tokens
        wanted, reached, restored = prefetched.wanted, num_ram_tokens, []
        asked = max(0, len(token_ids) - 1 if limit is None else min(limit, len(token_ids)))
        packed = pack(token_ids[: min(asked, wanted.stop)])
        common = count_common_ids(packed, wanted.packed) if wanted.root == chain.root else 0
        for piece in prefetched.arrived():
            stop = min(piece.stop, common)
            if piece.start <= reached < stop:
                restored.append(piece)
                reached = stop
        return restored, reached

    def _miss_reason(self, found: "Found", prefetched: Prefetch | None) -> MissReason:
        if not self.blocks.total:
            return "disabled"
        if prefetched is not None and prefetched.reason is not None:
            return prefetched.reason
        if found.num_tokens or found.next_key is None:
            return "below_block"
        return "evicted" if found.next_key in self._store.evicted else "no_prefix"

    def _count(self, asked: int, lease: Lease, found: "Found") -> None:
        stats, num_tokens, miss = self.stats, lease.num_tokens, lease.miss
        stats.lookups += 1
        stats.asked_tokens += asked
        stats.hit_tokens += num_tokens
        stats.ram_hit_tokens += lease.num_ram_tokens
        for source in self._sources:
            if source.tier.name in lease.by_tier:
                source.count(hits=1, hit_tokens=lease.by_tier[source.tier.name])
        stats.hit_blocks += num_tokens // self.geometry.block_tokens
        stats.partial_tokens += num_tokens % self.geometry.block_tokens
        if miss is not None:
            stats.misses[miss] += 1
        elif found.next_key is not None and found.next_key in self._store.evicted:
            stats.cut_short += 1

    def _is_covered(self, known: "Known", tail: bytes) -> bool:
        """Whether a kept block begins with the whole tail; it then counts as used just now."""
        child = self._store.index.nearest_child(known.parent, tail)
        if child is None or child[1] * ID_BYTES < len(tail):
            return False
        self._store.touch([*known.path, child[0]])
        return True

    def _check_computed(self, token_ids: Sequence[int], slab: torch.Tensor, num_computed: int) -> None:
        self._store.arena.check_slab(slab, num_computed)
        if num_computed > len(token_ids):
            raise ValueError(f"computed {num_computed} of {len(token_ids)} tokens")


@dataclass(frozen=True, slots=True)
class Erasing:
    """What is being forgotten of an owner: blocks of RAM, which are gone, and what the tiers are at."""

    blocks: int
    tiers: Mapping[str, Erasure]

    @property
    def is_done(self) -> bool:
        return all(tier.is_done for tier in self.tiers.values())


@dataclass(frozen=True, slots=True)
class Known:
    """A sequence against the index: its packed ids, the keys of its full blocks, the leading ones that are kept."""

    chain: Chain
    packed: bytes
    keys: list[bytes]
    path: list[int]

    @property
    def parent(self) -> bytes:
        """Key of the last kept block, or the root: what the next block hangs on."""
        return self.keys[len(self.path) - 1] if self.path else self.chain.root

    @property
    def next_key(self) -> bytes | None:
        """Key of the first full block that is not kept; None when all are."""
        return self.keys[len(self.path)] if len(self.path) < len(self.keys) else None

    def next_ids(self) -> bytes:
        """Packed ids of the block after the kept ones, full or not."""
        start = len(self.path) * self.chain.block_bytes
        return self.packed[start : start + self.chain.block_bytes]

    def missing(self) -> list[Draft]:
        """The full blocks that are not kept."""
        size, parents = self.chain.block_bytes, [self.chain.root, *self.keys]
        return [
            Draft(self.keys[i], parents[i], i, self.packed[i * size : (i + 1) * size])
            for i in range(len(self.path), len(self.keys))
        ]


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup found: blocks, tokens in them, and the key of the first full block that was not there."""

    path: list[int]
    num_tokens: int
    next_key: bytes | None
