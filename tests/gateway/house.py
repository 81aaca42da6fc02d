"""A gateway on a scripted backend, for tests of the pipeline."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from backends.chat import ChatRequest, Completion, collect
from backends.fake import ScriptedBackend
from backends.routing.aliases import Alias
from backends.routing.router import Router
from embeddings.base import Embedder, Reading
from embeddings.batcher import EmbeddingBatcher
from embeddings.control import Compares, Label, LaneReport, Looked, Neighbour, Verdict
from embeddings.control.support import FEATURES
from embeddings.guards import first_refusal
from embeddings.hashing import HashingEmbedder
from embeddings.index import VectorIndex
from gateway.answers.base import Store
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.commons.commons import Commons
from gateway.commons.witnesses import Witnesses
from gateway.controls import Controls
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.normalise.request import Normaliser
from gateway.outcome import Outcome
from gateway.pipeline import Pipeline
from gateway.policy import Rules
from gateway.prefixes.watch import PrefixWatch
from gateway.reply import Reply
from gateway.semantic.held import NewLane
from gateway.semantic.judge import Judge
from gateway.semantic.labels import LabelStore
from gateway.semantic.standalone.base import Rewriter
from gateway.semantic.tier import Choices, Semantic
from gateway.semantic.vectors import Beyond
from gateway.semantic.verifiers import Verifiers
from gateway.shared.flights.shared import SharedFlights

SECRET = b"s" * 32


class PlainLane:
    """A lane for an embedder that sees spelling alone: the nearest that no guard refuses is right from the floor on."""

    floor = 0.7
    samples = False  # answer every would-be hit anew

    def __init__(self, verifier: Compares, *, target: float, shadow_rate: float, seed: bytes) -> None:
        self.labels: list[Label] = []

    def decide(
        self,
        question: Reading,
        neighbours: Sequence[Neighbour],
        *,
        min_similarity: float = 0.0,
        is_shadow_only: bool = False,
    ) -> Verdict:
        floor = max(self.floor, min_similarity)
        looked = tuple(self._looked(question, near) for near in neighbours)
        fit = [near for near, one in zip(neighbours, looked, strict=True) if one.refusal is None]
        if not fit:
            return Verdict("pass", None, None, floor, looked[0].refusal or "", looked)
        if fit[0].similarity < floor:
            return Verdict("pass", fit[0], fit[0].similarity, floor, "below_threshold", looked)
        return Verdict(
            "shadow" if self.samples or is_shadow_only else "serve", fit[0], fit[0].similarity, floor, "served", looked
        )

    def decide_wording(self, question: str, entry: str, *, is_shadow_only: bool = False) -> Verdict:
        looked = (Looked(entry, 1.0, None, 1.0),)
        return Verdict("shadow" if self.samples or is_shadow_only else "serve", None, 1.0, 0.0, "", looked, entry)

    def learn(self, label: Label) -> None:
        self.labels.append(label)

    def report(self) -> LaneReport:
        return LaneReport(self.floor, None, 1.0, Counter(label.source for label in self.labels), 0, 0)

    def _looked(self, question: Reading, near: Neighbour) -> Looked:
        guard = first_refusal(question.text, near.reading.text)
        if guard is not None:
            return Looked(near.id, near.similarity, f"guard_{guard}", None)
        features = (near.similarity, *[0.0] * len(FEATURES))  # as many as a lane keeps
        return Looked(near.id, near.similarity, None, near.similarity, features)


@dataclass
class House:
    """One gateway without HTTP."""

    backend: ScriptedBackend
    pipeline: Pipeline
    answers: TieredAnswers
    semantic: Semantic
    metrics: Metrics
    ledger: Ledger
    labels: LabelStore
    controls: Controls = field(default_factory=Controls)
    commons: Commons | None = None

    async def ask(
        self, text: str, *, tenant: str = "t", salt: str = "", controls: Controls | None = None, **params: Any
    ) -> Reply:
        request = ChatRequest("scripted", ({"role": "user", "content": text},), params)
        return await self.pipeline.answer(request, tenant, salt, controls or self.controls)

    async def chat(self, text: str, **wishes: Any) -> tuple[Outcome, Completion]:
        """Ask and read to the end."""
        reply = await self.ask(text, **wishes)
        return reply.outcome, await read(reply)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def read(reply: Reply) -> Completion:
    return collect([delta async for delta in reply.deltas])


@asynccontextmanager
async def house(
    folder: Path,
    backend: ScriptedBackend | None = None,
    rules: Rules | None = None,
    embedder: Embedder | None = None,
    *,
    new_lane: NewLane = PlainLane,
    judge: str = "",
    judge_per_hour: int = 1000,
    max_lanes: int = 256,
    reads_wordings: bool = False,
    timeout_s: float = 5.0,
    rewriter: Rewriter | None = None,
    store: Store | None = None,
    shares: Callable[[Ledger], SharedFlights] | None = None,
    normaliser: Normaliser | None = None,
    prefixes: PrefixWatch | None = None,
    others: Sequence[ScriptedBackend] = (),
    index_bytes: int | None = None,
    beyond: Beyond | None = None,
    aliases: Sequence[Alias] = (),
    witnesses: Witnesses | None = None,
    check_memory: Callable[[], None] = lambda: None,
) -> AsyncIterator[House]:
    """Open a gateway whose labels live in `folder`, and its answers, unless there is another `store`. Tenants
    share where the rules say so and there are `witnesses`."""
    backend = backend or ScriptedBackend()
    store = store or SqliteAnswers(folder / "answers.db", budget_bytes=1 << 26)
    answers = TieredAnswers(MemoryAnswers(1 << 20), store)
    metrics = Metrics()
    ledger = Ledger(metrics)
    router = Router([backend, *others], aliases=aliases)
    labels = LabelStore(folder / "labels.db", per_tenant=1000)
    semantic = Semantic(
        answers,
        EmbeddingBatcher(lambda: embedder or HashingEmbedder(256)),
        partial(VectorIndex, budget_bytes=index_bytes),
        labels,
        SECRET,
        Choices(promotes=True, reads_wordings=reads_wordings, timeout_s=timeout_s, max_lanes=max_lanes),
        Verifiers(),
        judge=Judge(router, judge, per_hour=judge_per_hour) if judge else None,
        new_lane=new_lane,
        rewriter=rewriter,
        beyond=beyond,
    )
    rules = rules or Rules(shadow_rate=0.0)
    sharing = shares(ledger) if shares is not None else None
    commons = Commons(SECRET, witnesses, answers, ledger) if witnesses is not None else None
    pipeline = Pipeline(
        secret=SECRET,
        router=router,
        answers=answers,
        semantic=semantic,
        rules=rules,
        ledger=ledger,
        sharing=sharing,
        normaliser=normaliser,
        prefixes=prefixes,
        commons=commons,
        check_memory=check_memory,
    )
    await answers.open()
    if commons is not None:
        await commons.open()
    await semantic.open()
    await router.open()
    if sharing is not None:
        await sharing.open()
    try:
        yield House(backend, pipeline, answers, semantic, metrics, ledger, labels, commons=commons)
    finally:
        await pipeline.close()
        if sharing is not None:
            await sharing.close()
        await router.close()
        await semantic.close()
        await answers.close()
        if commons is not None:
            await commons.close()
