"""The semantic tier: has this question been answered in other words, and how sure is that?

    bare form -> the same but for words that mean nothing, guards            -> lane -> serve, shadow or pass
    reading   -> up to 8 neighbours inside (scope, compat) -> guards -> verifier -> lane -> serve, shadow or pass

A lane decides what may be served (`embeddings.control`). When nothing may, the answer of a near neighbour may still be
of use: as a draft, which the model checks and which so cannot change what it says. And the answer that is then made is
compared with the neighbours' behind everybody's back: that is what the lane learns from.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from embeddings.base import Reading
from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Lane, Neighbour, Verdict
from embeddings.index import VectorIndex
from embeddings.lexical import VERSION
from gateway.answers.base import CacheError, Entry, Gone, Unembedded, embedded_of, unembedded_of
from gateway.identity.canonical import Fingerprints
from gateway.metrics import Sample
from gateway.policy import Rules
from gateway.semantic.browse import Browsed, browse
from gateway.semantic.changes import Changes
from gateway.semantic.commonplaces import Commonplaces
from gateway.semantic.found import SAME_WORDING, TOOLS_CALLED, Judged, Match, NoMatch, Seen, digest_of, match_of
from gateway.semantic.held import NewLane
from gateway.semantic.judge import Judge
from gateway.semantic.kept_forms import KeptForms
from gateway.semantic.kept_readings import KeptReadings
from gateway.semantic.labels import LabelStore
from gateway.semantic.lanes import MAX_LANES, Lanes
from gateway.semantic.learner import Learner
from gateway.semantic.learning import Learning
from gateway.semantic.promotion import adopt, judged_of_alias
from gateway.semantic.rule import LaneKey, LaneRule
from gateway.semantic.search import IsUsable, Near, Search
from gateway.semantic.standalone.base import Rewriter
from gateway.semantic.standalone.looser import Looser
from gateway.semantic.vectors import Beyond, Vectors
from gateway.semantic.verifiers import Verifiers
from gateway.semantic.wordings import Wordings
from gateway.served import Served
from gateway.turns import Turns

log = logging.getLogger(__name__)

BRIEF_LANE: NewLane = partial(Lane, is_brief=True)
AT_ONCE = 8  # questions beside their neighbours: what the states of eight readings take, 100 KB, is taken so often
NEAR_ENOUGH = 0.75  # similarity from which an answer that may not be served is worth drafting from
_NO_VECTOR, _NO_STATES = np.empty(0, np.float32), np.empty((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Choices:
    """What an operator chooses of the tier."""

    promotes: bool = False  # pairs that a judge approves become aliases
    reads_wordings: bool = True  # equal bare forms are looked for, which needs no embedder
    wordings: Path | None = None  # a file that keeps them
    timeout_s: float = 5.0  # of a verdict, the restoring of its lane included
    max_lanes: int = MAX_LANES  # in memory


class Semantic:
    """Finds, remembers and learns. Searches and short verdicts belong to the event loop; the embedder has a thread of
    its own, and so has what lanes take long for."""

    def __init__(
        self,
        answers: Near,
        batcher: EmbeddingBatcher,
        new_index: Callable[[int], VectorIndex],
        labels: LabelStore,
        secret: bytes,
        choices: Choices,
        verifiers: Verifiers,
        *,
        judge: Judge | None = None,
        new_lane: NewLane = BRIEF_LANE,
        rewriter: Rewriter | None = None,
        beyond: Beyond | None = None,
        readings: KeptReadings | None = None,
    ) -> None:
        """Other histories are looked at where there is a `rewriter`; `beyond` has the vectors that memory cannot;
        `readings` of stored questions are kept in memory unless told otherwise."""
        self.lanes = Lanes(
            labels,
            secret,
            verifiers.minds_of,
            new_lane=new_lane,
            max_lanes=choices.max_lanes,
            timeout_s=choices.timeout_s,
        )
        self.changes = Changes()
        self.verifiers = verifiers
        self._answers = answers
        self.batcher = self._batcher = batcher  # for others who have texts to embed, too
        self._readings = KeptReadings() if readings is None else readings
        self._vectors = Vectors(answers, batcher, new_index, beyond, keep=self._readings.keep)
        kept = KeptForms(choices.wordings, VERSION) if choices.wordings is not None else None
        self._wordings = Wordings(answers, kept) if choices.reads_wordings else None
        self._commonplaces = Commonplaces()
        self._search = Search(answers, batcher, self._vectors, self._wordings, self._commonplaces, self._readings)
        self.learning = Learning(
            labels,
            self.lanes,
            batcher,
            self._commonplaces,
            judge=judge,
            adopt=partial(adopt, answers, self._vectors) if choices.promotes else None,
            learner=Learner(labels, self.lanes, batcher, verifiers.shelf) if verifiers.shelf is not None else None,
        )

        self._weighing = Turns(AT_ONCE)
        self.looser = None if rewriter is None else Looser(answers, batcher, self.lanes, rewriter, VectorIndex)

    @property
    def is_ready(self) -> bool:
        return self._vectors.is_ready

    @property
    def num_vectors(self) -> int:
        return len(self._vectors)

    @property
    def num_slow(self) -> int:
        """Large partitions where nothing is looked for by meaning until their lists are made."""
        return self._vectors.num_slow

    @property
    def lacking(self) -> str:
        """Why not every stored question is found, and is tried again; empty where nothing went wrong."""
        return self._vectors.lacking

    @property
    def opening(self) -> str:
        """How far it is with what has to be done before hits by meaning."""
        wordings = "" if self._wordings is None else f"; {self._wordings.num_read:,} bare forms read"
        return self._vectors.opening + wordings

    def index_samples(self) -> Iterator[Sample]:
        """What the vector index holds, for Prometheus."""
        yield from self._vectors.samples()
        if self.looser is not None:
            yield from self.looser.samples()

    async def open(self) -> None:
        """Load the embedder, rebuild the index, open the labels. Raises `CacheError` when one cannot be had."""
        await self.verifiers.open()
        await self.learning.open()
        works = [self._open_vectors(), *([self._open_wordings(self._wordings)] if self._wordings is not None else [])]
        ends = await asyncio.gather(*works, return_exceptions=True)  # neither waits for the other
        if errors := [error for error in ends if error is not None]:
            raise errors[0]

    async def _open_wordings(self, wordings: Wordings) -> None:
        try:
            await wordings.open()
        except CacheError as error:  # `catch_up` tries again
            log.warning("bare forms are not all read: %s", error)

    async def _open_vectors(self) -> None:
        await self._vectors.open(self._take_embedder)
        if self.looser is not None:
            await self.looser.open()

    def _take_embedder(self) -> None:
        """There is one: what is read of the store from now on is found, as partitions come."""
        self.verifiers.fingerprint = self._vectors.fingerprint
        self.lanes.forget()  # what was asked for before there was an embedder has no verifier of its own

    async def close(self) -> None:
        """Finish what is owed to the labels, and stop."""
        if self._wordings is not None:
            await self._wordings.keep()
        await self.learning.close()
        await self.lanes.close()
        await self._batcher.close()
        await self._vectors.close()
        self._readings.close()

    # -- a question --------------------------------------------------------------------------------------------------

    async def find(
        self,
        fp: Fingerprints,
        question: str,
        *,
        rule: LaneRule,
        min_similarity: float,
        is_usable: IsUsable,
        may_sample: bool = True,
    ) -> Match | NoMatch:
        """A stored answer that may be served, or why there is none. What may not be sampled is not generated for the
        sake of a label. Raises `CacheError` when a part fails."""
        found = await self._look(fp, question, rule, min_similarity, is_usable)
        return self._accounted(found, rule, may_sample=may_sample)

    async def find_loosely(
        self, fp: Fingerprints, *, rule: LaneRule, min_similarity: float, is_usable: IsUsable, may_sample: bool = True
    ) -> Match | NoMatch:
        """As `find`, of other histories; `rule` is of their lane."""
        if self.looser is None:
            return NoMatch("off")
        found = await self.looser.look(fp, rule, min_similarity, is_usable)
        return self._accounted(found, rule, may_sample=may_sample)

    async def consider(
        self, fp: Fingerprints, question: str, *, rule: LaneRule, min_similarity: float, is_usable: IsUsable
    ) -> Match | NoMatch:
        """As `find`, for somebody who only wants to know: nothing is sampled, and no account is kept."""
        return _told(await self._look(fp, question, rule, min_similarity, is_usable, is_dry=True), rule)

    async def consider_loosely(
        self, fp: Fingerprints, *, rule: LaneRule, min_similarity: float, is_usable: IsUsable
    ) -> Match | NoMatch:
        """As `consider`, of other histories."""
        if self.looser is None:
            return NoMatch("off")
        return _told(await self.looser.look(fp, rule, min_similarity, is_usable, is_dry=True), rule)

    async def browse(self, text: str, k: int) -> Browsed:
        """The stored questions nearest to `text` wherever they are kept, for a person. Raises `CacheError`."""
        return await browse(self._answers, self._batcher, text, k)

    def _accounted(self, found: Match | NoMatch, rule: LaneRule, *, may_sample: bool) -> Match | NoMatch:
        if isinstance(found, NoMatch) and found.is_shadowed and rule.mode == "on" and not may_sample:
            found = found.unsampled()
        if isinstance(found, Match):
            self.lanes.count(rule, "serve", found.seen.verdict)
        elif found.seen is not None:
            self.lanes.count(rule, found.seen.verdict.action, found.seen.verdict)
        return found

    async def _look(
        self,
        fp: Fingerprints,
        question: str,
        rule: LaneRule,
        min_similarity: float,
        is_usable: IsUsable,
        *,
        is_dry: bool = False,
    ) -> Match | NoMatch:
        if rule.mode == "off":
            return NoMatch("off")
        # who asks for a cosine has one looked at
        if min_similarity <= 0 and (entry := await self._search.same_wording(fp, question, is_usable)) is not None:
            verdict = await self.lanes.decide_wording(rule, question, entry.id, is_dry=is_dry)
            return _found(Seen(rule, fp.scope, question, verdict, {entry.id: entry}), None, entry.id)
        if not self._vectors.is_ready:
            return NoMatch("index_loading")
        partition = fp.partition
        if self._vectors.is_empty(partition):
            return NoMatch("no_candidates")
        if self._vectors.is_slow(partition):
            return NoMatch("index_loading")
        reading = await self._search.read(question)
        if reading is None:
            return NoMatch("question_too_long")
        await self.lanes.pace.turn()
        near, best, has_expired = await self._search.near(fp, reading, is_usable)
        if not near:
            far = "no_candidates" if best is None else "below_threshold"
            return NoMatch("expired" if has_expired else far, best)
        async with self._weighing:
            await self.lanes.pace.turn()
            neighbours = await self._search.neighbours(fp.scope, rule.key, near, is_dry=is_dry)
            verdict = await self.lanes.decide(rule, reading, neighbours, min_similarity, is_dry=is_dry)
        seen = Seen(rule, fp.scope, question, _lightened(verdict), self._search.whole(near))
        nearest, _, similarity = near[0]
        return _found(seen, best, nearest.id if similarity >= NEAR_ENOUGH else None)

    # -- what is stored ----------------------------------------------------------------------------------------------

    async def remember(self, row: Unembedded, lane: LaneKey, answer: bytes) -> None:
        """Let other wordings of a stored entry's question find it. Raises `CacheError`; `catch_up` tries again then."""
        if self._wordings is not None:
            await self._wordings.remember(row)
        if (vector := await self._vectors.remember(row)) is not None:
            self._commonplaces.note(lane, answer, vector)

    async def remember_loosely(self, entry: Entry) -> None:
        """Let other histories find a stored entry. Raises `CacheError`."""
        if self.looser is not None:
            await self.looser.remember(entry)

    async def hear(self, entry: Entry, rules: Rules, *, is_new: bool) -> None:
        """Another process stored an entry, or gave it its vector: find it here, too. Raises `CacheError`."""
        row = unembedded_of(entry)
        if is_new and row is not None and self._wordings is not None:
            await self._wordings.remember(row)
        near = embedded_of(entry)
        if entry.vector is not None:
            self._vectors.settle(entry.scope, entry.id)
        elif row is not None:
            self._vectors.expect(entry.scope, entry.id)
        vector = None if near is None else self._vectors.hear(near, entry.embedder or "")
        if vector is not None:
            self._commonplaces.note(LaneKey(entry.tenant, rules.route), digest_of(entry), vector)
        if self.looser is not None and rules.history == "loose" and (is_new or vector is not None):
            await self.looser.remember(entry, waits=True)

    async def renew(self) -> None:
        """Make all that is made from the store agree with it again. Raises `CacheError`."""
        if self._wordings is not None:
            await self._wordings.renew()
        self._readings.clear()  # of what is gone, too, and nobody knows what that is
        await self._vectors.renew()
        if self.looser is not None:
            await self.looser.renew()

    def drop(self, gone: Iterable[Gone]) -> None:
        """Find no more what the store let go by itself."""
        for one in gone:
            self._forget(one.scope, one.compat, one.id)

    async def catch_up(self) -> None:
        """Remember what was left behind, blank what is over, count. Raises `CacheError` when a store fails."""
        await self._vectors.catch_up()
        if self._wordings is not None:
            await self._wordings.catch_up()
        if self.looser is not None:
            await self.looser.catch_up()
        await self.learning.tidy()
        await self.lanes.refresh()

    def _forget(self, scope: bytes, compat: bytes, entry_id: str) -> None:
        """Drop what was evicted, replaced or removed behind the indexes' back."""
        self._search.forget(scope, compat, entry_id)
        if self.looser is not None:
            self.looser.drop(scope, entry_id)

    # -- verifiers ---------------------------------------------------------------------------------------------------

    async def choose_verifier(self, lane: LaneKey, name: str) -> bool:
        """Use a version by its name, or "shipped"; False when there is none of that name."""
        if not await self.verifiers.choose(lane, name):
            return False
        await self.lanes.renew(lane)
        return True

    # -- what users say ----------------------------------------------------------------------------------------------

    async def feedback(self, served: Served, is_good: bool, *, corrects: bool = False) -> None:
        """Learn what a user said of a hit by meaning, or on a promoted question, perhaps after having said the
        opposite; of any other answer it says nothing about two questions. Raises `CacheError` when it cannot be kept.
        """
        judged = judged_of(served) or await judged_of_alias(served, self._answers, self._batcher, self.lanes)
        if judged is not None:
            await self.learning.label(judged, is_good, "feedback", corrects=corrects)

    async def forget(self, scope: bytes, compat: bytes, entry_id: str) -> None:
        """An entry was removed: find it no more, and blank its words. Raises `CacheError`."""
        self._forget(scope, compat, entry_id)
        await self.learning.forget(scope, entry_id)

    async def erase(self, tenant: str, routes: Iterable[str], *, words_only: bool) -> dict[str, int]:
        """Forget what was learned of a tenant, on these routes and all that have labels, or only the words of it; how
        much there was. Raises `CacheError`."""
        lanes = {lane for lane in await self.learning.counts() if lane.tenant == tenant}
        told = {"labels": await self.learning.erase(tenant, words_only=words_only)}
        shelf = self.verifiers.shelf
        if not words_only and shelf is not None:
            lanes |= {LaneKey(tenant, route) for route in routes}
            counts = [await asyncio.to_thread(shelf.erase, lane) for lane in lanes]
            told["verifiers"] = sum(counts)
        if self._wordings is not None:
            await self._wordings.keep()
        return told


def _found(seen: Seen, best: float | None, draft: str | None) -> Match | NoMatch:
    """What a verdict comes to, of neighbours and of bare forms alike; `draft` is the entry to draft from."""
    verdict = seen.verdict
    if verdict.action == "serve":
        return match_of(seen) or NoMatch(TOOLS_CALLED, best)
    is_wording = verdict.wording is not None and verdict.action == "shadow"
    near_answer = "" if draft is None else seen.entries[draft].completion.text
    return NoMatch(SAME_WORDING if is_wording else verdict.reason, best, near_answer, seen)


def _lightened(verdict: Verdict) -> Verdict:
    """A verdict without what was read of the neighbour: its numbers lie in one piece with those of all others, and a
    verdict is kept for as long as an answer is made."""
    one = verdict.neighbour
    if one is None:
        return verdict
    reading = Reading(one.reading.text, _NO_VECTOR, (), _NO_STATES)
    neighbour = Neighbour(one.id, reading, one.similarity, one.answer, one.good, one.bad)
    said = verdict.action, neighbour, verdict.probability, verdict.threshold, verdict.reason
    return Verdict(*said, verdict.looked, verdict.wording)


def _told(found: Match | NoMatch, rule: LaneRule) -> Match | NoMatch:
    """What a dry run found, as it would come."""
    is_hit = isinstance(found, NoMatch) and found.is_shadowed and rule.mode == "on"
    return found.unsampled() if is_hit and isinstance(found, NoMatch) else found


def judged_of(served: Served) -> Judged | None:
    """What a label of a remembered semantic hit needs; None when it was none."""
    verdict, question, stored = served.verdict, served.question, served.stored_question
    if verdict is None or question is None or stored is None or served.outcome.tier != "semantic":
        return None
    looked = next((one for one in verdict.looked if one.id == served.entry and one.probability is not None), None)
    if looked is None or looked.probability is None:
        return None
    rule = LaneRule.of(served.tenant, served.rules)
    return Judged(
        rule, served.scope, question, stored, looked.id, looked.probability, looked.features, True, was_hit=True
    )
