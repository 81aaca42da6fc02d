"""When a backend that fails is left alone, and when it is tried again. Pure: whoever asks says what time it is.

closed     everything goes there; so many failures in a row, or so large a share of the last ones, open it
open       nothing goes there until it has rested
half-open  one request at a time goes there: its first word closes the circuit, its failure opens it for twice as long;
           beside one that says nothing for a rest's time another may go

A failure to connect speaks for itself. Any other may hang on what was asked, so it is held against the backend for its
own tenant (`Breaker`), and for everybody only once others saw such failures too: nobody opens a circuit for others.
"""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Literal

State = Literal["closed", "open", "half_open"]

MOST_OWNERS = 1024  # who saw failures lately


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When the circuit opens and for how long. `failures` = 0: never."""

    failures: int = 5  # in a row
    share: float = 0.5  # or failures among the last `window` requests, once there were so many
    window: int = 20
    open_s: float = 5.0
    max_open_s: float = 60.0


@dataclass(slots=True)
class Circuit:
    """One circuit. Times are seconds of one clock. A `witness` is who saw a failure; None: anybody would have."""

    rule: BreakerRule
    times_opened: int = 0
    _in_a_row: Counter[str | None] = field(default_factory=Counter)  # failures, by witness
    _recent: deque[tuple[bool, str | None]] = field(default_factory=deque)  # True: failed
    _open_until_s: float | None = None  # None: closed
    _rest_s: float = 0.0
    _probe_since_s: float | None = None
    _doubters: set[str | None] = field(default_factory=set)  # whose trials failed since it is half-open

    def state(self, now_s: float) -> State:
        if self._open_until_s is None:
            return "closed"
        return "open" if now_s < self._open_until_s else "half_open"

    def allows(self, now_s: float) -> bool:
        """Whether a request may go there now."""
        state = self.state(now_s)
        return state == "closed" or (state == "half_open" and self._has_room(now_s))

    def wait_s(self, now_s: float) -> float:
        """How long until one may be tried; 0 when it may now."""
        return 0.0 if self._open_until_s is None else max(0.0, self._open_until_s - now_s)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is held against the backend."""
        return self._open_until_s is None and not any(has_failed for has_failed, _ in self._recent)

    def begin(self, now_s: float) -> bool:
        """Note that a request goes there. True: it is the probe of a half-open circuit, and owes `end`."""
        if self.state(now_s) != "half_open" or not self._has_room(now_s):
            return False
        self._probe_since_s = now_s
        return True

    def end(self, is_probe: bool) -> None:
        """The request is over, whatever came of it; one that was left by its caller says nothing."""
        if is_probe:
            self._probe_since_s = None

    def spoke(self) -> None:
        """A probe has its first word: everybody may go there again. Only a whole answer makes the next rest shorter."""
        self._close()

    def succeeded(self, is_probe: bool) -> None:
        """An answer has ended by itself. One that began before the circuit opened does not close it."""
        if self._open_until_s is not None and not is_probe:
            return
        self._close()
        self._rest_s = 0.0
        self._note(False, None)

    def failed(self, now_s: float, witness: str | None = None) -> None:
        """A failure that speaks against the backend."""
        if self.rule.failures == 0:
            return
        self._in_a_row[witness] += 1
        self._note(True, witness)
        state = self.state(now_s)
        if state == "half_open":
            self._doubters.add(witness)
        if (state == "half_open" and _is_agreed(self._doubters)) or (state == "closed" and self._has_enough):
            self.open(now_s)

    def open(self, now_s: float) -> None:
        """Leave it alone: for twice as long as the last time."""
        self._rest_s = min(self.rule.max_open_s, 2 * self._rest_s or self.rule.open_s)
        self._close()
        self._open_until_s = now_s + self._rest_s
        self.times_opened += 1
        self._recent.clear()

    def _close(self) -> None:
        self._open_until_s = None
        self._in_a_row.clear()
        self._doubters.clear()

    def _has_room(self, now_s: float) -> bool:
        return self._probe_since_s is None or now_s - self._probe_since_s >= self.rule.open_s

    @property
    def _has_enough(self) -> bool:
        if _are_enough(self._in_a_row, self.rule.failures):
            return True
        if len(self._recent) < self.rule.window:
            return False
        marks = Counter(witness for has_failed, witness in self._recent if has_failed)
        return _are_enough(marks, self.rule.share * len(self._recent))

    def _note(self, has_failed: bool, witness: str | None) -> None:
        self._recent.append((has_failed, witness))
        if len(self._recent) > self.rule.window:
            self._recent.popleft()


def _are_enough(marks: Counter[str | None], needed: float) -> bool:
    """Whether these are `needed` failures, when what one tenant saw counts for no more than half of them."""
    most = (needed + 1) // 2
    return _is_agreed(marks) and sum(n if witness is None else min(n, most) for witness, n in marks.items()) >= needed


def _is_agreed(witnesses: Counter[str | None] | set[str | None]) -> bool:
    return None in witnesses or len(witnesses) > 1


@dataclass(slots=True)
class Permit:
    """A request on its way: whether it is a probe, of everybody's circuit and of its tenant's own."""

    owner: str
    is_probe: bool
    is_own_probe: bool


@dataclass(slots=True)
class Breaker:
    """The circuits of one backend: everybody's, and one for every tenant who saw it fail lately."""

    rule: BreakerRule
    times_opened: int = 0  # for everybody or for one
    whole: Circuit = field(init=False)
    _own: OrderedDict[str, Circuit] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.whole = Circuit(self.rule)

    def state(self, now_s: float) -> State:
        """For everybody."""
        return self.whole.state(now_s)

    def num_shut_out(self, now_s: float) -> int:
        """Tenants for whom alone it is open."""
        return sum(own.state(now_s) == "open" for own in self._own.values())

    def allows(self, now_s: float, owner: str = "") -> bool:
        """Whether a request of this tenant may go there now."""
        own = self._own.get(owner)
        return self.whole.allows(now_s) and (own is None or own.allows(now_s))

    def wait_s(self, now_s: float, owner: str | None = None) -> float:
        """How long until one may be tried, of everybody or of this tenant; 0 when it may now."""
        own = None if owner is None else self._own.get(owner)
        return max(self.whole.wait_s(now_s), 0.0 if own is None else own.wait_s(now_s))

    def begin(self, now_s: float, owner: str = "") -> Permit:
        """Note that a request goes there. It owes `end`."""
        own = self._own.get(owner)
        return Permit(owner, self.whole.begin(now_s), own is not None and own.begin(now_s))

    def spoke(self, permit: Permit) -> None:
        """It has its first word: whatever it was a probe of is closed."""
        if permit.is_probe:
            self.whole.spoke()
        if permit.is_own_probe and (own := self._own.get(permit.owner)) is not None:
            own.spoke()
        self.end(permit)

    def succeeded(self, permit: Permit) -> None:
        """It has ended by itself."""
        self.whole.succeeded(permit.is_probe)
        if (own := self._own.get(permit.owner)) is not None:
            own.succeeded(permit.is_own_probe)
            if own.is_clean:
                del self._own[permit.owner]

    def failed(self, permit: Permit, now_s: float, *, is_certain: bool) -> bool:
        """It has failed; `is_certain`: whatever was asked. True when that opened a circuit."""
        if self.rule.failures == 0:
            return False
        was_trial = self.whole.state(now_s) == "half_open"
        opened = self.whole.times_opened
        self.whole.failed(now_s, None if is_certain else permit.owner)
        has_opened = self.whole.times_opened > opened
        if not is_certain and not has_opened:
            has_opened = self._own_failed(permit.owner, now_s, was_trial)
        self.times_opened += has_opened
        return has_opened

    def _own_failed(self, owner: str, now_s: float, was_trial: bool) -> bool:
        own = self._own.setdefault(owner, Circuit(self.rule))
        self._own.move_to_end(owner)
        if len(self._own) > MOST_OWNERS:
            self._own.popitem(last=False)
        opened = own.times_opened
        own.failed(now_s)
        if was_trial and own.state(now_s) != "open":  # others may try at once
            own.open(now_s)
        return own.times_opened > opened

    def end(self, permit: Permit) -> None:
        """It is over, whatever came of it, or no probe any more."""
        self.whole.end(permit.is_probe)
        if permit.is_own_probe and (own := self._own.get(permit.owner)) is not None:
            own.end(is_probe=True)
        permit.is_probe = permit.is_own_probe = False
