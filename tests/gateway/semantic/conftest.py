"""The real embedder, loaded once."""

import pytest

from embeddings.local import SentenceTransformerEmbedder


@pytest.fixture(scope="session")
def minilm() -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(threads=1).load()
