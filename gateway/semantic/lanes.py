"""Lanes: one for each tenant and route, restored from its labels when first asked.

    decide   guards, verifier, threshold        on the loop, where the texts are short and nobody has the lane
    learn    the label goes to the file, then to the lane      so a restart replays what was learned, in order

What takes long (restoring, learning, reports, long texts, a verifier with a model of its own) is done in a thread. A
lane is not safe between threads: whoever touches it has its lock, and the loop never waits for one, it hands the work
over then. Waking a thread and coming back cost more than a decision: 3 ms where the processor is busy, for 1. A
decision on the loop is made in steps, one question at a time, so that a hit or a delta waits for a step and no more.
Which lanes are in memory is the loop's affair; those that were not asked for long go, and come back from the file.
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from typing import TypeVar

from embeddings.base import Reading
from embeddings.control import Compares, Label, Lane, Neighbour, Verdict
from embeddings.verifier import Verifier
from gateway.answers.base import CacheError
from gateway.semantic.held import Held, NewLane
from gateway.semantic.labels import Given, Kept, LabelStore
from gateway.semantic.minds import TwoMinds
from gateway.semantic.rule import LaneKey, LaneRule
from gateway.semantic.steps import Pace, in_steps
from gateway.semantic.tallies import Tally
from gateway.turns import Turns

log = logging.getLogger(__name__)

MAX_LANES = 256  # in memory
QUICK_CHARS = 2700  # of a question and its neighbours together: beyond, others should not have to wait for it
MAX_COUNTED = 4096  # anybody can make up a tenant

T = TypeVar("T")


class Lanes:
    """Owns the lanes. Belongs to one event loop."""

    def __init__(
        self,
        labels: LabelStore,
        secret: bytes,
        minds_of: Callable[[LaneKey], tuple[Compares, Verifier | None]],
        *,
        new_lane: NewLane = Lane,
        max_lanes: int = MAX_LANES,
        timeout_s: float = 5.0,
    ) -> None:
        """`minds_of` says which verifier everybody has and which is a lane's own; it is asked once the embedder is
        there, in the lanes' thread. A verdict takes `timeout_s` at most, the restoring of its lane included."""
        self._labels = labels
        self._secret = secret
        self._minds_of = minds_of
        self._new_lane = new_lane
        self._max_lanes = max_lanes
        self._timeout_s = timeout_s
        self._held: OrderedDict[LaneKey, asyncio.Future[Held]] = OrderedDict()
        self.decided: Counter[tuple[LaneKey, str]] = Counter()  # by action, since the start
        self.tallies: OrderedDict[LaneKey, Tally] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "lanes")
        self.pace = Pace()  # of what takes the loop a millisecond, here and before it comes here
        self._turns = Turns(1)

    async def close(self) -> None:
        """Finish what is under way."""
        await asyncio.to_thread(self._thread.shutdown)

    async def decide(
        self,
        rule: LaneRule,
        question: Reading,
        neighbours: Sequence[Neighbour],
        min_similarity: float,
        *,
        is_dry: bool = False,
    ) -> Verdict:
        """What the lane makes of a question; a dry run serves nothing, and what it says is `shadow` would be served or
        sampled. Raises `CacheError` when the labels cannot be read: not to know of a wrong hit is not to have none."""
        only = is_dry or rule.mode == "shadow"
        held = self._quick(rule)
        num_chars = len(question.text) + sum(len(one.reading.text) for one in neighbours)
        if held is not None and isinstance(held.lane, Lane) and num_chars <= QUICK_CHARS:
            deciding = held.lane.deciding(question, neighbours, min_similarity=min_similarity, is_shadow_only=only)
            if (verdict := await self._in_steps(held, deciding)) is not None:
                return verdict
        return await self._in_thread(
            rule,
            lambda held: held.lane.decide(question, neighbours, min_similarity=min_similarity, is_shadow_only=only),
        )

    async def decide_wording(self, rule: LaneRule, question: str, entry: str, *, is_dry: bool = False) -> Verdict:
        """As `decide`, of a question whose bare form is that of a stored one."""
        only = is_dry or rule.mode == "shadow"
        held = self._quick(rule)
        if held is not None and held.lock.acquire(blocking=False):
            with _letting_go(held):
                return held.lane.decide_wording(question, entry, is_shadow_only=only)
        return await self._in_thread(rule, lambda held: held.lane.decide_wording(question, entry, is_shadow_only=only))

    async def _in_steps(self, held: Held, deciding: Generator[None, None, Verdict]) -> Verdict | None:
        """What the lane makes of it, one question after another and others served between the steps of each; None
        where a thread has the lane."""
        async with self._turns:
            if not held.lock.acquire(blocking=False):
                return None
            with _letting_go(held):
                return await in_steps(deciding, self.pace)

    async def _in_thread(self, rule: LaneRule, decide: Callable[[Held], Verdict]) -> Verdict:
        """What the lane makes of it where that may take long."""
        try:
            async with asyncio.timeout(self._timeout_s):
                held = await self._lane(rule)
                return await self._run(held, decide)
        except TimeoutError as error:
            raise CacheError(f"no verdict within {self._timeout_s:g} s") from error

    async def learn(self, rule: LaneRule, given: Sequence[Given]) -> int:
        """Keep labels and let the lane know; how many it has. Raises `CacheError` when they cannot be kept; the lane
        knows all the same, until it has to be restored."""
        held = await self._lane(rule)
        try:
            await asyncio.gather(*(self._labels.put(one) for one in given))
        finally:
            await self._run(held, lambda held: self._taught(held, [one.label for one in given]))
        return held.labels.total()

    async def report(self, rule: LaneRule) -> Held:
        """The lane with its report as of now. Raises `CacheError`."""
        held = await self._lane(rule)
        await self._run(held, self._reported)
        return held

    def count(self, rule: LaneRule, action: str, verdict: Verdict) -> None:
        """Note what came of a question."""
        tally = self.tallies.get(rule.key)
        if tally is None:
            tally = self.tallies[rule.key] = Tally()
        tally.note(verdict, action)
        if len(self.tallies) > self._max_lanes:
            self.tallies.popitem(last=False)
        if len(self.decided) < MAX_COUNTED or (rule.key, action) in self.decided:
            self.decided[rule.key, action] += 1

    def known(self) -> list[Held]:
        """Lanes in memory, with their last reports."""
        return [future.result() for future in self._held.values() if _is_there(future)]

    async def refresh(self) -> None:
        """Make the reports of the lanes in memory those of now."""
        for held in self.known():
            await self._run(held, self._reported)

    def forget(self) -> None:
        """Restore every lane anew when it is next asked for."""
        self._held.clear()

    def forget_tenant(self, tenant: str) -> None:
        """Forget a tenant's lanes and what was counted of them; what the file has of them they come back with."""
        for held in [key for key in self._held if key.tenant == tenant]:
            del self._held[held]
        for key in [key for key in self.tallies if key.tenant == tenant]:
            del self.tallies[key]
        for counted in [counted for counted in self.decided if counted[0].tenant == tenant]:
            del self.decided[counted]

    async def renew(self, key: LaneKey) -> None:
        """Let a lane in memory use the verifier that is its own by now. Labels keep what was thought of them."""
        future = self._held.get(key)
        if future is not None and _is_there(future):
            held = future.result()
            await self._run(held, self._renewed)

    def _here(self, rule: LaneRule) -> Held | None:
        """The lane under this rule if it is in memory."""
        future = self._held.get(rule.key)
        if future is None or not _is_there(future) or _differ(future.result().rule, rule):
            return None
        self._held.move_to_end(rule.key)
        return future.result()

    def _quick(self, rule: LaneRule) -> Held | None:
        """The lane under this rule if it is in memory, and takes so little that the loop may ask it."""
        held = self._here(rule)
        return held if held is not None and held.is_quick else None

    async def _lane(self, rule: LaneRule) -> Held:
        """The lane under this rule, restored if need be; whoever asks meanwhile waits for the same."""
        future = self._held.get(rule.key)
        if future is not None and _is_there(future) and _differ(future.result().rule, rule):
            future = None
        if future is None:
            future = self._held[rule.key] = asyncio.ensure_future(self._restored(rule))
            future.add_done_callback(lambda done: self._forget_failed(rule.key, done))
            while len(self._held) > self._max_lanes:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(rule.key)
        return await asyncio.shield(future)

    def _forget_failed(self, key: LaneKey, done: "asyncio.Future[Held]") -> None:
        if not _is_there(done) and self._held.get(key) is done:
            del self._held[key]

    async def _restored(self, rule: LaneRule) -> Held:
        kept = await self._labels.read(rule.key)
        held = await self._apart(lambda: self._built(rule, kept))
        if kept:
            log.info("lane %s/%s restored from %d labels", *rule.key, len(kept))
        return held

    # -- in the lanes' thread ----------------------------------------------------------------------------------------

    def _built(self, rule: LaneRule, kept: Iterable[Kept]) -> Held:
        verifier = TwoMinds(*self._minds_of(rule.key))
        seed = blake2b("\0".join(rule.key).encode(), key=self._secret, digest_size=32, person=b"lane").digest()
        lane = self._new_lane(verifier, target=rule.max_wrong_hit_rate, shadow_rate=rule.shadow_rate, seed=seed)
        held = Held(rule, lane, verifier, lane.report(), is_quick=isinstance(lane, Lane) and verifier.is_quick)
        for one in kept:
            held.learn(one.label)
        self._reported(held)
        return held

    def _renewed(self, held: Held) -> None:
        held.verifier.own = self._minds_of(held.rule.key)[1]

    def _taught(self, held: Held, labels: Sequence[Label]) -> None:
        for label in labels:
            held.learn(label)
        self._reported(held)

    def _reported(self, held: Held) -> None:
        held.report = held.lane.report()

    async def _run(self, held: Held, work: Callable[[Held], T]) -> T:
        """Do something with a lane in the thread."""

        def alone() -> T:
            with held.lock:
                return work(held)

        return await self._apart(alone)

    async def _apart(self, work: Callable[[], T]) -> T:
        try:
            done = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:  # the thread was shut down
            raise CacheError(f"the lanes are closed: {error}") from error
        try:
            return await done
        except CacheError:
            raise
        except Exception as error:  # the root of a thread
            raise _failed(error) from error


@contextmanager
def _letting_go(held: Held) -> Iterator[None]:
    """Let go of a lane that is held, whatever comes. Raises `CacheError` where it fails."""
    try:
        yield
    except Exception as error:
        raise _failed(error) from error
    finally:
        held.lock.release()


def _failed(error: Exception) -> CacheError:
    """A question nobody can judge is a question that is generated."""
    log.error("a lane failed", exc_info=error)
    return CacheError(f"a lane failed: {error!r}")


def _is_there(future: "asyncio.Future[Held]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _differ(a: LaneRule, b: LaneRule) -> bool:
    """Whether a lane made for one rule cannot serve the other."""
    return a != b
