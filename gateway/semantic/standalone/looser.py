"""Stored conversations whose last turn may be answered for another history: found, weighed twice, in a lane of its own.

    partition    scope, setting, topics: all that has to be the very same                            (`talk.py`)
    last turns   bare form or neighbours -> guards -> verifier -> lane, as a dry run: who would be served
    rewritings   of ours and of theirs   -> guards -> verifier -> lane: serve, shadow or pass

Labels name the rewritings and go to a lane of its own: what is learned here is never used for questions of one history.
In memory alone, and read from the store at start. What goes wrong here is a `CacheError`, as elsewhere.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from embeddings.base import DoesNotFit, EmbedderError, Reading, Vector
from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Neighbour, Verdict
from embeddings.guards import first_refusal
from embeddings.index import VectorIndex
from embeddings.lexical import bare
from gateway.answers.base import Answers, CacheError, Entry, Unembedded
from gateway.answers.selection import MAX_PAGE, Listed, Page, Selection
from gateway.identity.canonical import Fingerprints
from gateway.metrics import Sample
from gateway.semantic.comparing import statement
from gateway.semantic.found import TOOLS_CALLED, Match, NoMatch, Seen, match_of
from gateway.semantic.lanes import Lanes
from gateway.semantic.rule import LaneRule
from gateway.semantic.search import CANDIDATES, FAR
from gateway.semantic.standalone.base import Rewriter
from gateway.semantic.standalone.talk import Talk, talk_of
from gateway.semantic.wordings import Wordings, apart

REWRITTEN = 3  # stored last turns that are rewritten for one question
SHORT_BYTES = 4096  # of a request that is read in less than half a millisecond
MOST = 50_000  # stored conversations that can be found, the newest

IsUsable = Callable[[Entry], bool]


@dataclass(frozen=True, slots=True)
class Other:
    """A stored conversation, and the text of it that is weighed."""

    entry: Entry
    talk: Talk
    text: str


class Looser:
    """Belongs to the event loop."""

    def __init__(
        self,
        answers: Answers,
        batcher: EmbeddingBatcher,
        lanes: Lanes,
        rewriter: Rewriter,
        new_index: Callable[[int], VectorIndex],
    ) -> None:
        self.rewriter = rewriter
        self._answers = answers
        self._batcher = batcher
        self._lanes = lanes
        self._new_index = new_index
        self._index: VectorIndex | None = None
        self._fingerprint = ""
        self._wordings = Wordings(answers)
        self._partitions: dict[tuple[bytes, str], bytes] = {}
        self._has_read = False

    def __len__(self) -> int:
        return len(self._partitions)

    async def open(self) -> None:
        """Make an index for the embedder. Raises `CacheError` when there is none."""
        try:
            embedder = await self._batcher.ready()
        except EmbedderError as error:
            raise CacheError(str(error)) from error
        self._index, self._fingerprint = self._new_index(embedder.dim), embedder.fingerprint

    def samples(self) -> Iterator[Sample]:
        """What can be found, and what came of rewriting, for Prometheus."""
        yield Sample("twicetold_loose_entries", "Stored answers that other histories may find", len(self))
        for outcome, count in self.rewriter.outcomes.items():
            help_ = "Last turns that a model was asked to make stand alone"
            yield Sample("twicetold_rewritings", help_, count, (("outcome", outcome),), True)

    # -- what is stored ----------------------------------------------------------------------------------------------

    async def remember(self, entry: Entry, *, waits: bool = False) -> None:
        """Let other histories find a stored answer, if its last turn may stand alone. Raises `CacheError`.

        With `waits` a vector that somebody else is about to give it is not computed here: it is remembered again then.
        """
        placed = await self._placed(entry.scope, entry.canonical)
        if isinstance(placed, str) or statement(entry.completion) is None:
            return
        talk, key = placed
        self.drop(entry.scope, entry.id)
        self._partitions[entry.scope, entry.id] = entry.scope + key
        if len(self._partitions) > MOST:
            self.drop(*next(iter(self._partitions)))
        self._wordings.add(Unembedded(entry.id, entry.scope, key, talk.last, entry.expires_s))
        if waits and entry.question == talk.last and entry.vector is None:
            return
        vector = await self._vector(entry, talk.last)
        is_still_kept = self._partitions.get((entry.scope, entry.id)) == entry.scope + key
        if self._index is not None and vector is not None and is_still_kept:
            self._index.add(entry.scope + key, entry.id, vector)

    def drop(self, scope: bytes, entry_id: str) -> None:
        """Find an entry no more."""
        self._wordings.drop(scope, entry_id)
        partition = self._partitions.pop((scope, entry_id), None)
        if partition is not None and self._index is not None:
            self._index.remove(partition, entry_id)

    async def renew(self) -> None:
        """Read everything anew. Raises `CacheError` when the store fails."""
        if self._index is None:
            return  # nothing was read yet
        for scope, entry_id in list(self._partitions):
            self.drop(scope, entry_id)
        self._has_read = False
        await self.catch_up()

    async def catch_up(self) -> None:
        """Read what was stored before this start, once. Raises `CacheError` when the store fails."""
        if self._has_read:
            return
        self._has_read = True
        try:
            for row in reversed(await self._stored()):
                entry = await self._answers.owned(row.tenant, row.id)
                if entry is not None and (entry.scope, entry.id) not in self._partitions:
                    await self.remember(entry)
        except CacheError:
            self._has_read = False
            raise

    async def _stored(self) -> list[Listed]:
        """What the store has, the newest first."""
        found: list[Listed] = []
        page = Page(MAX_PAGE)
        while len(found) < MOST and (rows := await self._answers.select(Selection(), page)):
            found += [row for row in rows if row.expires_s is None or time.time() < row.expires_s]
            page = Page(MAX_PAGE, rows[-1].place)
        return found

    async def _vector(self, entry: Entry, last: str) -> Vector | None:
        if self._index is None:
            return None
        if entry.embedder == self._fingerprint and entry.question == last and entry.vector:
            return np.frombuffer(entry.vector, dtype="<f4")
        try:
            return await self._batcher.embed(last, is_patient=True)
        except DoesNotFit:
            return None
        except EmbedderError as error:
            raise CacheError(str(error)) from error

    # -- a question --------------------------------------------------------------------------------------------------

    async def look(
        self, fp: Fingerprints, rule: LaneRule, min_similarity: float, is_usable: IsUsable, *, is_dry: bool = False
    ) -> Match | NoMatch:
        """A stored answer of another history that may be served, or why there is none. Raises `CacheError`."""
        if rule.mode == "off":
            return NoMatch("off")
        placed = await self._placed(fp.scope, fp.canonical)
        if isinstance(placed, str):
            return NoMatch(placed)
        talk, key = placed
        others = await self._others(fp, talk, key, min_similarity, is_usable)
        if not others:
            return NoMatch("no_other_history")
        first = await self._weighed(rule, fp.scope, talk.last, others, min_similarity, is_dry=True)
        agreeing = would_be_served(first, others)[:REWRITTEN]
        if not agreeing:  # last turns that lean on their histories teach nothing
            return NoMatch(first.verdict.reason, None, "", None if self.rewriter.resolves else first)
        talks = [talk, *(other.talk for other in agreeing)]
        own, *theirs = await asyncio.gather(*(self.rewriter.rewrite(one, rule.key.tenant) for one in talks))
        rewritten = [replace(other, text=text) for other, text in zip(agreeing, theirs, strict=True) if text]
        if own is None or not rewritten:
            return NoMatch("not_rewritten")
        seen = await self._weighed(rule, fp.scope, own, rewritten, min_similarity, is_dry=is_dry)
        if seen.verdict.action == "serve":
            return match_of(seen) or NoMatch(TOOLS_CALLED)
        return NoMatch(seen.verdict.reason, None, "", seen)

    async def _placed(self, scope: bytes, canonical: bytes) -> tuple[Talk, bytes] | str:
        """The conversation and where it belongs, or why it belongs nowhere. The event loop has others to serve."""
        work = partial(placed, self.rewriter, scope, canonical)
        return work() if len(canonical) <= SHORT_BYTES else await asyncio.to_thread(work)

    async def _others(
        self, fp: Fingerprints, talk: Talk, key: bytes, min_similarity: float, is_usable: IsUsable
    ) -> list[Other]:
        """Conversations of the partition, of another history, whose last turns may say the same."""
        names = await self._wordings.find(fp.scope + key, talk.last) if min_similarity <= 0 else []
        if found := await self._loaded(fp, key, names, is_usable):
            return found
        if self._index is None or self._index.is_empty(fp.scope + key):
            return []
        reading = await self._readings([talk.last])
        near = self._index.search(fp.scope + key, reading[0].vector, CANDIDATES) if reading else []
        return await self._loaded(fp, key, [one.id for one in near if one.similarity >= FAR], is_usable)

    async def _loaded(self, fp: Fingerprints, key: bytes, names: Sequence[str], is_usable: IsUsable) -> list[Other]:
        entries = await asyncio.gather(*(self._answers.by_id(fp.scope, name) for name in names))
        found = []
        for name, entry in zip(names, entries, strict=True):
            placed = "gone" if entry is None else await self._placed(fp.scope, entry.canonical)
            if entry is None or isinstance(placed, str) or placed[1] != key:
                self.drop(fp.scope, name)
            elif entry.compat != fp.compat and not entry.bad and entry.is_fresh(time.time()) and is_usable(entry):
                found.append(Other(entry, placed[0], placed[0].last))
        return found

    async def _weighed(
        self, rule: LaneRule, scope: bytes, text: str, others: Sequence[Other], min_similarity: float, *, is_dry: bool
    ) -> Seen:
        """What the lane says of one text and those of others, by bare form if one is equal."""
        entries = {other.entry.id: replace(other.entry, question=other.text) for other in others}
        if min_similarity <= 0:
            for other in others:
                if await apart(text, partial(says_the_same, text, other.text)):
                    verdict = await self._lanes.decide_wording(rule, text, other.entry.id, is_dry=is_dry)
                    return Seen(rule, scope, text, verdict, entries)
        readings = await self._readings([text, *(other.text for other in others)])
        if not readings:
            return Seen(rule, scope, text, Verdict("pass", None, None, 1.0, "question_too_long"), entries)
        own, *theirs = readings
        # what they answer makes them no kin: it was said in other histories
        neighbours = [
            Neighbour(one.id, reading, float(own.vector @ reading.vector), one.id.encode(), one.good, one.bad)
            for one, reading in zip((other.entry for other in others), theirs, strict=True)
        ]
        neighbours.sort(key=lambda one: -one.similarity)
        verdict = await self._lanes.decide(rule, own, neighbours, min_similarity, is_dry=is_dry)
        return Seen(rule, scope, text, verdict, entries)

    async def _readings(self, texts: Sequence[str]) -> list[Reading]:
        """Empty when the embedder cannot see all of them."""
        try:
            return await self._batcher.read(texts)
        except DoesNotFit:
            return []
        except EmbedderError as error:
            raise CacheError(str(error)) from error


def placed(rewriter: Rewriter, scope: bytes, canonical: bytes) -> tuple[Talk, bytes] | str:
    """The conversation of a canonical request and the key of its partition, or why it has none."""
    talk = talk_of(canonical)
    if talk is None:
        return "no_talk"
    if (flaw := rewriter.flaw(talk)) is not None:
        return f"leans_{flaw}"
    return talk, talk.key(scope, rewriter.topics(talk))


def says_the_same(a: str, b: str) -> bool:
    """Whether two texts have one bare form, and no guard minds what was left out."""
    form = bare(a)
    return bool(form) and form == bare(b) and first_refusal(a, b) is None


def would_be_served(seen: Seen, others: Sequence[Other]) -> list[Other]:
    """Those whose last turn alone would do, the surest first."""
    verdict = seen.verdict
    if verdict.action == "pass":
        return []
    if verdict.wording is not None:
        return [other for other in others if says_the_same(seen.question, other.text)]
    sure = {one.id: one.probability for one in verdict.looked if (one.probability or 0.0) >= verdict.threshold}
    return sorted((o for o in others if o.entry.id in sure), key=lambda o: -(sure[o.entry.id] or 0.0))
