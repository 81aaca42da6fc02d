"""Our own forward beside sentence-transformers, on the weights that come by pip."""

from collections.abc import Callable

import pytest

from embeddings.base import Embedder
from embeddings.local import SentenceTransformerEmbedder
from tests.contracts.embedder_contract import PROMISES

TEXTS = ["What is a cache?", "hi", "How many days are there in a leap year, and why?", "word " * 40, "hello there"]


@pytest.fixture(scope="module")
def reference() -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(threads=1).load()


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def fast(request: pytest.FixtureRequest, reference: SentenceTransformerEmbedder) -> Embedder:
    return reference.quickened(request.param)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_our_own_forward_is_an_embedder(promise: Callable[[Embedder], None], fast: Embedder) -> None:
    promise(fast)
