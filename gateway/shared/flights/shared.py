"""Identical requests in flight share one generation, whichever replicas they came to.

    claim   ours        lead: generate under a lease; ears elsewhere may listen (`leading`)
            another's   follow: what it said is replayed, what it says is passed on (`following`);
                        if it dies or is given up, the claim is asked for again
            unknown     Redis is away: generate, as a gateway of its own would

One round trip before a generation, one after it; more only while others listen, or where it takes longer than a third
of a lease. Whoever asked a replica that lost its lease has its answer all the same; it is not kept.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from hashlib import blake2b
from typing import Any

from backends.chat import Delta
from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Link
from gateway.flights import Flight
from gateway.ledger import Ledger
from gateway.metrics import Sample
from gateway.shared.flights.following import Ears, Following, LeaderGone
from gateway.shared.flights.leading import Generate, Led, Term
from gateway.shared.flights.leases import LATECOMERS_MS, Claim, Follow, Lead
from gateway.shared.flights.post import Post
from gateway.shared.flights.seam import Seam
from gateway.shared.flights.words import Ended, Leave, Said, Want, Word

log = logging.getLogger(__name__)

LEASE_S = 3.0
MAX_BYTES = 4 * 2**20  # of what was said already: whoever comes to more of it generates
MOST_LEADERS = 4  # that are followed one after the other, before a replica generates for itself
LINGER_S = 2 * LATECOMERS_MS / 1000
PAUSE_S = 0.2  # between two looks into a letter box that cannot be read


class SharedFlights:
    """The flights of all replicas, as seen from this one. Belongs to one event loop."""

    def __init__(
        self,
        link: Link,
        secret: bytes,
        ledger: Ledger,
        *,
        replica: str,
        lease_s: float = LEASE_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._post = Post(link, secret, replica=replica, lease_s=lease_s)
        self._secret = secret
        self._ledger = ledger
        self._max_bytes = max_bytes
        self._led: dict[str, Led] = {}
        self._ears = Ears(self._post.replica)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def open(self) -> None:
        """Read letters from now on."""
        self._spawn(self._read())

    async def close(self) -> None:
        """Give up what is still being generated for others, and say so."""
        self._is_closed = True
        await asyncio.gather(*(led.give_up() for led in self._led.values()))
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def leading(self) -> Sequence[Led]:
        """The generations of ours, and those that ended a moment ago."""
        return tuple(self._led.values())

    @property
    def num_followed(self) -> int:
        """Generations of others that are listened to."""
        return len(self._ears)

    def samples(self) -> Iterator[Sample]:
        """What is under way, for Prometheus."""
        here = [led for led in self._led.values() if not led.flight.has_ended]
        heard = sum(led.num_ears > 0 for led in here)
        for role, count in (("leading", len(here)), ("leading_for_others", heard), ("following", self.num_followed)):
            yield Sample(
                "twicetold_shared_flights",
                "Generations under a lease, by this gateway's part",
                count,
                (("role", role),),
            )
        help_ = "Messages that no gateway with our secret can have written"
        yield Sample("twicetold_shared_foreign_letters", help_, self._post.num_foreign, (), True)

    def flight(self, exact: bytes, generate: Generate, *, waited_s: float) -> "SharedFlight":
        """A generation to be started as a `Flight`: here, or where it is being made already."""
        name = blake2b(exact, key=self._secret, digest_size=16, person=b"shared flight").hexdigest()
        return SharedFlight(self, name, generate, time.monotonic() - waited_s)

    # -- what one flight asks for ----------------------------------------------------------------------------------

    async def claim(self, name: str, since: float) -> Claim:
        """Whose the generation is."""
        try:
            return await self._post.claim(name, time.monotonic() - since)
        except CacheError:
            return Lead(0)

    def started_here(self, name: str) -> Led | None:
        """A generation of ours that goes on although its riders here have left."""
        led = self._led.get(name)
        return led if led is not None and not led.flight.has_ended else None

    def lead(self, name: str, token: int, generate: Generate) -> Led:
        """Start a generation under a lease."""
        led = self._led[name] = Led(self._post, Term(self._post, name, token), generate, self._max_bytes)
        self._spawn(self._look_after(name, led))
        return led

    def follow(
        self, name: str, claim: Follow, since: float, has_told: Callable[[], bool]
    ) -> AsyncGenerator[Delta, None]:
        """Listen to a generation elsewhere."""
        following = Following(self._post, self._ears, name, claim, since=since, has_told=has_told)
        return following.deltas(self._leave)

    def count(self, what: str, why: str) -> None:
        self._ledger.looked_up("flight", what, why)

    # -- letters -------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                words = await self._post.receive()
            except CacheError:
                self._ears.cut()
                await asyncio.sleep(PAUSE_S)
                continue
            for word in words:
                try:
                    self._heed(word)
                except Exception:  # the root of a task that must not end: a bug costs one letter, and is told
                    log.exception("a letter of another gateway could not be heeded")

    def _heed(self, word: Word) -> None:
        match word:
            case Said() | Ended():
                self._ears.hear(word)
            case Want():
                self._tell(word)
            case Leave():
                self._forget(word)

    def _tell(self, want: Want) -> None:
        led = self._led.get(want.flight)
        if led is not None and led.term.token == want.token:
            led.want(want)
        else:
            self._spawn(self._send(want.ear.partition("/")[0], Ended(want.ear, 0, "gone")))

    def _forget(self, leave: Leave) -> None:
        led = self._led.get(leave.flight)
        if led is not None and led.term.token == leave.token:
            led.leave(leave.ear)

    def _leave(self, owner: str, leave: Leave) -> None:
        self._spawn(self._send(owner, leave))

    async def _send(self, replica: str, word: Ended | Leave) -> None:
        with suppress(CacheError):
            await self._post.send(replica, [word])

    # -- tasks ---------------------------------------------------------------------------------------------------

    async def _look_after(self, name: str, led: Led) -> None:
        """Hold the lease while it flies, give it back, and remember what was said for those who come a little late."""
        await led.look_after()
        await led.term.end(has_answer=False)
        await asyncio.sleep(LINGER_S)
        if self._led.get(name) is led:
            del self._led[name]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._is_closed:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class SharedFlight:
    """One generation: a `Source` for a `Flight`."""

    def __init__(self, flights: SharedFlights, name: str, generate: Generate, since: float) -> None:
        self.is_elsewhere = False  # what was passed on was said by another replica
        self.flight: Flight | None = None  # that this is the source of; without one all is heard as it comes
        self._flights = flights
        self.name = name
        self._generate = generate
        self._since = since
        self._seam = Seam()

    async def __call__(self) -> AsyncGenerator[Delta, None]:
        """The answer, from wherever it can be had. Raises what the generation raises."""
        claim = await self._claim()
        for _ in range(MOST_LEADERS):
            if not isinstance(claim, Follow):
                break
            try:
                following = self._flights.follow(self.name, claim, self._since, self._has_told)
                async with aclosing(following) as deltas:
                    async for delta in deltas:
                        if (new := self._seam.fit(delta)) is not None:
                            self.is_elsewhere = True
                            yield new
            except LeaderGone as gone:
                claim = await self._next(claim, gone)
                continue
            self.is_elsewhere = True
            return
        async with aclosing(self._made(claim.token if isinstance(claim, Lead) else 0)) as deltas:
            if self.flight is not None:
                self.flight.settle()
            async for delta in deltas:
                if (new := self._seam.fit(delta)) is not None:
                    yield new

    def _has_told(self) -> bool:
        """Whether somebody has heard a part of it: whoever wants the whole can be given another one."""
        return not self._seam.is_fresh and (self.flight is None or self.flight.is_settled)

    async def _claim(self) -> Claim | None:
        """Whose it is; None when it is under way here, and its riders had left."""
        if self._flights.started_here(self.name) is not None:
            return None
        claim = await self._flights.claim(self.name, self._since)
        if isinstance(claim, Follow):
            self._flights.count("follow", "ended" if claim.lapses_s == 0 else "under_way")
        else:
            self._flights.count("lead", "lease" if claim.token else "redis_away")
        return claim

    async def _next(self, claim: Follow, gone: LeaderGone) -> Claim:
        """Whose it is after its leader was lost."""
        if self.flight is not None and self.flight.forget():
            self._seam, self.is_elsewhere = Seam(), False
        else:
            self._seam.again()
        found = gone.claim or await self._flights.claim(self.name, self._since)
        if isinstance(found, Follow) and found.token == claim.token:
            found = Lead(0)  # it is given up, and nobody could say so
        self._flights.count("lead" if isinstance(found, Lead) else "follow", "leader_gone")
        return found

    def _made(self, token: int) -> AsyncGenerator[Delta, None]:
        led = self._flights.started_here(self.name)
        if led is not None:
            self.is_elsewhere = True
            return led.flight.ride()
        if not token:
            return self._generate(Term(None, self.name, 0))
        return self._flights.lead(self.name, token, self._generate).flight.ride()
