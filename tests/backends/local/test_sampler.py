"""The next token follows the settings, exactly."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backends.local.engine.sampler import choose, sample
from backends.local.params import Sampling

PROBABILITIES = (0.4, 0.3, 0.15, 0.1, 0.05)
LOGITS = torch.tensor(PROBABILITIES).log()
EVEN = [(i + 0.5) / 2000 for i in range(2000)]


def shares(sampling: Sampling, logits: torch.Tensor = LOGITS) -> list[float]:
    """How often each token is chosen over evenly spread uniform numbers."""
    counts = torch.bincount(torch.tensor([choose(logits, sampling, u) for u in EVEN]), minlength=len(logits))
    return [round(count / len(EVEN), 3) for count in counts.tolist()]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [0.4, 0.3, 0.15, 0.1, 0.05]),
        (Sampling(temperature=0.0), [1, 0, 0, 0, 0]),
        (Sampling(temperature=1e-9), [1, 0, 0, 0, 0]),
        (Sampling(temperature=0.5), [0.561, 0.316, 0.079, 0.035, 0.009]),
        (Sampling(top_k=1), [1, 0, 0, 0, 0]),
        (Sampling(top_k=2), [0.571, 0.428, 0, 0, 0]),
        (Sampling(top_k=99), [0.4, 0.3, 0.15, 0.1, 0.05]),
        (Sampling(top_p=0.1), [1, 0, 0, 0, 0]),
        (Sampling(top_p=0.6), [0.571, 0.428, 0, 0, 0]),
        (Sampling(top_p=0.8), [0.471, 0.353, 0.176, 0, 0]),
        (Sampling(min_p=0.3), [0.471, 0.353, 0.176, 0, 0]),
        (Sampling(min_p=1.0), [1, 0, 0, 0, 0]),
        (Sampling(top_k=2, top_p=0.5), [1, 0, 0, 0, 0]),  # 0.4 is more than half of what top-k leaves
    ],
)
def test_tokens_come_as_often_as_they_should(sampling: Sampling, expected: list[float]) -> None:
    assert shares(sampling) == pytest.approx(expected, abs=2e-3)


def test_a_nucleus_wider_than_the_first_look_is_found_whole() -> None:
    logits = torch.zeros(5000)

    chosen = {choose(logits, Sampling(top_p=0.9), u) for u in EVEN}

    assert len(chosen) == 2000
    assert max(chosen) > 1024


def test_the_likely_few_of_a_large_vocabulary_are_found() -> None:
    logits = torch.arange(5000).float() / 2

    chosen = {choose(logits, Sampling(min_p=0.2), u) for u in EVEN}

    assert chosen == {4996, 4997, 4998, 4999}


@pytest.mark.parametrize(
    ("changes", "prompt", "output", "expected"),
    [
        ({}, [0], [0, 0], 0),
        ({"presence_penalty": 0.5}, [], [0], 1),
        ({"presence_penalty": 0.5}, [0], [], 0),  # what was asked is no repetition
        ({"frequency_penalty": 0.2}, [], [0], 0),
        ({"frequency_penalty": 0.2}, [], [0, 0], 1),
        ({"repetition_penalty": 2.0}, [0], [], 1),
        ({"repetition_penalty": 3.0}, [0], [1], 2),
        ({"logit_bias": ((4, 100.0),)}, [], [], 4),
        ({"logit_bias": ((0, -100.0), (1, -100.0))}, [], [], 2),
    ],
)
def test_penalties_and_bias_move_the_greedy_choice(
    changes: dict[str, Any], prompt: list[int], output: list[int], expected: int
) -> None:
    sampling = Sampling(**{"temperature": 0.0, **changes})

    assert sample(LOGITS, sampling, prompt, output, 0.0).token_id == expected


def test_log_probabilities_are_the_models_own() -> None:
    sampled = sample(LOGITS, Sampling(temperature=0.0, top_logprobs=2, logit_bias=((3, 50.0),)), [], [], 0.5)

    assert sampled.token_id == 3
    assert sampled.logprob == pytest.approx(float(LOGITS[3]), abs=1e-6)
    assert [token_id for token_id, _ in sampled.top] == [0, 1]


def test_logits_are_never_changed_in_place() -> None:
    logits = LOGITS.clone()
    everything = Sampling(
        presence_penalty=1.0, frequency_penalty=1.0, repetition_penalty=1.5, logit_bias=((1, 2.0),), top_logprobs=1
    )

    sample(logits, everything, [0, 1], [2], 0.3)

    torch.testing.assert_close(logits, LOGITS)


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=40),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 2),
    st.integers(0, 50),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_any_settings_choose_a_token(
    values: list[float], uniform: float, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)

    assert 0 <= choose(torch.tensor(values), sampling, uniform) < len(values)
