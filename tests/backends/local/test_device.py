"""The same model on any device and with products of any precision, and clear words where that cannot be."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from backends.local.decoder.config import CheckpointError
from backends.local.decoder.device import choose_device
from tests.backends.local.engines import ask, engine, run, tokens

Checkpoints = Callable[[str], Path]
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA")


@without_cuda
@pytest.mark.parametrize("asked", ["auto", "cpu"])
def test_without_cuda_it_is_the_processor(asked: str) -> None:
    assert choose_device(asked) == torch.device("cpu")


@without_cuda
def test_cuda_that_is_not_there_is_refused() -> None:
    with pytest.raises(CheckpointError, match="'cuda' was asked for"):
        choose_device("cuda")


@with_cuda
def test_quantised_products_stay_on_the_processor() -> None:
    assert choose_device("auto", "int4") == torch.device("cpu")
    with pytest.raises(CheckpointError, match="int4 weights are computed on the processor only"):
        choose_device("cuda", "int4")


@with_cuda
@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gpt_neox"])
@pytest.mark.parametrize("is_exact", [False, True])
def test_on_cuda_a_hit_changes_no_token(family: str, is_exact: bool, checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints(family), tokens(1, 300)
    warm = engine(path, device="cuda", exact=is_exact)
    cold = run(warm, ask(prompt))

    again = run(warm, ask(prompt, 2))

    assert again.cached[2, 0] >= 256
    assert again.tokens[2, 0] == cold.tokens[1, 0]
    assert again.tokens[2, 0] == run(engine(path, device="cpu"), ask(prompt)).tokens[1, 0]


def test_quantised_products_are_for_our_own_decoder(checkpoints: Checkpoints) -> None:
    with pytest.raises(CheckpointError, match="int4 weights are for the models our own decoder computes"):
        engine(checkpoints("gpt2"), weights="int4")


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_over_quantised_products_a_hit_changes_no_token(weights: str, checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(1, 300)
    warm = engine(path, weights=weights)
    cold = run(warm, ask(prompt, max_tokens=40))

    again = run(warm, ask(prompt, 2, max_tokens=40))

    assert again.cached[2, 0] == 299
    assert again.tokens[2, 0] == cold.tokens[1, 0]
