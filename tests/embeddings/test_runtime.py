"""Our own forwards beside sentence-transformers, on the weights that come by pip."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embeddings.base import Embedder, EmbedderError, Reading, Vectors
from embeddings.local import SentenceTransformerEmbedder, load_embedder
from embeddings.runtime.agreement import TEXTS, TOLERANCES, Tolerance, disagreement
from embeddings.runtime.bert import room
from embeddings.runtime.choice import chosen, has_bfloat16, quickened
from embeddings.runtime.fast import FastEmbedder, together
from embeddings.runtime.records import known_readings
from embeddings.runtime.tokens import Tokens
from embeddings.verifier import conservative, load_verifier
from tests.contracts.embedder_contract import PROMISES
from tests.embeddings.tiny import checkpoint
from tests.gateway.house import house

QUESTION = "What is the capital city of France?"
REWORDED = "What's the capital city of France?"


@pytest.fixture(scope="module")
def reference() -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(threads=1).load()


@pytest.fixture(scope="module")
def runtimes(reference: SentenceTransformerEmbedder) -> dict[str, Embedder]:
    return {precision: reference.quickened(precision) for precision in ("float32", "bfloat16")}


@pytest.fixture(scope="module")
def lean() -> Embedder:
    return load_embedder(threads=1)


@pytest.fixture(params=["float32", "bfloat16", "lean"])
def fast(request: pytest.FixtureRequest, runtimes: dict[str, Embedder], lean: Embedder) -> Embedder:
    return lean if request.param == "lean" else runtimes[request.param]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_our_own_forward_is_an_embedder(promise: Callable[[Embedder], None], fast: Embedder) -> None:
    assert isinstance(fast, FastEmbedder)
    promise(fast)


def test_float32_gives_the_numbers_of_the_reference(
    reference: SentenceTransformerEmbedder, runtimes: dict[str, Embedder], lean: Embedder
) -> None:
    texts = [*TEXTS, "far more words than the window has room for " * 40, "", "[SEP] 打开 🤗"]
    said = reference.read(texts)
    for runtime in (runtimes["float32"], lean):
        for ours, theirs in zip(runtime.read(texts), said, strict=True):
            assert ours.pieces == theirs.pieces
            assert np.allclose(ours.vector, theirs.vector, atol=1e-6)
            assert np.allclose(ours.states, theirs.states, atol=2e-5)
        assert [runtime.fits(text) for text in texts] == [reference.fits(text) for text in texts]


def test_torch_and_onnxruntime_share_a_fingerprint(runtimes: dict[str, Embedder], lean: Embedder) -> None:
    assert isinstance(lean, FastEmbedder)
    assert lean.fingerprint == runtimes["float32"].fingerprint


def test_what_the_reference_said_comes_with_the_program(reference: SentenceTransformerEmbedder) -> None:
    known = known_readings(reference.weights, None)

    assert known is not None
    assert not disagreement(reference, known, Tolerance(2e-6, 1e-5))


def test_no_two_runtimes_share_a_fingerprint_and_all_share_the_verifier(
    reference: SentenceTransformerEmbedder, runtimes: dict[str, Embedder]
) -> None:
    fingerprints = [embedder.fingerprint for embedder in (reference, *runtimes.values())]
    verifiers = {load_verifier(fingerprint).name for fingerprint in fingerprints}

    assert len(set(fingerprints)) == 3
    assert len(verifiers) == 1
    assert verifiers != {conservative().name}


async def test_another_precision_embeds_what_is_stored_anew(tmp_path: Path, runtimes: dict[str, Embedder]) -> None:
    async with house(tmp_path, embedder=runtimes["float32"]) as gateway:
        await gateway.chat(QUESTION)
    async with house(tmp_path, embedder=runtimes["bfloat16"]) as gateway:
        old = [row async for row in gateway.answers.embedded(runtimes["float32"].fingerprint)]
        assert len(old) + gateway.semantic.num_vectors == 1  # never both
        await gateway.semantic.catch_up()
        (new,) = [row async for row in gateway.answers.embedded(runtimes["bfloat16"].fingerprint)]

        assert not [row async for row in gateway.answers.embedded(runtimes["float32"].fingerprint)]
        assert gateway.semantic.num_vectors == 1
        assert np.allclose(np.frombuffer(new.vector, "<f4"), runtimes["bfloat16"].embed([QUESTION])[0], atol=1e-6)
        assert (await gateway.chat(REWORDED))[0].tier == "semantic"


class Recorded:
    """What an embedder said of the texts that runtimes are tried on."""

    dim, fingerprint = 384, "recorded"

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = {reading.text: reading for reading in readings}

    def read(self, texts: Sequence[str]) -> list[Reading]:
        return [self._readings[text] for text in texts]

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.stack([reading.vector for reading in self.read(texts)])

    def fits(self, text: str) -> bool:
        return text in self._readings


@pytest.fixture(scope="module")
def recorded(reference: SentenceTransformerEmbedder) -> Recorded:
    return Recorded(reference.read(TEXTS))


def _leaned(reading: Reading) -> Reading:
    vector = reading.vector + np.float32(0.01)
    return replace(reading, vector=vector / np.linalg.norm(vector))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda one: replace(one, pieces=tuple(piece.upper() for piece in one.pieces)), "other pieces"),
        (_leaned, "cosines are off by"),
        (lambda one: replace(one, vector=-one.vector), "is turned"),
        (lambda one: replace(one, vector=one.vector * np.float32(np.nan)), "cosines are off"),
        (lambda one: replace(one, states=one.states * np.float32(1.01)), "states of tokens"),
        (lambda one: replace(one, states=one.states * np.float32(np.nan)), "states of tokens"),
        (lambda one: one, ""),
    ],
)
def test_what_strays_from_the_reference_is_named(
    recorded: Recorded, spoil: Callable[[Reading], Reading], why: str
) -> None:
    strayed = Recorded([spoil(reading) for reading in recorded.read(TEXTS)])
    found = disagreement(strayed, recorded.read(TEXTS), TOLERANCES["float32"])

    assert why in found
    assert bool(found) == bool(why)


def test_a_runtime_that_strays_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trusted = SentenceTransformerEmbedder(checkpoint(tmp_path / "one")).load()
    other = SentenceTransformer(checkpoint(tmp_path / "other", act="gelu_new"), device="cpu", local_files_only=True)
    tokens = Tokens.of(other.tokenizer, 64)
    with caplog.at_level(logging.WARNING):
        embedder = quickened(trusted, other, tokens, "float32", "tiny", "tiny:{}".format)

    assert embedder is trusted
    assert "in float32 computes something else: cosines are off" in caplog.text


def test_a_precision_nobody_knows_is_refused(reference: SentenceTransformerEmbedder) -> None:
    with pytest.raises(EmbedderError, match="one of auto, float32, bfloat16"):
        reference.quickened("int8")
    with pytest.raises(EmbedderError, match="not loaded"):
        SentenceTransformerEmbedder().quickened()


@pytest.mark.parametrize(
    ("able", "has"), [({"avx512_bf16": True}, True), ({"avx512_bf16": False, "avx2": True}, False)]
)
def test_without_being_asked_a_processor_with_bfloat16_computes_in_float32_all_the_same(
    able: dict[str, bool], has: bool
) -> None:
    assert has_bfloat16(able) == has
    assert chosen("auto") == "float32"


def test_texts_of_like_lengths_are_computed_together() -> None:
    assert list(together([5, 1, 9, 2, 30], 10)) == [[1, 3, 0], [2], [4]]
    assert list(together([], 10)) == []


def test_tokens_are_computed_in_one_of_few_numbers_of_rows() -> None:
    rooms = [room(num_tokens) for num_tokens in range(1, 8193)]

    assert all(have <= rows <= max(have + 3, have * 1.125) for have, rows in enumerate(rooms, 1))
    assert len(set(rooms)) < 80
