"""The road of an embeddings request: the own embedder, a broken file, callers who leave."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.chat import Delta, Usage
from backends.errors import BackendError, BackendNotReady, RequestRejected
from backends.fake import ScriptedBackend
from backends.routing.router import Router
from embeddings.base import EmbedderError
from embeddings.batcher import EmbeddingBatcher
from embeddings.hashing import HashingEmbedder
from gateway.answers.selection import Selection
from gateway.controls import Controls
from gateway.embedded.file import FileVectors
from gateway.embedded.memory import MemoryVectors
from gateway.embedded.own import OwnEmbedder
from gateway.embedded.request import EmbeddingRequest
from gateway.embedded.service import Embeddings
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.policy import Rules

SECRET = b"s" * 32
VECTOR = [0.5, 0.25]


def said(*vectors: Any, tokens: int = 7) -> list[Delta]:
    return [Delta(fields={"embeddings": list(vectors)}, finish_reason="stop", usage=Usage(tokens))]


def desk(backend: ScriptedBackend, rules: Rules | None = None, **parts: Any) -> Embeddings:
    ledger = Ledger(Metrics())
    memory = MemoryVectors(1 << 20)
    return Embeddings(
        secret=SECRET, router=Router([backend]), rules=rules or Rules(), ledger=ledger, memory=memory, **parts
    )


def request(*items: Any, model: str = "scripted", **params: Any) -> EmbeddingRequest:
    return EmbeddingRequest(model, items, params, "float")


async def test_the_gateways_own_embedder_answers_to_its_name() -> None:
    batcher = EmbeddingBatcher(lambda: HashingEmbedder(64))
    embeddings = desk(ScriptedBackend(), own=OwnEmbedder(batcher, ["mine"]))
    first = await embeddings.answer(request("a text", "another", model="mine"), "t", Controls())
    again = await embeddings.answer(request("another", model="mine"), "t", Controls())
    with pytest.raises(RequestRejected) as too_many:
        await embeddings.answer(request("a text", model="mine", dimensions=63), "t", Controls())
    with pytest.raises(RequestRejected):
        await embeddings.answer(request([1, 2], model="mine"), "t", Controls())
    await batcher.close()
    with pytest.raises(BackendNotReady):
        await embeddings.answer(request("more", model="mine"), "t", Controls())

    assert np.linalg.norm(first.vectors[0].floats()) == pytest.approx(1, abs=1e-5)
    assert again.vectors == first.vectors[1:]
    assert again.outcome.tier == "exact"
    assert too_many.value.param == "dimensions"


async def test_an_embedder_that_cannot_be_loaded_is_told() -> None:
    def broken() -> HashingEmbedder:
        raise EmbedderError("no weights")

    batcher = EmbeddingBatcher(broken)
    with pytest.raises(BackendNotReady, match="no weights"):
        await desk(ScriptedBackend(), own=OwnEmbedder(batcher, ["mine"])).answer(
            request("a", model="mine"), "t", Controls()
        )
    await batcher.close()


async def test_a_batch_costs_what_it_cost_and_lists_of_tokens_what_they_are() -> None:
    backend = ScriptedBackend(lambda asked: said(*[VECTOR] * len(asked.params["input"])))
    embeddings = desk(backend)
    texts = await embeddings.answer(request("a", "bb", "cccc"), "t", Controls())
    tokens = await embeddings.answer(request([1, 2, 3], [4]), "t", Controls())
    again = await embeddings.answer(request("cccc", "bb", "a"), "t", Controls())

    assert (texts.num_tokens, again.num_tokens, again.num_asked_tokens) == (7, 7, 0)
    assert tokens.num_tokens == 4


async def test_a_file_that_is_broken_is_a_miss_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    backend = ScriptedBackend(said(VECTOR))
    embeddings = desk(backend, file=FileVectors(tmp_path / "file" / "embeddings.db", 1 << 20))
    await embeddings.open()

    assert (await embeddings.answer(request("a"), "t", Controls())).vectors[0].floats() == VECTOR
    assert (await embeddings.answer(request("a"), "t", Controls())).outcome.tier == "exact", "from memory"
    assert backend.calls == 1
    await embeddings.close()


async def test_without_the_exact_tier_nothing_is_kept() -> None:
    backend = ScriptedBackend(said(VECTOR))
    embeddings = desk(backend, Rules(exact=False))
    for _ in range(2):
        await embeddings.answer(request("a"), "t", Controls())

    assert (backend.calls, len(embeddings.memory)) == (2, 0)


@pytest.mark.parametrize("script", [said(), said(VECTOR, VECTOR), said("no base64!"), said({"sparse": 1}), said([])])
async def test_what_is_no_list_of_vectors_is_the_servers_fault(script: list[Delta]) -> None:
    embeddings = desk(ScriptedBackend(script))

    with pytest.raises(BackendError, match="did not send 1 vectors"):
        await embeddings.answer(request("a"), "t", Controls())
    assert len(embeddings.memory) == 0


async def test_whoever_waits_with_one_who_left_asks_himself() -> None:
    go_on = asyncio.Event()
    backend = ScriptedBackend(lambda _: [go_on, *said(VECTOR)])
    embeddings = desk(backend)
    first = asyncio.create_task(embeddings.answer(request("a"), "t", Controls()))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(embeddings.answer(request("a"), "t", Controls()))
    await asyncio.sleep(0.01)
    calls_while_both_wait = backend.calls
    first.cancel()
    await asyncio.sleep(0.01)
    go_on.set()

    assert (await second).vectors[0].floats() == VECTOR
    assert (calls_while_both_wait, backend.calls) == (1, 2)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_failure_is_nobodys_vector() -> None:
    go_on = asyncio.Event()
    scripts: Iterator[list[Any]] = iter([[go_on, RequestRejected("No.")], said(VECTOR)])
    embeddings = desk(ScriptedBackend(lambda _: next(scripts)))
    first = asyncio.create_task(embeddings.answer(request("a"), "t", Controls()))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(embeddings.answer(request("a"), "t", Controls()))
    await asyncio.sleep(0.01)
    go_on.set()

    with pytest.raises(RequestRejected):
        await first
    assert (await second).vectors[0].floats() == VECTOR


@pytest.mark.parametrize("selection", [Selection(tenant="t"), Selection(tag="mine")])
async def test_what_is_being_made_when_it_is_erased_is_kept_nowhere(tmp_path: Path, selection: Selection) -> None:
    go_on = asyncio.Event()
    backend = ScriptedBackend(lambda _: [go_on, *said(VECTOR)])
    embeddings = desk(backend, file=FileVectors(tmp_path / "embeddings.db", 1 << 20))
    await embeddings.open()
    controls = Controls(tags=("mine",))
    asked = asyncio.create_task(embeddings.answer(request("a"), "t", controls))
    another = asyncio.create_task(embeddings.answer(request("a"), "u", Controls()))
    await asyncio.sleep(0.01)
    await embeddings.remove(selection)
    go_on.set()

    assert (await asked).vectors[0].floats() == (await another).vectors[0].floats() == VECTOR
    await embeddings.answer(request("b"), "t", controls)
    await embeddings.remove(selection)  # what waits to be written
    await asyncio.gather(*embeddings._writes)
    assert await embeddings.count(Selection()) == len(embeddings.memory) == 1
    await embeddings.close()
