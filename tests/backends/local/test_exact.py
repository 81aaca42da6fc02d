"""In exact mode a hit changes no bit of an answer, in any precision."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.local.engine import Engine
from backends.local.params import Sampling
from backends.local.wire import Token
from tests.backends.local import tiny
from tests.backends.local.engines import Outcome, ask, engine, run, tokens

Checkpoints = Callable[[str], Path]
SPEAKING = Sampling(temperature=0.0, top_logprobs=4)


def exact_engine(path: Path, dtype: str) -> Engine:
    return engine(path, dtype=dtype, exact=True)


def said(outcome: Outcome, request: int) -> list[tuple[int, float | None, tuple[tuple[int, float], ...]]]:
    """Tokens with their log probabilities, to the last bit."""
    tokens = [event for event in outcome.events if isinstance(event, Token) and event.request == request]
    return [(token.token_id, token.logprob, token.top) for token in tokens]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", [*tiny.FAMILIES, *tiny.FOREIGN])
def test_a_hit_changes_no_bit(family: str, dtype: str, checkpoints: Checkpoints) -> None:
    path, stem = checkpoints(family), tokens(1, 400)
    prompts = [[*stem[:shared], *tokens(shared, 90)] for shared in (400, 300, 256, 200, 129)]
    warm = exact_engine(path, dtype)
    run(warm, ask(stem))

    outcome = run(
        warm, *[ask(prompt, i, max_tokens=30, sampling=SPEAKING, ignore_eos=True) for i, prompt in enumerate(prompts)]
    )

    assert [outcome.cached[i, 0] for i in range(5)] == [384, 256, 256, 128, 128]
    for i, prompt in enumerate(prompts):
        cold = run(exact_engine(path, dtype), ask(prompt, i, max_tokens=30, sampling=SPEAKING, ignore_eos=True))
        assert said(outcome, i) == said(cold, i)


def test_what_was_decoded_is_computed_anew_as_a_prompt(checkpoints: Checkpoints) -> None:
    warm, prompt = exact_engine(checkpoints("llama"), "bfloat16"), tokens(2, 130)
    answer = run(warm, ask(prompt, max_tokens=200, ignore_eos=True)).tokens[1, 0]

    outcome = run(warm, ask([*prompt, *answer], 2))

    assert outcome.cached[2, 0] == 128
