"""Looking for stored questions near the one asked: by bare form, and by meaning among neighbours.

The indexes may be behind the store: what they name is looked up in it, and what is gone is dropped from them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from embeddings.base import DoesNotFit, EmbedderError, Reading
from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Neighbour
from embeddings.guards import first_refusal
from embeddings.index import Candidate
from gateway.answers.base import Answers, CacheError, Entry
from gateway.identity.canonical import Fingerprints
from gateway.semantic.commonplaces import Commonplaces
from gateway.semantic.found import digest_of
from gateway.semantic.rule import LaneKey
from gateway.semantic.vectors import Vectors
from gateway.semantic.wordings import Wordings, apart

log = logging.getLogger(__name__)

CANDIDATES = 8
ROUGH = 0.02  # how far a similarity may be off that was computed elsewhere
FAR = 0.5  # what is farther than this has no say in what may be served

IsUsable = Callable[[Entry], bool]


class Search:
    """Finds neighbours inside (scope, compat). Belongs to the event loop."""

    def __init__(
        self,
        answers: Answers,
        batcher: EmbeddingBatcher,
        vectors: Vectors,
        wordings: Wordings | None,
        commonplaces: Commonplaces,
    ) -> None:
        self._answers = answers
        self._batcher = batcher
        self._vectors = vectors
        self._wordings = wordings
        self._commonplaces = commonplaces

    async def same_wording(self, fp: Fingerprints, question: str, is_usable: IsUsable) -> Entry | None:
        """A stored answer to the same bare question, if no guard minds the words that were left out."""
        for name in await self._wordings.find(fp.partition, question) if self._wordings is not None else ():
            entry = await self._answers.by_id(fp.scope, name)
            if entry is None or entry.compat != fp.compat or entry.question is None:
                self.forget(fp.scope, fp.compat, name)
            elif not is_usable(entry) or entry.bad:
                continue
            elif await apart(question, partial(first_refusal, question, entry.question)) is None:
                return entry
        return None

    async def near(
        self, fp: Fingerprints, reading: Reading, is_usable: IsUsable
    ) -> tuple[list[tuple[Entry, float]], float | None, bool]:
        """The neighbours that may be looked at, the similarity of the nearest, and whether one was too old."""
        candidates = self._vectors.search(fp.partition, reading.vector, CANDIDATES)
        if self._vectors.is_beyond(fp.partition):
            candidates = await self._with_beyond(fp, reading, candidates)
        best = candidates[0].similarity if candidates else None
        candidates = [candidate for candidate in candidates if candidate.similarity >= FAR]
        entries = await asyncio.gather(*(self._answers.by_id(fp.scope, candidate.id) for candidate in candidates))
        near, has_expired = [], False
        for candidate, entry in zip(candidates, entries, strict=True):
            if entry is None or entry.compat != fp.compat or entry.question is None:
                self.forget(fp.scope, fp.compat, candidate.id)
            elif is_usable(entry):
                near.append((entry, candidate.similarity))
            else:
                has_expired = True
        return near, best, has_expired

    async def _with_beyond(self, fp: Fingerprints, reading: Reading, here: list[Candidate]) -> list[Candidate]:
        """The nearest of memory and of what it had no room for, whose similarity is computed from what they ask."""
        try:
            found = await self._vectors.search_beyond(fp.partition, reading.vector, CANDIDATES)
        except CacheError as error:
            log.warning("only memory is searched: %s", error)
            return here
        known = {candidate.id for candidate in here}
        floor = min((one.similarity for one in here), default=FAR) if len(here) == CANDIDATES else FAR
        names = [one.id for one in found if one.id not in known and one.similarity >= floor - ROUGH]
        entries = await asyncio.gather(*(self._answers.by_id(fp.scope, name) for name in names))
        asked = {}
        for name, entry in zip(names, entries, strict=True):
            if entry is None or entry.compat != fp.compat or entry.question is None:
                self.forget(fp.scope, fp.compat, name)
            else:
                asked[name] = entry.question
        try:
            readings = await self._batcher.read(list(asked.values()))
        except EmbedderError as error:
            raise CacheError(str(error)) from error
        near = [Candidate(name, float(one.vector @ reading.vector)) for name, one in zip(asked, readings, strict=True)]
        return sorted((*here, *near), key=lambda one: (-one.similarity, one.id))[:CANDIDATES]

    async def neighbours(self, lane: LaneKey, near: Sequence[tuple[Entry, float]], *, is_dry: bool) -> list[Neighbour]:
        try:
            readings = await self._batcher.read([entry.question or "" for entry, _ in near])
        except EmbedderError as error:
            raise CacheError(str(error)) from error
        found = []
        for (entry, similarity), reading in zip(near, readings, strict=True):
            answer = digest_of(entry)
            if not is_dry:
                self._commonplaces.note(lane, answer, reading.vector)  # so they are known again after a start
            if self._commonplaces.has(lane, answer):
                answer = entry.id.encode()  # who shares it is no kin
            found.append(Neighbour(entry.id, reading, similarity, answer, entry.good, entry.bad))
        return found

    async def read(self, question: str) -> Reading | None:
        try:
            (reading,) = await self._batcher.read([question])
        except DoesNotFit:
            return None
        except EmbedderError as error:
            raise CacheError(str(error)) from error
        return reading

    def forget(self, scope: bytes, compat: bytes, entry_id: str) -> None:
        """Find an entry no more."""
        self._vectors.drop(scope + compat, entry_id)
        if self._wordings is not None:
            self._wordings.drop(scope, entry_id)
