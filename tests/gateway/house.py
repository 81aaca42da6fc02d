"""A gateway on a scripted backend, for tests of the pipeline."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.chat import ChatRequest, Completion, collect
from backends.fake import ScriptedBackend
from backends.router import Router
from embeddings.base import Embedder
from embeddings.batcher import EmbeddingBatcher
from embeddings.hashing import HashingEmbedder
from embeddings.index import VectorIndex
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.controls import Controls
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.outcome import Outcome
from gateway.pipeline import Pipeline
from gateway.policy import Rules
from gateway.reply import Reply
from gateway.semantic import Semantic

SECRET = b"s" * 32


@dataclass
class House:
    """One gateway without HTTP."""

    backend: ScriptedBackend
    pipeline: Pipeline
    answers: TieredAnswers
    semantic: Semantic
    metrics: Metrics
    ledger: Ledger
    controls: Controls = field(default_factory=Controls)

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
) -> AsyncIterator[House]:
    """Open a gateway whose answers live in `folder`."""
    backend = backend or ScriptedBackend()
    answers = TieredAnswers(MemoryAnswers(1 << 20), SqliteAnswers(folder / "answers.db", budget_bytes=1 << 26))
    semantic = Semantic(answers, EmbeddingBatcher(lambda: embedder or HashingEmbedder(256)), VectorIndex)
    metrics = Metrics()
    ledger = Ledger(metrics)
    router = Router([backend])
    rules = rules or Rules(min_similarity=0.7)
    pipeline = Pipeline(secret=SECRET, router=router, answers=answers, semantic=semantic, rules=rules, ledger=ledger)
    await answers.open()
    await semantic.open()
    await router.open()
    try:
        yield House(backend, pipeline, answers, semantic, metrics, ledger)
    finally:
        await pipeline.close()
        await router.close()
        await semantic.close()
        await answers.close()
