"""A log replayed: what each target would have served of it, and how much of that would have been wrong.

The very lane, verifier, guards, bare forms and index that serve are driven, one lane for each target; what a target
serves teaches it nothing, as in earnest, and every other prompt is answered and compared.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from backends.chat import Choice, Completion
from embeddings.base import DoesNotFit, Embedder, Reading, Vector
from embeddings.control import Label, Lane, Neighbour, Verdict
from embeddings.control.risk import clopper_pearson
from embeddings.guards import first_refusal
from embeddings.index import VectorIndex
from embeddings.lexical import bare
from embeddings.verifier import Verifier, dump, parse
from embeddings.verifier.model import Pairs, pairs_of
from gateway.identity.questions import is_volatile
from gateway.offline.prompts import Prompt
from gateway.policy import Rules
from gateway.semantic.commonplaces import Commonplaces
from gateway.semantic.comparing import same_answer
from gateway.semantic.learner import joined
from gateway.semantic.minds import TwoMinds
from gateway.semantic.refit import MOST, Work, folds_of, is_due, refit
from gateway.semantic.rule import LaneKey
from gateway.semantic.search import CANDIDATES, FAR

CONFIDENCE = 0.95
LANE = LaneKey("", "backtest")
MEMO_TEXTS = 20_000  # readings of prompts kept at once: some 30 KB each


@dataclass(slots=True)
class Tally:
    """What one target came to."""

    target: float
    prompts: int = 0
    answerable: int = 0  # an answer that serves was stored; known where classes are given
    exact: int = 0
    semantic: int = 0
    wrong: int = 0
    unknown: int = 0  # served, and nobody can tell whether rightly
    sampled: int = 0  # would-be hits that were answered anew: the cost of learning
    labels: int = 0
    fits: int = 0  # that were kept
    threshold: float = 1.0

    def report(self) -> dict[str, Any]:
        """With the rate of wrong hits and its interval."""
        known = self.semantic - self.unknown
        low, high = clopper_pearson(self.wrong, known, CONFIDENCE) if known else (0.0, 1.0)
        rate = self.wrong / known if known else None
        return {**asdict(self), "wrong_hit_rate": rate, "lower": low, "upper": high}


@dataclass(slots=True)
class Bench:
    """One target's world: its lane, its index and what it has stored."""

    tally: Tally
    lane: Lane
    uses: TwoMinds
    index: VectorIndex
    commonplaces: Commonplaces = field(default_factory=Commonplaces)
    stored: dict[str, tuple[Prompt, Reading]] = field(default_factory=dict)
    exact: dict[tuple[str, str], Prompt] = field(default_factory=dict)
    classes: set[tuple[str, str]] = field(default_factory=set)
    wordings: dict[tuple[str, str], list[Prompt]] = field(default_factory=dict)  # by scope and bare form
    labels: list[Label] = field(default_factory=list)
    pairs: list[Pairs] = field(default_factory=list)  # of the labels, where verifiers are fitted
    verifier: Verifier | None = None  # fitted on the way
    fitted_on: int = 0  # labels
    since: int = 0  # labels since the last try


class Replay:
    """Drives the lanes through a log."""

    def __init__(
        self,
        embedder: Embedder,
        verifier: Verifier,
        targets: Sequence[float],
        shadow_rate: float,
        rules: Rules,
        *,
        fits: bool = False,
    ) -> None:
        """`fits`: verifiers are fitted to the labels on the way, as the server does in the background."""
        self._embedder = embedder
        self._verifier = verifier
        self._fits = fits
        self._shadow_rate = shadow_rate
        self._rules = rules
        self._memo: dict[str, Reading] = {}
        self.benches = [self._bench(target, TwoMinds(verifier)) for target in targets]

    def _bench(self, target: float, uses: TwoMinds) -> Bench:
        lane = Lane(uses, target=target, shadow_rate=self._shadow_rate, seed=b"backtest")
        return Bench(Tally(target), lane, uses, VectorIndex(self._embedder.dim))

    def read_ahead(self, prompts: Sequence[Prompt]) -> None:
        """Read what is new among prompts in one batch."""
        new = dict.fromkeys(one.text for one in prompts if one.text not in self._memo and self._may_be_found(one.text))
        texts = [text for text in new if self._embedder.fits(text)][: MEMO_TEXTS - len(self._memo)]
        self._memo |= {reading.text: reading for reading in self._embedder.read(texts)}

    async def ask(self, prompt: Prompt) -> None:
        """One prompt, for every target."""
        reading = self._read(prompt.text) if self._may_be_found(prompt.text) else None
        for bench in self.benches:
            await self._ask(bench, prompt, reading)

    def _may_be_found(self, text: str) -> bool:
        return len(text) <= self._rules.max_question_chars and not is_volatile(text)

    def _read(self, text: str) -> Reading | None:
        if (known := self._memo.get(text)) is not None:
            return known
        try:
            if not self._embedder.fits(text):
                return None
            (reading,) = self._embedder.read([text])
        except DoesNotFit:
            return None
        if len(self._memo) < MEMO_TEXTS:
            self._memo[text] = reading
        return reading

    async def _ask(self, bench: Bench, prompt: Prompt, reading: Reading | None) -> None:
        tally = bench.tally
        tally.prompts += 1
        if prompt.class_id is not None:
            tally.answerable += (prompt.scope, prompt.class_id) in bench.classes
            bench.classes.add((prompt.scope, prompt.class_id))
        if (prompt.scope, prompt.text) in bench.exact:
            tally.exact += 1
            return
        if (known := _same_wording(bench, prompt)) is not None:
            verdict = bench.lane.decide_wording(prompt.text, known.text)
            if verdict.action == "serve":
                await self._serve(tally, prompt, known)
                return
            tally.sampled += verdict.action == "shadow"
            await self._learn_wording(bench, prompt, known, verdict)
            if reading is None:
                _keep(bench, prompt)
            else:
                self._store(bench, prompt, reading)
            return
        if reading is None:
            _keep(bench, prompt)
            return
        verdict = bench.lane.decide(reading, self._neighbours(bench, prompt.scope, reading))
        if verdict.action == "serve" and verdict.neighbour is not None:
            await self._serve(tally, prompt, bench.stored[verdict.neighbour.id][0])
            return
        tally.sampled += verdict.action == "shadow"
        await self._learn(bench, prompt, reading, verdict)
        self._store(bench, prompt, reading)
        if self._fits and is_due(len(bench.labels), bench.since):
            self._fit(bench)

    async def _serve(self, tally: Tally, prompt: Prompt, stored: Prompt) -> None:
        tally.semantic += 1
        is_right = await self._is_right(prompt, stored)
        tally.wrong += is_right is False
        tally.unknown += is_right is None

    def _neighbours(self, bench: Bench, scope: str, reading: Reading) -> list[Neighbour]:
        found = bench.index.search(scope.encode(), reading.vector, CANDIDATES)
        near = [(one, *bench.stored[one.id]) for one in found if one.similarity >= FAR]
        return [
            Neighbour(
                one.id, stored, one.similarity, one.id.encode() if _says_nothing(bench, prompt) else _answer_of(prompt)
            )
            for one, prompt, stored in near
        ]

    async def _learn(self, bench: Bench, prompt: Prompt, reading: Reading, verdict: Verdict) -> None:
        bench.commonplaces.note(LANE, _answer_of(prompt), reading.vector)
        chosen = verdict.neighbour.id if verdict.neighbour is not None else None
        for one in sorted(verdict.looked, key=lambda one: one.id != chosen):
            stored, beside = bench.stored[one.id]
            if one.probability is None or (is_right := await self._learned(bench, prompt, stored)) is None:
                continue
            is_chosen = one.id == chosen
            label = Label(
                prompt.text, stored.text, one.id, is_right, "shadow", one.probability, one.features, is_chosen,
                was_hit=is_chosen and verdict.action != "pass",
            )  # fmt: skip
            bench.lane.learn(label)
            bench.tally.labels += 1
            if self._fits:
                bench.labels.append(label)
                bench.pairs.append(pairs_of([(reading, beside)]))
                bench.since += 1

    async def _learn_wording(self, bench: Bench, prompt: Prompt, known: Prompt, verdict: Verdict) -> None:
        if (is_right := await self._learned(bench, prompt, known)) is None:
            return
        probability = verdict.probability or 0.0
        was_hit = verdict.action != "pass"
        bench.lane.learn(
            Label(prompt.text, known.text, known.text, is_right, "shadow", probability, (), True, was_hit=was_hit)
        )
        bench.tally.labels += 1

    def _fit(self, bench: Bench) -> None:
        """As `gateway.semantic.learner` does, on the labels there are."""
        labels, first = bench.labels[-MOST:], max(0, len(bench.labels) - MOST)
        work = Work(
            joined(bench.pairs[-MOST:]),
            np.array([label.is_right for label in labels], np.float64),
            folds_of([label.stored for label in labels]),
            max(0, bench.fitted_on - first),
            dump(self._verifier),
            dump(bench.verifier or self._verifier),
        )
        bench.since, outcome = 0, refit(work)
        if not outcome.verifier:
            return
        bench.verifier, bench.fitted_on = parse(outcome.verifier), len(bench.labels)
        bench.tally.fits += 1
        bench.uses.own = bench.verifier

    def _store(self, bench: Bench, prompt: Prompt, reading: Reading) -> None:
        name = str(len(bench.stored))
        bench.stored[name] = (prompt, reading)
        _keep(bench, prompt)
        bench.index.add(prompt.scope.encode(), name, reading.vector)

    async def _learned(self, bench: Bench, prompt: Prompt, stored: Prompt) -> bool | None:
        """Whether the stored answer is right, as far as a comparison of the two answers can tell."""
        if _says_nothing(bench, prompt):
            return None
        is_right = await self._is_right(prompt, stored)
        return None if is_right and _says_nothing(bench, stored) else is_right

    async def _is_right(self, prompt: Prompt, stored: Prompt) -> bool | None:
        if prompt.class_id is not None and stored.class_id is not None:
            return prompt.class_id == stored.class_id
        if prompt.answer is None or stored.answer is None:
            return None
        return await same_answer(_said(prompt.answer), _said(stored.answer), self._embed)

    async def _embed(self, text: str) -> Vector | None:
        reading = self._read(text)
        return None if reading is None else reading.vector


def _same_wording(bench: Bench, prompt: Prompt) -> Prompt | None:
    """A stored prompt of the same bare form that no guard minds, as the gateway has it."""
    if is_volatile(prompt.text) or not (said := bare(prompt.text)):
        return None
    known = bench.wordings.get((prompt.scope, said), ())
    return next((other for other in known if first_refusal(prompt.text, other.text) is None), None)


def _says_nothing(bench: Bench, prompt: Prompt) -> bool:
    """Whether its answer is one that anything gets."""
    return bench.commonplaces.has(LANE, _answer_of(prompt))


def _keep(bench: Bench, prompt: Prompt) -> None:
    """An answer to these words, and to the same in their bare form."""
    bench.exact[prompt.scope, prompt.text] = prompt
    if not is_volatile(prompt.text) and (said := bare(prompt.text)):
        bench.wordings.setdefault((prompt.scope, said), []).append(prompt)


def _said(answer: str) -> Completion:
    return Completion((Choice({"role": "assistant", "content": answer}, "stop"),))


def _answer_of(prompt: Prompt) -> bytes:
    """What is known of its answer's words; of a class, that of one wording is not that of another."""
    said = prompt.answer if prompt.answer is not None else f"{prompt.scope}\0{prompt.text}"
    return blake2b(said.encode("utf-8", "replace"), digest_size=16).digest()
