"""A model that says who had it answer, which it knows from the task that asks and from nowhere else."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextvars import ContextVar
from hashlib import blake2b
from struct import unpack

from backends.base import Health, Model
from backends.chat import EMBEDDINGS, ChatRequest, Delta, Usage
from bench.isolation.askers import MODELS

ASKING: ContextVar[str] = ContextVar("ASKING", default="nobody")
JUDGE = "judge"


class MarkingBackend:
    """Says the mark of the asker and a digest of the question, in as many passes of the loop as a real one takes."""

    name = "marking"

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.calls = 0

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def models(self) -> Sequence[Model]:
        return [Model(name, "1") for name in (*MODELS, JUDGE)]

    async def health(self) -> Health:
        return Health(True)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        self.calls += 1
        mark = ASKING.get()
        if request.purpose == EMBEDDINGS:
            yield Delta(fields={EMBEDDINGS: [vector_of(mark, item) for item in request.params["input"]]})
            yield Delta(finish_reason="stop")
            yield Delta(usage=Usage(3 * len(request.params["input"]), 0))
            return
        if request.model == JUDGE:
            words = ['{"verdict": "yes"}']
        else:
            words = [mark, " ", f"q{digest_of(asked_in(request))}", " is what I was asked, and this is all I say."]
        for _ in range(self._rng.choice((0, 1, 1, 5, 20))):
            await asyncio.sleep(0)  # so that others come meanwhile, and ride along if they may
        yield Delta(fields={"role": "assistant", "content": ""})
        for word in words:
            await asyncio.sleep(0)
            yield Delta(fields={"content": word})
        yield Delta(finish_reason="stop")
        yield Delta(usage=Usage(7, len(words)))


def asked_in(request: ChatRequest) -> str:
    """The words of the last message, or of a raw prompt."""
    if isinstance(request.prompt, str):
        return request.prompt
    content = request.messages[-1].get("content") if request.messages else ""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content)


def digest_of(question: str) -> str:
    return blake2b(question.encode(), digest_size=6).hexdigest()


def vector_of(mark: str, item: object) -> list[float]:
    """Four numbers that nobody else gets for this item."""
    raw = blake2b(f"{mark} {item!r}".encode(), digest_size=8).digest()
    return [number / 65_536 for number in unpack("<4H", raw)]
