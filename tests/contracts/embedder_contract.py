"""What every embedder must do. A test module calls each promise with the embedder it made."""

import numpy as np

from embeddings.base import Embedder
from embeddings.selftest import self_test

TEXTS = ["What is prefix caching?", "How do I reset my password?", "", "zażółć gęślą jaźń 🤗", "word " * 60]


def gives_unit_rows_of_its_dimension(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)

    assert vectors.shape == (len(TEXTS), embedder.dim)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)


def no_text_gives_no_row(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dim)


def a_text_has_one_vector_alone_or_in_a_batch(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS)
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])

    assert np.allclose(together, alone, atol=1e-5)


def order_is_kept(embedder: Embedder) -> None:
    assert np.allclose(embedder.embed(TEXTS)[::-1], embedder.embed(TEXTS[::-1]), atol=1e-5)


def different_texts_have_different_vectors(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)

    assert (vectors @ vectors.T)[~np.eye(len(TEXTS), dtype=bool)].max() < 0.999


def has_a_fingerprint_with_its_precision_and_dimension(embedder: Embedder) -> None:
    assert any(f":{precision}" in embedder.fingerprint for precision in ("float32", "bfloat16"))
    assert str(embedder.dim) in embedder.fingerprint


def a_short_text_fits(embedder: Embedder) -> None:
    assert all(embedder.fits(text) for text in TEXTS[:3])


def a_reading_has_the_same_vector_and_a_state_for_every_piece(embedder: Embedder) -> None:
    readings = embedder.read(TEXTS)

    assert [reading.text for reading in readings] == TEXTS
    assert np.allclose([reading.vector for reading in readings], embedder.embed(TEXTS), atol=1e-5)
    for reading in readings:
        assert reading.states.shape == (len(reading.pieces), embedder.dim)
        assert reading.states.dtype == reading.vector.dtype == np.float32
    assert len(readings[0].pieces) >= 4
    assert not embedder.read([])


def a_text_has_one_reading_alone_or_in_a_batch(embedder: Embedder) -> None:
    for reading in embedder.read(TEXTS):
        (alone,) = embedder.read([reading.text])

        assert alone.pieces == reading.pieces
        assert np.allclose(alone.states, reading.states, atol=1e-4)


def tells_texts_apart(embedder: Embedder) -> None:
    self_test(embedder)


PROMISES = [
    gives_unit_rows_of_its_dimension,
    no_text_gives_no_row,
    a_text_has_one_vector_alone_or_in_a_batch,
    order_is_kept,
    different_texts_have_different_vectors,
    has_a_fingerprint_with_its_precision_and_dimension,
    a_short_text_fits,
    a_reading_has_the_same_vector_and_a_state_for_every_piece,
    a_text_has_one_reading_alone_or_in_a_batch,
    tells_texts_apart,
]
