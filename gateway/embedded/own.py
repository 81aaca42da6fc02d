"""The gateway's own embedder as a model: what finds similar questions gives vectors to whoever asks."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from backends.errors import BackendNotReady, RequestRejected
from embeddings.base import DoesNotFit, Embedder, EmbedderError
from gateway.embedded.request import EmbeddingRequest
from gateway.embedded.vector import Vector

TOGETHER = 64  # texts handed to the embedder at a time; lookups of others go first


class Batcher(Protocol):
    """The queue in front of an embedder (`embeddings.batcher`)."""

    async def embed(self, text: str, *, is_patient: bool = False) -> Any: ...

    async def ready(self) -> Embedder: ...


class OwnEmbedder:
    """Answers to its names."""

    def __init__(self, batcher: Batcher, names: Sequence[str]) -> None:
        self.names = frozenset(names)
        self._batcher = batcher

    async def revision(self) -> str:
        """What its vectors are kept under. Raises `BackendNotReady`."""
        return (await self._ready()).fingerprint

    async def embed(self, request: EmbeddingRequest, items: Sequence[Any]) -> tuple[list[Vector], list[int]]:
        """The vectors, and how many tokens each item has. Raises `BackendError`."""
        embedder = await self._ready()
        texts = _texts(request, items, embedder.dim)
        try:
            vectors: list[Vector] = []
            for start in range(0, len(texts), TOGETHER):
                some = texts[start : start + TOGETHER]
                found = await asyncio.gather(*(self._batcher.embed(text, is_patient=True) for text in some))
                vectors += [Vector("f", one.tobytes()) for one in found]
        except DoesNotFit as error:
            what = "is too long for this model, or written in letters that it does not know"
            raise RequestRejected(f"An item of input {what}.", param="input") from error
        except EmbedderError as error:
            raise BackendNotReady(f"The embedder cannot be asked now: {error}") from error
        return vectors, await asyncio.to_thread(_counts, embedder, texts)

    async def _ready(self) -> Embedder:
        try:
            return await self._batcher.ready()
        except EmbedderError as error:
            raise BackendNotReady(f"The embedder cannot be asked now: {error}") from error


def _texts(request: EmbeddingRequest, items: Sequence[Any], dim: int) -> list[str]:
    if request.params.get("dimensions") not in (None, dim):
        raise RequestRejected(f"{request.model} has {dim} dimensions, and no others.", param="dimensions")
    if not all(isinstance(item, str) and item.strip() for item in items):
        raise RequestRejected(f"{request.model} takes texts that are not empty.", param="input")
    return list(items)


def _counts(embedder: Embedder, texts: Sequence[str]) -> list[int]:
    count = getattr(embedder, "num_tokens", None)
    return [count(text) if count is not None else -(-len(text) // 4) for text in texts]
