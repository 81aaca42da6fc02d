"""What is learned behind everybody's back: a fresh answer beside the stored ones that were near.

    compare    equal words, vectors and guards, else the judge     -> labels -> file, lane
    promote    the judge approves a pair that was not served       -> the new question is a name of the stored answer

Nothing here is waited for by a caller. Comparisons are bounded: what comes in a burst beyond that gives no label.
"""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable

from backends.chat import Completion
from embeddings.base import DoesNotFit, EmbedderError, Vector
from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Label
from embeddings.control.types import Source
from gateway.answers.base import CacheError, Entry
from gateway.semantic.commonplaces import Commonplaces
from gateway.semantic.comparing import same_answer
from gateway.semantic.found import Judged, Seen, digest_of
from gateway.semantic.judge import Case, Judge
from gateway.semantic.labels import Given, LabelStore
from gateway.semantic.lanes import Lanes
from gateway.semantic.learner import Learner
from gateway.semantic.rule import LaneKey

log = logging.getLogger(__name__)

COMPARED = 8  # neighbours of one question: those that share an answer speak for each other
MAX_COMPARING = 256  # questions at once
TIDY_EVERY_S = 600.0
MOST_ERASED = 10_000  # tenants whose erasure is remembered, of comparisons that began before it

Adopt = Callable[[Entry, Entry], Awaitable[bool]]  # the fresh entry, the stored one whose answer it takes


class Learning:
    """Turns answers into labels. Belongs to one event loop."""

    def __init__(
        self,
        labels: LabelStore,
        lanes: Lanes,
        batcher: EmbeddingBatcher,
        commonplaces: Commonplaces,
        *,
        judge: Judge | None = None,
        adopt: Adopt | None = None,
        learner: Learner | None = None,
    ) -> None:
        """`adopt` keeps a promoted question as another name of a stored answer; None: nothing is promoted. Without a
        learner verifiers stay as they are."""
        self.judge = judge
        self.outcomes: Counter[str] = Counter()  # of comparisons: right, wrong, unknown, commonplace, dropped
        self.promoted = 0
        self._labels = labels
        self._lanes = lanes
        self._batcher = batcher
        self._commonplaces = commonplaces
        self._adopt = adopt
        self._learner = learner
        self._comparing = 0
        self._num_erasures = 0
        self._erased: OrderedDict[str, int] = OrderedDict()  # tenants, and the last of these that was theirs
        self._tidied_s = 0.0

    async def open(self) -> None:
        """Open the labels. Raises `CacheError`."""
        await self._labels.open()

    async def close(self) -> None:
        if self._learner is not None:
            await self._learner.close()
        await self._labels.close()

    @property
    def fits(self) -> Counter[str]:
        """What came of fitting verifiers."""
        return self._learner.fits if self._learner is not None else Counter()

    async def counts(self) -> Counter[LaneKey]:
        """How many labels each lane has. Raises `CacheError`."""
        return await self._labels.lanes()

    async def tidy(self) -> None:
        """Now and then blank words whose time is over. Raises `CacheError`."""
        now_s = time.monotonic()
        if now_s - self._tidied_s > TIDY_EVERY_S or not self._tidied_s:
            self._tidied_s = now_s
            await self._labels.tidy()

    async def compare(self, seen: Seen, fresh: Entry) -> None:
        """Learn from the answer that was made although there were near ones. Raises `CacheError`."""
        if self._comparing >= MAX_COMPARING:
            self.outcomes["dropped"] += 1
            return
        self._comparing += 1
        began = self._num_erasures
        try:
            for judged in seen.judged()[:COMPARED]:
                await self._compare(judged, seen.entries[judged.entry], fresh, began)
        finally:
            self._comparing -= 1

    async def label(
        self,
        judged: Judged,
        is_right: bool,
        source: Source,
        words_until_s: float | None = None,
        *,
        corrects: bool = False,
    ) -> None:
        """Keep what is known now, and let the lane know. Raises `CacheError`."""
        label = Label(
            judged.question,
            judged.stored,
            judged.entry,
            is_right,
            source,
            judged.probability,
            judged.features,
            judged.was_eligible,
            time.time(),
            judged.was_hit,
            corrects,
        )
        ends = [end for end in (judged.words_until_s, words_until_s) if end is not None]
        given = Given(judged.rule.key, judged.scope, label, min(ends, default=None))
        total = await self._lanes.learn(judged.rule, [given])
        if self._learner is not None:
            self._learner.note(judged.rule.key, total)

    async def forget(self, scope: bytes, entry_id: str) -> None:
        """Blank the words of labels of an entry that is no more. Raises `CacheError`."""
        await self._labels.forget(scope, [entry_id])

    async def erase(self, tenant: str, *, words_only: bool) -> int:
        """Forget what was learned of a tenant, or only the words of it; how many labels. Raises `CacheError`."""
        self._num_erasures += 1
        self._erased[tenant] = self._num_erasures
        self._erased.move_to_end(tenant)
        if len(self._erased) > MOST_ERASED:
            self._erased.popitem(last=False)
        self._commonplaces.forget(tenant)
        if words_only:
            return await self._labels.blank(tenant)
        if self._learner is not None:
            await self._learner.forget(tenant)
        count = await self._labels.erase(tenant)
        self._lanes.forget_tenant(tenant)
        return count

    async def count(self, tenant: str, *, words_only: bool) -> int:
        """How many labels `erase` would be about. Raises `CacheError`."""
        return await self._labels.count(tenant, with_words=words_only)

    async def drop_before(self, at_s: float) -> int:
        """Delete what was learned before a moment; lanes know it until they are restored. Raises `CacheError`."""
        return await self._labels.drop_before(at_s)

    async def is_purged(self) -> bool:
        """Whether the log beside the labels holds nothing of what was removed. Raises `CacheError`."""
        return await self._labels.is_purged()

    async def _compare(self, judged: Judged, stored: Entry, fresh: Entry, began: int) -> None:
        if stored.exact == fresh.exact:
            return
        if self._says_nothing(judged, fresh):
            self.outcomes["commonplace"] += 1
            return
        is_right, source = await same_answer(fresh.completion, stored.completion, self._embed), "shadow"
        if is_right and self._says_nothing(judged, stored):
            self.outcomes["commonplace"] += 1
            return
        if is_right is None and judged.was_eligible:
            is_right, source = await self._asked(judged, stored.completion, fresh), "judge"
            if self._is_erased(judged, began):
                return
            if is_right and not judged.rule.is_loose:  # an exact hit for one history is none for another
                await self._promote(fresh, stored)
        self.outcomes["unknown" if is_right is None else "right" if is_right else "wrong"] += 1
        if is_right is not None and not self._is_erased(judged, began):
            await self.label(judged, is_right, "judge" if source == "judge" else "shadow", fresh.expires_s)

    def _is_erased(self, judged: Judged, began: int) -> bool:
        """Whether the tenant was erased since a comparison began."""
        return self._erased.get(judged.rule.key.tenant, 0) > began

    def _says_nothing(self, judged: Judged, answer: Entry) -> bool:
        """Whether it is an answer that anything gets."""
        return self._commonplaces.has(judged.rule.traffic, digest_of(answer))

    async def _asked(self, judged: Judged, stored: Completion, fresh: Entry) -> bool | None:
        if self.judge is None or not stored.text:
            return None
        tenant = judged.rule.key.tenant
        return await self.judge.approves(Case(tenant, fresh.scope.hex(), judged.stored, stored.text, judged.question))

    async def _promote(self, fresh: Entry, stored: Entry) -> None:
        if self._adopt is None or await self._labels.is_refused(
            stored.scope, stored.alias_of or stored.id, fresh.question or ""
        ):
            return
        self.promoted += await self._adopt(fresh, stored)

    async def _embed(self, text: str) -> Vector | None:
        try:
            return await self._batcher.embed(text, is_patient=True)
        except DoesNotFit:
            return None
        except EmbedderError as error:
            raise CacheError(str(error)) from error
