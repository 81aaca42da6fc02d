"""Looking for stored questions near the one asked: by bare form, and by meaning among neighbours.

The indexes may be behind the store: what they name is looked up in it, and what is gone is dropped from them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from embeddings.base import DoesNotFit, EmbedderError, Reading
from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Neighbour
from embeddings.guards import first_refusal
from embeddings.index import Candidate
from gateway.answers.base import Answers, CacheError, Entry
from gateway.answers.packed import Packed
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
FAR = 0.5  # what is farther than this has no say in what may be served

Stored = Entry | Packed  # an entry, or as memory keeps one: with all but the parsed answer
IsUsable = Callable[[Any], bool]  # of either
Beside = tuple[Stored, str, float]  # a stored entry, what it asks, and how near that is


class Near(Answers, Protocol):
    """Answers of which some are in memory."""

    def near_now(self, scope: bytes, entry_ids: Sequence[str]) -> Sequence[Packed | None]:
        """The entries of these names that memory has, as it keeps them."""

    def whole_now(self, kept: Packed) -> Entry:
        """What memory gave, parsed."""


class Neighbours(Mapping[str, Entry]):
    """Entries by name, parsed when they are asked for: of most that are looked at, nobody is."""

    __slots__ = ("_stored", "_whole")

    def __init__(self, near: Sequence[Beside], whole: Callable[[Packed], Entry]) -> None:
        self._stored = {stored.id: stored for stored, *_ in near}
        self._whole = whole

    def __getitem__(self, name: str) -> Entry:
        stored = self._stored[name]
        if isinstance(stored, Packed):
            stored = self._stored[name] = self._whole(stored)
        return stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


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
    ) -> tuple[list[Beside], float | None, bool]:
        """The neighbours that may be looked at, the similarity of the nearest, and whether one was too old."""
        scope, compat = fp.scope, fp.compat
        candidates = self._vectors.search(scope + compat, reading.vector, CANDIDATES)
        if self._vectors.is_beyond(scope + compat):
            candidates = await self._with_beyond(fp, reading, candidates)
        best = candidates[0].similarity if candidates else None
        candidates = [candidate for candidate in candidates if candidate.similarity >= FAR]
        entries = await self._entries(scope, [candidate.id for candidate in candidates])
        near: list[Beside] = []
        has_expired = False
        for candidate, entry in zip(candidates, entries, strict=True):
            question = None if entry is None else entry.question
            if entry is None or entry.compat != compat or question is None:
                self.forget(scope, compat, candidate.id)
            elif is_usable(entry):
                near.append((entry, question, candidate.similarity))
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
            question = None if entry is None else entry.question
            if entry is None or entry.compat != fp.compat or question is None:
                self.forget(fp.scope, fp.compat, name)
            else:
                asked[name] = question
        try:
            readings = await self._batcher.read(list(asked.values()))
        except EmbedderError as error:
            raise CacheError(str(error)) from error
        near = [Candidate(name, float(one.vector @ reading.vector)) for name, one in zip(asked, readings, strict=True)]
        return sorted((*here, *near), key=lambda one: (-one.similarity, one.id))[:CANDIDATES]

    async def _entries(self, scope: bytes, names: Sequence[str]) -> Sequence[Stored | None]:
        """What these names stand for: most are in memory, and nobody need wait for those."""
        here = self._answers.near_now(scope, names)
        if None not in here:
            return here
        found: list[Stored | None] = list(here)
        missing = [n for n, entry in enumerate(found) if entry is None]
        fetched = await asyncio.gather(*(self._answers.by_id(scope, names[n]) for n in missing))
        for n, entry in zip(missing, fetched, strict=True):
            found[n] = entry
        return found

    async def _readings_of(self, scope: bytes, near: Sequence[Beside]) -> list[Reading]:
        """What the embedder made of their questions, kept or made anew."""
        kept = self._readings.find(scope, [(entry.id, question) for entry, question, _ in near])
        if missing := [n for n, reading in enumerate(kept) if reading is None]:
            try:
                made = await self._batcher.read([near[n][1] for n in missing])
            except EmbedderError as error:
                raise CacheError(str(error)) from error
            for n, reading in zip(missing, made, strict=True):
                self._readings.keep(scope, near[n][0].id, reading)
                kept[n] = reading
        return [reading for reading in kept if reading is not None]

    async def neighbours(self, scope: bytes, lane: LaneKey, near: Sequence[Beside], *, is_dry: bool) -> list[Neighbour]:
        readings = await self._readings_of(scope, near)
        answers = [entry.digest if isinstance(entry, Packed) else digest_of(entry) for entry, *_ in near]
        if is_dry:
            say_nothing = [self._commonplaces.has(lane, answer) for answer in answers]
        else:  # noted, so they are known again after a start
            vectors = [reading.vector for reading in readings]
            say_nothing = self._commonplaces.note_all(lane, zip(answers, vectors, strict=True))
        return [
            # who shares an answer that anything gets is no kin
            Neighbour(entry.id, reading, similarity, entry.id.encode() if is_said else answer, entry.good, entry.bad)
            for (entry, _, similarity), reading, answer, is_said in zip(
                near, readings, answers, say_nothing, strict=True
            )
        ]

    def whole(self, near: Sequence[Beside]) -> Neighbours:
        """The entries of neighbours."""
        return Neighbours(near, self._answers.whole_now)

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
        self._vectors.drop(scope + compat, entry_id)
        if self._wordings is not None:
            self._wordings.drop(scope, entry_id)
