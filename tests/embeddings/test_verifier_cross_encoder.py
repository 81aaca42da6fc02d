from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.base import DoesNotFit, EmbedderError
from embeddings.verifier.cross_encoder import SecondLook

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "the", "capital", "of", "france", "italy", "?"]


def tiny(folder: Path, num_labels: int) -> str:
    """A classifier of a few thousand random weights, saved as any cross-encoder is."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        num_labels=num_labels,
    )
    config.initializer_range = 0.3
    BertForSequenceClassification(config).save_pretrained(folder)
    vocab = {word: number for number, word in enumerate(WORDS)}
    BertTokenizer(vocab=vocab, model_max_length=32).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=[1, 2])
def second_look(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return SecondLook(tiny(tmp_path_factory.mktemp("model"), request.param)).load()


FRANCE, ITALY = "What is the capital of France?", "What is the capital of Italy?"


def test_it_gives_probabilities_that_do_not_depend_on_the_order(second_look: SecondLook) -> None:
    one, other, same = second_look.probabilities([(FRANCE, ITALY), (ITALY, FRANCE), (FRANCE, FRANCE)])

    assert 0.0 < one < 1.0
    assert one == pytest.approx(other, abs=1e-6)
    assert abs(same - one) > 1e-6
    assert second_look.probabilities([]).shape == (0,)


def test_it_gives_the_same_twice(second_look: SecondLook) -> None:
    assert np.array_equal(
        second_look.probabilities([(FRANCE, ITALY)]),
        second_look.probabilities([(FRANCE, ITALY)]),
    )


def test_texts_it_cannot_see_whole_are_told_apart_from_a_failure(second_look: SecondLook) -> None:
    with pytest.raises(DoesNotFit):
        second_look.probabilities([(FRANCE, "the capital of " * 20)])


def test_a_classifier_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="3 outputs"):
        SecondLook(tiny(tmp_path, 3)).load()


def test_a_directory_without_a_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="cannot load"):
        SecondLook(str(tmp_path)).load()


def test_it_must_be_loaded_first() -> None:
    with pytest.raises(EmbedderError, match="not loaded"):
        SecondLook("nobody").probabilities([(FRANCE, ITALY)])
