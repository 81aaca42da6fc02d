"""A generation of ours that other replicas may listen to.

It is a `Flight` with riders of two kinds: those of this replica, and one teller for every ear elsewhere, which passes
on what has landed. So it goes on as long as anybody listens, wherever, and is cancelled when the last one leaves.

    deltas   0 ............ told so far ............ landed so far
             |  heard there |  the next letter       |  still to come
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import cast

from backends.chat import Completion, Delta
from backends.errors import BackendError
from gateway.answers.base import CacheError
from gateway.flights import CalledOff, Flight
from gateway.shared.flights.post import Post
from gateway.shared.flights.words import Ended, Said, Want, Why, Word, is_longer, replica_of

TELL_EVERY_S = 0.02  # letters to one ear; what lands in between goes along
LETTER_DELTAS = 256
LAST_WORDS_S = 1.0
LISTENS_FOR_LEASES = 2.0  # how long an ear is believed to listen that said so

Keep = Callable[[Completion, float], object]


class Term:
    """A generation's right to have its answer kept."""

    def __init__(self, post: Post | None, flight: str, token: int) -> None:
        self._post = post if token else None
        self._flight = flight
        self.token = token
        self.is_ours = True  # as far as is known
        self.is_over = False

    async def ending(self, deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
        """Pass deltas through, and give the lease back after the last."""
        async with aclosing(deltas):
            async for delta in deltas:
                yield delta
        await self.end(has_answer=True)

    def keeping(self, keep: Keep) -> Keep:
        """`keep`, unless another replica has the lease by now: its answer is the newer one."""

        def keep_ours(completion: Completion, elapsed_s: float) -> None:
            if self.is_ours:
                keep(completion, elapsed_s)

        return keep_ours

    async def renew(self) -> None:
        """Hold on to the lease. What is lost stays lost."""
        if self._post is not None and self.is_ours and not self.is_over:
            with suppress(CacheError):  # who cannot be reached has not given it to another
                self.is_ours = await self._post.renew(self._flight, self.token)

    async def end(self, *, has_answer: bool) -> None:
        """Give the lease back, once."""
        if self._post is None or self.is_over:
            return
        self.is_over = True
        if self.is_ours:
            with suppress(CacheError):
                self.is_ours = await self._post.end(self._flight, self.token, has_answer=has_answer)


Generate = Callable[[Term], AsyncGenerator[Delta, None]]


class Led:
    """One generation under a lease. Belongs to one event loop."""

    def __init__(self, post: Post, term: Term, generate: Generate, max_bytes: int) -> None:
        self.term = term
        self._post = post
        self._max_bytes = max_bytes
        self._tellers: dict[str, _Teller] = {}
        self._is_given_up = False
        self._has_landed = asyncio.Event()
        self.flight = Flight(lambda: generate(term), self._close_door)

    @property
    def num_ears(self) -> int:
        return len(self._tellers)

    def want(self, want: Want) -> None:
        """Tell an ear from a position on; an ear that is being told listens for another while."""
        until = time.monotonic() + LISTENS_FOR_LEASES * self._post.lease_s
        teller = self._tellers.get(want.ear)
        if teller is not None and not teller.task.done() and not want.anew:
            teller.until = until
            return
        if teller is not None:
            teller.task.cancel()
        self._tellers[want.ear] = _Teller(until, asyncio.create_task(self._tell(want)))

    def leave(self, ear: str) -> None:
        """An ear has gone."""
        teller = self._tellers.pop(ear, None)
        if teller is not None:
            teller.task.cancel()

    async def look_after(self) -> None:
        """Keep the lease as long as it flies, and forget ears that were silent for too long."""
        while not self._has_landed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._post.lease_s / 3):
                    await self._has_landed.wait()
                    return
            await self.term.renew()
            now = time.monotonic()
            for ear in [ear for ear, teller in self._tellers.items() if teller.until < now]:
                self.leave(ear)

    async def give_up(self) -> None:
        """Stop, and say so: others may begin at once."""
        self._is_given_up = True
        await self.flight.call_off()
        await self.term.end(has_answer=False)
        tasks = [teller.task for teller in self._tellers.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_S)

    def _close_door(self, _: Flight) -> None:
        self._has_landed.set()

    async def _tell(self, want: Want) -> None:
        """Ride along, and pass on to an ear what lands. What cannot be sent is not tried again: the ear asks."""
        replica, position = replica_of(want.ear), want.since
        why, error = "whole", None
        try:
            async with aclosing(self.flight.ride_in_batches(position)) as batches:
                async for batch in batches:
                    if position == want.since and is_longer(batch, self._max_bytes):
                        why = "refused"
                        break
                    await self._post.send(replica, _letters(want.ear, position, batch))
                    position += len(batch)
                    if not self.flight.has_ended:
                        await asyncio.sleep(TELL_EVERY_S)
        except CacheError:
            return
        except CalledOff:
            why = "gone"  # whoever wanted it here has left; who listens elsewhere has it made anew
        except BackendError as said:
            why, error = "gone" if self._is_given_up else "failed", said
        except Exception:  # our bug, which its riders here are told of
            why, error = "failed", BackendError("The generation failed.")
        with suppress(CacheError):
            await self._post.send(replica, [Ended(want.ear, position, cast("Why", why), error)])


@dataclass(slots=True)
class _Teller:
    """Somebody elsewhere who listens."""

    until: float  # of the monotonic clock
    task: asyncio.Task[None]


def _letters(ear: str, position: int, batch: Sequence[Delta]) -> list[Word]:
    starts = range(0, len(batch), LETTER_DELTAS)
    return [Said(ear, position + start, tuple(batch[start : start + LETTER_DELTAS])) for start in starts]
