from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from embeddings.base import Embedder, EmbedderError, Vectors
from embeddings.hashing import HashingEmbedder
from embeddings.local import SentenceTransformerEmbedder
from embeddings.selftest import self_test
from tests.contracts.embedder_contract import PROMISES


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder().load()


@pytest.fixture(params=["hashing", "minilm"])
def embedder(request: pytest.FixtureRequest) -> Any:
    return HashingEmbedder() if request.param == "hashing" else request.getfixturevalue("minilm")


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_every_embedder(promise: Callable[[Embedder], None], embedder: Embedder) -> None:
    promise(embedder)


def test_hashing_is_the_same_in_every_process() -> None:
    vector = HashingEmbedder(8).embed(["ab"])[0]

    assert vector.tolist() == HashingEmbedder(8).embed(["AB"])[0].tolist()
    assert np.sign(vector).astype(int).tolist() == [0, 1, 0, 0, 0, -1, 0, -1]


def test_hashing_keeps_dimensions_apart() -> None:
    assert HashingEmbedder(64).fingerprint != HashingEmbedder(128).fingerprint


PARAPHRASES = [
    ("How do I reset my password?", "How can I reset my password?"),
    ("What is prefix caching?", "What's prefix caching?"),
    ("How tall is Mount Everest?", "What is the height of Mount Everest?"),
]
UNRELATED = ["Write a poem about the sea.", "Which port does PostgreSQL listen on?", "Who painted the Mona Lisa?"]


@pytest.mark.parametrize(("question", "paraphrase"), PARAPHRASES)
def test_a_paraphrase_is_nearer_than_anything_unrelated(
    minilm: SentenceTransformerEmbedder, question: str, paraphrase: str
) -> None:
    asked, same, *others = minilm.embed([question, paraphrase, *UNRELATED])

    assert asked @ same > 0.75
    assert max(asked @ other for other in others) < 0.4


@pytest.mark.parametrize(
    ("typed", "other"),
    [
        ("What is a cache?", "What's a cache"),
        ("What is a cache?", "what is a cache ?!"),
        ("Whats the time", "What is the time."),
        ("Why can't I log in?", "Why can not I log in"),
        ("It doesn’t work", "It does not work..."),
        ("什么是缓存", "什么是缓存？"),
    ],
)
def test_a_difference_that_says_nothing_moves_no_vector(
    minilm: SentenceTransformerEmbedder, typed: str, other: str
) -> None:
    one, two = minilm.embed([typed, other])

    assert one @ two > 0.999


def test_minilm_refuses_a_text_longer_than_it_reads(minilm: SentenceTransformerEmbedder) -> None:
    assert minilm.fits("word " * 253)  # two marks at the ends and one question mark
    assert not minilm.fits("word " * 254)
    assert not minilm.fits("x" * 1_000_000)


def test_minilm_refuses_letters_it_cannot_tell_apart(minilm: SentenceTransformerEmbedder) -> None:
    on, off = minilm.embed(["打开深色模式", "关闭深色模式"])

    assert on @ off > 0.9999
    assert not minilm.fits("打开深色模式")


def test_an_unknown_sign_that_is_no_letter_does_no_harm(minilm: SentenceTransformerEmbedder) -> None:
    assert minilm.fits("What is a cache? 🤗")


def test_an_embedder_that_is_not_loaded_says_so() -> None:
    with pytest.raises(EmbedderError, match="not loaded"):
        SentenceTransformerEmbedder().embed(["a"])
    with pytest.raises(EmbedderError, match="not loaded"):
        SentenceTransformerEmbedder().fits("a")


def test_a_directory_without_a_model_is_reported(tmp_path: Any) -> None:
    with pytest.raises(EmbedderError, match="cannot load"):
        SentenceTransformerEmbedder(str(tmp_path)).load()


class Broken(HashingEmbedder):
    """An embedder that loads and answers, wrongly."""

    def __init__(self, spoil: Callable[[Vectors], Vectors]) -> None:
        super().__init__(64)
        self.spoil = spoil

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self.spoil(super().embed(texts))


def _constant(vectors: Vectors) -> Vectors:
    return np.repeat(vectors[:1], len(vectors), axis=0)


def _narrow(vectors: Vectors) -> Vectors:
    squeezed = vectors + 5 * vectors[:1]
    lengths: Vectors = np.linalg.norm(squeezed, axis=1, keepdims=True)
    return squeezed / lengths


@pytest.mark.parametrize(
    "spoil",
    [
        _constant,
        _narrow,
        np.zeros_like,
        lambda vectors: vectors * np.float32(np.nan),
        lambda vectors: vectors * np.float32(3),
        lambda vectors: vectors[:, :32],
        lambda vectors: vectors[::-1].copy()[:3],
        lambda vectors: np.roll(vectors, 1, axis=0),
        lambda vectors: vectors.astype(np.float64),
    ],
)
def test_the_self_test_finds(spoil: Callable[[Vectors], Vectors]) -> None:
    with pytest.raises(EmbedderError):
        self_test(Broken(spoil))
