"""Room under a budget: who is in it, what each weighs, and who leaves next. In all and, where bounded, per tenant.

    _stays     key -> its tenant, bytes, uses and priority while it stays
    _shelves   tenant -> its keys by priority; None -> all keys

Invariants: `size_bytes` is the sum of all sizes, `tenants` the same for each tenant; both are within their budgets
whenever `leaving` has ended. What a priority is stands in `gateway.answers.eviction`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from gateway.answers.eviction import Shelf, first_priority, next_priority, worth
from gateway.answers.popularity import Popularity

SWEEP_OVER = 4  # stays on a shelf per key, before those that ended are swept off

Key = tuple[bytes, bytes]  # (scope, fingerprint)


@dataclass(slots=True)
class Stay:
    """One key from its coming to its leaving."""

    tenant: str
    size: int
    uses: int
    worth: float
    priority: float
    number: int


class Room:
    """Bookkeeping of a budget. Belongs to one thread."""

    def __init__(self, budget_bytes: int, tenant_bytes: int | None, policy: str, seed: int) -> None:
        self.size_bytes = 0
        self.tenants: Counter[str] = Counter()
        self._budget_bytes = budget_bytes
        self._tenant_bytes = tenant_bytes
        self._policy = policy
        self._draws = Random(seed)  # noqa: S311 (no secret)
        self._popularity = Popularity(budget_bytes)
        self._stays: dict[Key, Stay] = {}
        self._shelves: dict[str | None, Shelf[Key]] = {None: Shelf()}
        self._tick = 0
        self._floor = 0.0

    @property
    def most_bytes(self) -> int:
        """The largest thing that can be in here."""
        return self._budget_bytes if self._tenant_bytes is None else min(self._budget_bytes, self._tenant_bytes)

    def leaving(self, tenant: str, size: int) -> Iterator[Key]:
        """Who has to leave before `size` more bytes of `tenant` fit. The caller lets each leave before asking on."""
        while tenant and self._tenant_bytes is not None and self.tenants[tenant] + size > self._tenant_bytes:
            yield self._lowest(tenant)
        while self.size_bytes + size > self._budget_bytes:
            yield self._lowest(None)

    def shrinking(self, to_bytes: int) -> Iterator[Key]:
        """Who has to leave before what is here weighs so little. The caller lets each leave before asking on."""
        while self.size_bytes > to_bytes:
            yield self._lowest(None)

    def enter(self, key: Key, tenant: str, size: int, elapsed_s: float, uses: int, *, is_use: bool) -> None:
        """Count `key` in; it was used so often before, as far as the caller knows."""
        self._tick += 1
        uses = max(1, uses + is_use, self._popularity.add(key[1], int(is_use)))
        value = worth(elapsed_s, size)
        priority = first_priority(
            self._policy,
            floor=self._floor,
            tick=self._tick,
            uses=uses,
            worth=value,
            draw=self._draws.expovariate(1.0) if self._policy == "random" else 0.0,
        )
        self._stays[key] = Stay(tenant, size, uses, value, priority, self._tick)
        self._count(tenant, size)
        for shelf in self._shelves_of(tenant):
            shelf.put(priority, self._tick, key)

    def use(self, key: Key, times: int = 1) -> None:
        """Note a use, or several."""
        self._tick += 1
        stay = self._stays[key]
        stay.uses = max(stay.uses + times, self._popularity.add(key[1], times))
        stay.priority = next_priority(
            self._policy,
            before=stay.priority,
            floor=self._floor,
            tick=self._tick,
            uses=stay.uses,
            worth=stay.worth,
        )

    def grow(self, key: Key, growth: int) -> None:
        """Count what `key` weighs more, or less; its priority stays."""
        stay = self._stays[key]
        stay.size += growth
        self._count(stay.tenant, growth)

    def leave(self, key: Key) -> Stay:
        """Count `key` out."""
        stay = self._stays.pop(key)
        self._count(stay.tenant, -stay.size)
        if not self.tenants[stay.tenant]:
            del self.tenants[stay.tenant]
            self._shelves.pop(stay.tenant, None)
        return stay

    def stay(self, key: Key) -> Stay:
        """What is known of a key that is here."""
        return self._stays[key]

    def _lowest(self, tenant: str | None) -> Key:
        key = self._shelves[tenant].lowest(self._priority)
        if key is None:
            raise RuntimeError(f"{self.size_bytes} bytes of {len(self._stays)} keys, and none to let go")
        if self._policy in ("cost", "random"):
            self._floor = max(self._floor, self._stays[key].priority)
        return key

    def _priority(self, key: Key, number: int) -> float | None:
        stay = self._stays.get(key)
        return stay.priority if stay is not None and stay.number == number else None

    def _shelves_of(self, tenant: str) -> Iterable[Shelf[Key]]:
        """Where a tenant's keys lie; one of its own only where its bytes are bounded."""
        names = (None,) if self._tenant_bytes is None else (None, tenant)
        for name in names:
            shelf = self._shelves.setdefault(name, Shelf())
            if len(shelf) > SWEEP_OVER * len(self._stays) + 64:
                shelf.sweep(self._priority)
            yield shelf

    def _count(self, tenant: str, size: int) -> None:
        self.size_bytes += size
        self.tenants[tenant] += size
