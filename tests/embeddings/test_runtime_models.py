"""Which models our own forwards take, and what happens to the others: tiny checkpoints through the real loader."""

import logging
from pathlib import Path

import numpy as np
import pytest

from embeddings.local import SentenceTransformerEmbedder, load_embedder
from embeddings.runtime import witness
from embeddings.runtime.agreement import TEXTS
from embeddings.runtime.checkpoint import read_checkpoint
from embeddings.runtime.fast import FastEmbedder
from embeddings.runtime.records import file_of
from embeddings.verifier import load_verifier
from tests.embeddings.tiny import LATIN, WIDTH, checkpoint

CHINESE = "打开深色模式"


@pytest.mark.parametrize(
    ("body", "pooling", "act"), [("bert", "mean", "gelu"), ("xlm-roberta", "mean", "gelu"), ("bert", "cls", "gelu_new")]
)
def test_a_known_body_is_computed_by_our_own_forward(tmp_path: Path, body: str, pooling: str, act: str) -> None:
    reference = SentenceTransformerEmbedder(checkpoint(tmp_path, body=body, pooling=pooling, act=act)).load()
    fast = reference.quickened("float32")

    assert isinstance(fast, FastEmbedder)
    assert f":float32+bert1:{WIDTH}:{pooling}:64:" in fast.fingerprint
    for ours, theirs in zip(fast.read(TEXTS), reference.read(TEXTS), strict=True):
        assert ours.pieces == theirs.pieces
        assert np.allclose(ours.states, theirs.states, atol=1e-5)


@pytest.mark.parametrize(("body", "pooling", "act"), [("xlm-roberta", "mean", "gelu"), ("bert", "cls", "gelu_new")])
def test_a_known_body_is_computed_without_torch_once_the_reference_was_asked(
    tmp_path: Path, body: str, pooling: str, act: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder, records = checkpoint(tmp_path / "model", body=body, pooling=pooling, act=act), tmp_path
    digest = read_checkpoint(Path(folder)).digest()
    witness.main(folder, digest, str(records / file_of(digest)))
    with caplog.at_level(logging.INFO):
        lean = load_embedder(folder, records=records)
    by_torch = load_embedder(folder)  # nobody was asked, as far as it is told

    assert not caplog.records
    assert lean.fingerprint == by_torch.fingerprint
    assert np.allclose(lean.embed(TEXTS), by_torch.embed(TEXTS), atol=1e-6)


def test_a_multilingual_model_sees_chinese(tmp_path: Path) -> None:
    embedder = load_embedder(checkpoint(tmp_path))
    (reading,) = embedder.read([CHINESE])

    assert isinstance(embedder, FastEmbedder)
    assert embedder.fits(CHINESE)
    assert reading.pieces[-7:] == (*CHINESE, "?")
    assert not load_verifier(embedder.fingerprint).is_fitted


def test_letters_a_unigram_tokenizer_does_not_know_are_refused(tmp_path: Path) -> None:
    embedder = load_embedder(checkpoint(tmp_path, letters=LATIN))

    assert embedder.fits("turn on dark mode 🤗")
    assert not embedder.fits(CHINESE)
    assert "<unk>" in embedder.read([CHINESE])[0].pieces


def test_an_unknown_body_is_left_to_sentence_transformers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        embedder = load_embedder(checkpoint(tmp_path, act="relu"), precision="bfloat16")

    assert isinstance(embedder, SentenceTransformerEmbedder)
    assert ":float32:" in embedder.fingerprint
    assert "its activation is relu" in caplog.text
