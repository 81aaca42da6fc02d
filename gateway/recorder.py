"""Keep an answer when it has ended by itself: the tee inside the flight, and the write-back behind it.

keep          in memory, at once: who was answered does not wait for a store
write-back    in the store, a moment later
word          what became of that, for somebody who puts an answer and waits until it lasts
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from backends.chat import Collector, Completion, Delta
from gateway.answers.base import CacheError, Entry, Mark, NearAnswers, unembedded_of
from gateway.asked import Asked
from gateway.chores import Chores
from gateway.commons.commons import Commons
from gateway.commons.rule import Place
from gateway.identity.scope import SCHEMA
from gateway.ledger import Ledger
from gateway.normalise.caution import tells
from gateway.policy import refuse_to_keep
from gateway.redaction import KEEPS_ALL, REASON, Redactor
from gateway.semantic.found import Seen, digest_of
from gateway.semantic.rule import LaneKey
from gateway.turns import Turns
from gateway.word import COMPLETE, IN_MEMORY, NOT_WRITTEN, OVERTAKEN, Word

if TYPE_CHECKING:
    from gateway.semantic.tier import Semantic

TELL_S = 0.02  # between a use and the store's hearing of it
SLIDE_BY = 0.01  # of its time to live: not every use of a busy entry is worth a write
LESSONS_S = 5.0  # that a stop waits for lessons
ENTRY_BYTES = 2_000  # without its texts
PUTS_AT_ONCE = 1024  # of a burst of answers; the others wait their turn, so the store never refuses one

log = logging.getLogger(__name__)


async def tee(
    deltas: AsyncGenerator[Delta, None], keep: Callable[[Completion, float], object]
) -> AsyncGenerator[Delta, None]:
    """Pass deltas through; call `keep` with the answer and the seconds it took, only if it ended by itself.

    What another model answered is no answer of the one that was asked: it is not kept.
    """
    started = time.perf_counter()
    answer, is_anothers = Collector(), False
    async with aclosing(deltas):
        async for delta in deltas:
            answer.add(delta)
            is_anothers = is_anothers or bool(delta.fallback)
            yield delta
    if not is_anothers:
        keep(answer.completion(), time.perf_counter() - started)


class Recorder:
    """Keeps answers, and what is learned from them, behind the callers' backs."""

    def __init__(
        self,
        answers: NearAnswers,
        semantic: "Semantic | None",
        ledger: Ledger,
        commons: Commons | None = None,
        redactor: Redactor = KEEPS_ALL,
    ) -> None:
        self._redactor = redactor
        self.chores = Chores()  # writes: what a stop waits for
        self.lessons = Chores()  # vectors, comparisons: what the next start makes up for
        self._answers = answers
        self._semantic = semantic
        self._ledger = ledger
        self._commons = commons
        self._may_put = Turns(PUTS_AT_ONCE)
        self._uses: Counter[str] = Counter()  # of entries, that the store was not told of
        self._telling: asyncio.TimerHandle | None = None

    def keep(self, asked: Asked, began: Mark, completion: Completion, elapsed_s: float) -> str | None:
        """Make the answer available at once, unless it was removed since it began; the store and the index hear of it
        behind the answer's back, and then whoever waits for their word. What is returned is why it is not kept; None
        when it is."""
        refusal = refuse_to_keep(completion, may_be_cut=asked.request.prompt is not None) or _told(asked, completion)
        refusal = REASON if refusal is None and self._redactor.refuses(completion) else refusal
        self._ledger.looked_up("write", "refused" if refusal else "kept", refusal or "complete")
        if refusal is not None:
            return refusal
        may_answer_others = asked.plan.remember_question and not completion.calls_tools
        now_s = time.time()
        entry = Entry(
            id=asked.fp.entry_id,
            scope=asked.fp.scope,
            exact=asked.fp.exact,
            compat=asked.fp.compat,
            canonical=asked.fp.canonical,
            question=asked.question if may_answer_others else None,
            model=asked.request.model,
            completion=completion,
            created_s=now_s,
            expires_s=None if asked.plan.ttl_s is None else now_s + asked.plan.ttl_s,
            elapsed_s=elapsed_s,
            tags=asked.controls.tags,
            tenant=asked.request.owner,
            namespace=asked.controls.namespace,
            revision=asked.route.model.revision,
            schema=SCHEMA,
            sliding_s=asked.plan.ttl_s if asked.rules.sliding_ttl else None,
            began=began,
            origin=asked.origin,
        )
        is_loose = may_answer_others and asked.reads_loosely
        is_near: bool | None = None
        with self._ledger.best_effort("exact_write"):
            is_near = self._answers.put_now(entry)
        if not is_near:
            return NOT_WRITTEN if is_near is None else OVERTAKEN
        seen = None if asked.seen is None else asked.seen.light()  # it may wait for long
        with self._ledger.best_effort("write_back"):
            write = self._write_back(entry, seen, asked.rule.key, is_loose, asked.place, asked.word)
            if not self.chores.add(write, weight(entry)):
                self._answers.abandon(entry)
                if asked.word is not None:
                    asked.word.tell(self._unwritten(entry, began))
                raise CacheError(f"{len(self.chores)} answers wait for the store already")
        return None

    async def finish(self, flush_s: float) -> None:
        """Write what is owed to the store; what is left of it then is given up and told."""
        self._tell_uses()
        if late := await self.chores.finish(flush_s):
            log.error("%d writes were not done within %g s and are given up", late, flush_s)
        await self.lessons.finish(min(flush_s, LESSONS_S))

    def count_hit(self, asked: Asked, entry: Entry) -> None:
        """Note that an entry was served; its end moves if it slides."""
        if entry.exact != asked.fp.exact:
            self._answers.get_now(entry.scope, entry.exact)  # found by meaning: a use of what memory has, too
        self._used(entry, 1, asked.rules.max_ttl_s)

    def count_hits(self, served: Iterable[tuple[Entry, int, float | None]]) -> None:
        """Note that entries were served, how often since the last time, without having been asked of memory; none lives
        longer than is said with it."""
        for entry, times, most_s in served:
            self._answers.use_now(entry.scope, entry.exact, times)
            self._used(entry, times, most_s)

    def _used(self, entry: Entry, times: int, max_ttl_s: float | None) -> None:
        """Uses are told to the store together: a task for each hit would cost a tenth of it."""
        if (expires_s := slid(entry, time.time(), max_ttl_s)) is not None:
            self.chores.add(self._prolong(entry, expires_s))
        self._uses[entry.id] += times
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TELL_S, self._tell_uses)

    def _tell_uses(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        if self._uses:
            uses, self._uses = self._uses, Counter()
            self.chores.add(self._count_uses(uses))

    async def _count_uses(self, uses: Mapping[str, int]) -> None:
        with self._ledger.best_effort("count_hit"):
            for entry_id, times in uses.items():
                await self._answers.count_hit(entry_id, times)

    async def _prolong(self, entry: Entry, expires_s: float) -> None:
        with self._ledger.best_effort("count_hit"):
            await self._answers.prolong(entry.scope, entry.id, expires_s)

    async def _write_back(
        self, entry: Entry, seen: Seen | None, lane: LaneKey, is_loose: bool, place: Place | None, word: Word | None
    ) -> None:
        since = self._answers.begin()
        became = await self._written(entry, since)
        if word is not None:
            word.tell(await self._read_back(entry, since) if became == COMPLETE else became)
        if became == OVERTAKEN:
            return
        if place is not None and self._commons is not None:
            await self._share(self._commons, place, entry, lane)
        if self._semantic is not None:
            held = ENTRY_BYTES if seen is None else weight(entry) + sum(map(weight, seen.entries.values()))
            self.lessons.add(self._learn(self._semantic, entry, seen, lane, is_loose), held)

    async def _written(self, entry: Entry, since: Mark) -> str:
        async with self._may_put:
            with self._ledger.best_effort("exact_write"):
                return COMPLETE if await self._answers.settle(entry) else OVERTAKEN
        return self._unwritten(entry, since)

    async def _read_back(self, entry: Entry, since: Mark) -> str:
        """What became of an answer whose write raised nothing. It may wait for a Redis that is away all the same, and a
        removal that came meanwhile is queued behind it."""
        is_there = False
        with self._ledger.best_effort("read_back"):
            is_there = await self._answers.owned(entry.tenant, entry.id) is not None
        unwritten = self._unwritten(entry, since)
        return COMPLETE if is_there and unwritten != OVERTAKEN else unwritten

    def _unwritten(self, entry: Entry, since: Mark) -> str:
        """What became of an answer that the store may not have, since it was to be written."""
        if self._answers.peek_now(entry.scope, entry.exact) is not None:
            return IN_MEMORY
        return OVERTAKEN if self._answers.is_overtaken(since, entry.id) else NOT_WRITTEN

    async def _learn(
        self, semantic: "Semantic", entry: Entry, seen: Seen | None, lane: LaneKey, is_loose: bool
    ) -> None:
        """Let other words find it, and compare it with what they would have found."""
        question, answer = unembedded_of(entry), digest_of(entry)
        compared, told = None if seen is None else (seen, entry), entry if is_loose else None
        del entry, seen  # its vector may be long in coming, and needs the question alone
        if told is not None:
            with self._ledger.best_effort("embed_loosely"):
                await semantic.remember_loosely(told)
        if question is not None:
            with self._ledger.best_effort("embed"):
                await semantic.remember(question, lane, answer)
        if compared is not None:
            with self._ledger.best_effort("compare"):
                await semantic.learning.compare(*compared)

    async def _share(self, commons: Commons, place: Place, entry: Entry, lane: LaneKey) -> None:
        """Let others have the answer if enough have asked, in other words too."""
        with self._ledger.best_effort("commons_write"):
            common = await commons.offer(place, entry)
            if common is not None and self._semantic is not None:
                self.lessons.add(self._learn(self._semantic, common, None, lane, is_loose=False))


def weight(entry: Entry) -> int:
    """About what an entry holds while it waits for the store."""
    said = sum(len(str(choice.message.get("content") or "")) for choice in entry.completion.choices)
    return ENTRY_BYTES + len(entry.canonical) + 2 * said


def _told(asked: Asked, completion: Completion) -> str | None:
    """An answer that says what its key leaves out is of this request alone."""
    is_told = asked.normal.is_key_apart and tells(completion, asked.normal.cuts)
    return "tells_what_was_taken_out" if is_told else None


def slid(entry: Entry, now_s: float, max_ttl_s: float | None) -> float | None:
    """Where a use moves the end of an entry that slides; None when it stays. It never outlives `max_ttl_s`."""
    if entry.sliding_s is None or entry.expires_s is None or not entry.is_fresh(now_s):
        return None
    end_s = now_s + entry.sliding_s
    if max_ttl_s is not None:
        end_s = min(end_s, entry.created_s + max_ttl_s)
    return end_s if end_s > entry.expires_s + SLIDE_BY * entry.sliding_s else None
