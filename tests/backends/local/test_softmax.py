"""Our softmax over columns is a softmax, to what bfloat16 can tell, and has no largest number that it cannot take."""

import math

import pytest
import torch

from backends.local.decoder.softmax import kernel, weigh_columns

needs_kernel = pytest.mark.skipif(kernel() is None, reason="the kernel cannot be compiled here")


def softmax(scores: torch.Tensor) -> torch.Tensor:
    weights = scores.clone()
    sums = weigh_columns(weights)
    return weights.float() / sums.unsqueeze(1)


@needs_kernel
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 700, 96), (2, 33, 37)])
def test_weights_are_those_of_a_softmax(shape: tuple[int, int, int], scale: float) -> None:
    scores = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * scale).bfloat16()

    found = softmax(scores)

    assert float((found - scores.float().softmax(1)).abs().sum(1).max()) < 0.003
    assert float((found.sum(1) - 1).abs().max()) < 0.004


@needs_kernel
@pytest.mark.parametrize("shift", [-3e38, -200.0, 0.0, 200.0, 3e38])
def test_what_all_scores_have_in_common_changes_nothing(shift: float) -> None:
    scores = torch.full((1, 8, 3), shift).bfloat16()

    assert torch.equal(softmax(scores), torch.full((1, 8, 3), 0.125))


@needs_kernel
def test_what_is_hidden_weighs_nothing() -> None:
    scores = torch.zeros(1, 8, 20).bfloat16()
    scores[:, 2:] = -math.inf

    found = softmax(scores)

    torch.testing.assert_close(found[:, :2], torch.full((1, 2, 20), 0.5), atol=1e-3, rtol=0)
    assert float(found[:, 2:].max()) < 1e-37
