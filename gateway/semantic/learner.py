"""The learner: fits a lane's verifier to its labels when enough new ones came, behind everybody's back.

One lane at a time: its labelled pairs are read again by the embedder, patiently, a process of its own fits and
compares, and what is better goes on the shelf and into the lane. Labels whose words are gone teach no verifier.
"""

import asyncio
import logging
import math
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np

from embeddings.base import Embedder, EmbedderError
from embeddings.batcher import EmbeddingBatcher
from embeddings.verifier import dump
from embeddings.verifier.model import Pairs, pairs_of
from gateway.answers.base import CacheError
from gateway.semantic.labels import Kept, LabelStore
from gateway.semantic.lanes import Lanes
from gateway.semantic.refit import FEWEST, MOST, Outcome, Work, folds_of, is_due, pack, unpack_outcome
from gateway.semantic.rule import LaneKey
from gateway.semantic.shelf import Shelf, shipped

log = logging.getLogger(__name__)

TOGETHER = 8  # pairs read at once


class Learner:
    """Keeps the verifiers of lanes up to their labels. Belongs to one event loop."""

    def __init__(self, labels: LabelStore, lanes: Lanes, batcher: EmbeddingBatcher, shelf: Shelf) -> None:
        self.fits: Counter[str] = Counter()  # kept, not better, failed
        self._labels = labels
        self._lanes = lanes
        self._batcher = batcher
        self._shelf = shelf
        self._since: Counter[LaneKey] = Counter()  # labels since the last fit
        self._task: asyncio.Task[None] | None = None
        self._fitting: LaneKey | None = None

    def note(self, lane: LaneKey, total: int) -> None:
        """A label came; `total` is how many the lane has. Begins a fit when it is time for one, and none runs."""
        self._since[lane] += 1
        if is_due(total, self._since[lane]) and (self._task is None or self._task.done()):
            del self._since[lane]
            self._fitting = lane
            self._task = asyncio.create_task(self._learn(lane))

    async def forget(self, tenant: str) -> None:
        """Give up a fit to labels of a tenant that are no more."""
        for lane in [lane for lane in self._since if lane.tenant == tenant]:
            del self._since[lane]
        if self._task is not None and self._fitting is not None and self._fitting.tenant == tenant:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def settled(self) -> None:
        """Wait for the fit under way, if there is one."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def fit(self, lane: LaneKey) -> Outcome | None:
        """Fit now; None when there is too little to fit on. Raises `CacheError`."""
        embedder = self._batcher.embedder
        if embedder is None:
            return None
        kept = latest([one for one in await self._labels.read(lane) if one.label.question and one.label.stored])
        kept = await asyncio.to_thread(_readable, kept, embedder)  # bare forms need no embedder, so some may not be
        if len(kept) < FEWEST:
            return None
        in_use = await asyncio.to_thread(self._shelf.in_use, lane, embedder.fingerprint)
        work = Work(
            await self._pairs(kept),
            np.array([one.label.is_right for one in kept], np.float64),
            folds_of([one.label.stored for one in kept]),
            sum(one.seq <= in_use.until_seq for one in kept),
            shipped(embedder.fingerprint),
            dump(in_use.verifier),
        )
        outcome = await _apart(work)
        if outcome.verifier:
            await asyncio.to_thread(self._shelf.put, lane, outcome.verifier, embedder.fingerprint, kept[-1].seq)
            await self._lanes.renew(lane)
        return outcome

    async def _learn(self, lane: LaneKey) -> None:
        try:
            outcome = await self.fit(lane)
        except (CacheError, EmbedderError, OSError, ValueError) as error:
            self.fits["failed"] += 1
            log.warning("the verifier of lane %s/%s could not be fitted: %s", *lane, error)
            return
        if outcome is None:
            return
        self.fits["kept" if outcome.verifier else "not_better"] += 1
        log.info("the verifier of lane %s/%s %s", *lane, in_words(outcome))

    async def _pairs(self, kept: Sequence[Kept]) -> Pairs:
        """The numbers of every pair, a few at a time: none of it may hold up the event loop."""
        parts = []
        for at in range(0, len(kept), TOGETHER):
            some = [one.label for one in kept[at : at + TOGETHER]]
            readings = await self._batcher.read(
                [text for label in some for text in (label.question, label.stored)], is_patient=True
            )
            for left, right in zip(readings[::2], readings[1::2], strict=True):
                parts.append(await asyncio.to_thread(pairs_of, [(left, right)]))
        return joined(parts)


def in_words(outcome: Outcome) -> str:
    """What came of a fit, for the log."""
    if math.isnan(outcome.loss):
        return f"stays: {outcome.held} new labels to hold back are too few, or all of one kind"
    word = "fitted anew" if outcome.verifier else "stays"
    losses = f"log loss {outcome.loss_in_use:.3f}, fitted {outcome.loss:.3f}"
    return f"{word}: {losses}, on {outcome.held} held back"


def latest(kept: Sequence[Kept]) -> list[Kept]:
    """The newest label of every pair of questions, oldest first, the newest of them."""
    by_pair = {frozenset((one.label.question, one.label.stored)): one for one in kept}
    return sorted(by_pair.values(), key=lambda one: one.seq)[-MOST:]


def _readable(kept: Sequence[Kept], embedder: Embedder) -> list[Kept]:
    """Labels of two texts that the embedder sees whole."""
    return [one for one in kept if embedder.fits(one.label.question) and embedder.fits(one.label.stored)]


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Many as one."""
    return Pairs(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.left for part in parts]),
        np.concatenate([part.right for part in parts]),
    )


async def _apart(work: Work) -> Outcome:
    """Do the work in a process of its own. Raises `CacheError`."""
    child = await asyncio.create_subprocess_exec(
        "env",
        "OMP_NUM_THREADS=1",  # the other processors are for those who wait
        sys.executable,
        "-m",
        "gateway.semantic.refit",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complaint = await child.communicate(pack(work))
    except BaseException:
        if child.returncode is None:
            child.kill()
            await child.wait()
        raise
    if child.returncode:
        raise CacheError(f"fitting ended with {child.returncode}: {complaint.decode('utf-8', 'replace')[-300:]}")
    return unpack_outcome(said)
