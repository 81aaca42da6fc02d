"""Looking for stored questions near the one asked: by bare form, and by meaning among neighbours.

The indexes may be behind the store: what they name is looked up in it, and what is gone is dropped from them.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from embeddings.base import DoesNotFit, EmbedderError, Reading
from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Neighbour
from embeddings.guards import first_refusal
from embeddings.index import Candidate
from gateway.answers.base import Answers, CacheError, Entry
from gateway.identity.canonical import Fingerprints
from gateway.semantic.commonplaces import Commonplaces
from gateway.semantic.found import digest_of
from gateway.semantic.kept_readings import KeptReadings
from gateway.semantic.rule import LaneKey
from gateway.semantic.vectors import Vectors
from gateway.semantic.wordings import Wordings, apart

log = logging.getLogger(__name__)

CANDIDATES = 8
ROUGH = 0.02  # how far a similarity may be off that was computed elsewhere
DIGESTS = 8192  # of answers, that are remembered
FAR = 0.5  # what is farther than this has no say in what may be served

IsUsable = Callable[[Entry], bool]


class Near(Answers, Protocol):
    """Answers of which some are in memory."""

    def by_id_now(self, scope: bytes, entry_id: str) -> Entry | None:
        """The entry of this name if memory has it."""


class Search:
    """Finds neighbours inside (scope, compat). Belongs to the event loop."""

    def __init__(
        self,
        answers: Near,
        batcher: EmbeddingBatcher,
        vectors: Vectors,
        wordings: Wordings | None,
        commonplaces: Commonplaces,
        readings: KeptReadings,
    ) -> None:
        self._answers = answers
        self._batcher = batcher
        self._vectors = vectors
        self._wordings = wordings
        self._commonplaces = commonplaces
        self._readings = readings
        self._digests: OrderedDict[tuple[bytes, str], tuple[tuple[float, str | None], bytes]] = OrderedDict()

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
        entries = await self._entries(fp.scope, [candidate.id for candidate in candidates])
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
        entries = await self._entries(fp.scope, names)
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

    async def _entries(self, scope: bytes, names: Sequence[str]) -> list[Entry | None]:
        """What these names stand for: most are in memory, and nobody need wait for those."""
        found = [self._answers.by_id_now(scope, name) for name in names]
        if missing := [n for n, entry in enumerate(found) if entry is None]:
            fetched = await asyncio.gather(*(self._answers.by_id(scope, names[n]) for n in missing))
            for n, entry in zip(missing, fetched, strict=True):
                found[n] = entry
        return found

    async def _readings_of(self, scope: bytes, entries: Sequence[Entry]) -> list[Reading]:
        """What the embedder made of their questions, kept or made anew."""
        kept = [self._readings.find(scope, entry.id, entry.question or "") for entry in entries]
        if missing := [n for n, reading in enumerate(kept) if reading is None]:
            try:
                made = await self._batcher.read([entries[n].question or "" for n in missing])
            except EmbedderError as error:
                raise CacheError(str(error)) from error
            for n, reading in zip(missing, made, strict=True):
                self._readings.keep(scope, entries[n].id, reading)
                kept[n] = reading
        return [reading for reading in kept if reading is not None]

    async def neighbours(
        self, scope: bytes, lane: LaneKey, near: Sequence[tuple[Entry, float]], *, is_dry: bool
    ) -> list[Neighbour]:
        readings = await self._readings_of(scope, [entry for entry, _ in near])
        found = []
        for (entry, similarity), reading in zip(near, readings, strict=True):
            answer = self._digest_of(entry)
            if not is_dry:
                self._commonplaces.note(lane, answer, reading.vector)  # so they are known again after a start
            if self._commonplaces.has(lane, answer):
                answer = entry.id.encode()  # who shares it is no kin
            found.append(Neighbour(entry.id, reading, similarity, answer, entry.good, entry.bad))
        return found

    def _digest_of(self, entry: Entry) -> bytes:
        """As `digest_of`; the same answers come again and again."""
        key = (entry.scope, entry.id)
        known = self._digests.get(key)
        made = (entry.created_s, entry.alias_of)
        if known is None or known[0] != made:
            known = self._digests[key] = made, digest_of(entry)
            if len(self._digests) > DIGESTS:
                self._digests.popitem(last=False)
        return known[1]

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
        self._readings.drop(scope, entry_id)
        self._digests.pop((scope, entry_id), None)
        self._vectors.drop(scope + compat, entry_id)
        if self._wordings is not None:
            self._wordings.drop(scope, entry_id)
