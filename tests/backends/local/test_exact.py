"""In exact mode a hit changes no bit of an answer, in any precision."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from backends.local.decoder.base import Decoder, Span
from backends.local.decoder.rows import has_rows
from backends.local.engine.engine import Engine
from backends.local.params import Sampling
from tests.backends.local import tiny
from tests.backends.local.engines import ask, engine, run, said, tokens

Checkpoints = Callable[[str], Path]
SPEAKING = Sampling(temperature=0.0, top_logprobs=4)


def exact_engine(path: Path, dtype: str) -> Engine:
    return engine(path, dtype=dtype, exact=True)


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


class Counted:
    """A decoder that remembers how many spans each forward had."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.alike_rows = decoder.alike_rows
        self.spans: list[int] = []

    def new_slab(self, capacity: int) -> torch.Tensor:
        return self._decoder.new_slab(capacity)

    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        self.spans.append(len(spans))
        return self._decoder.forward(spans)


@pytest.mark.skipif(not has_rows(torch.bfloat16), reason="no kernels for this processor")
def test_sequences_decode_together_where_that_changes_no_bit(checkpoints: Checkpoints) -> None:
    path = checkpoints("qwen3")
    together = exact_engine(path, "bfloat16")
    counted = together._runner._decoder = Counted(together._runner._decoder)
    submits = [ask(tokens(i, 20), i, max_tokens=30, sampling=SPEAKING, ignore_eos=True) for i in range(8)]

    outcome = run(together, *submits)

    assert counted.spans.count(8) > 20
    for i, submit in enumerate(submits):
        assert said(outcome, i) == said(run(exact_engine(path, "bfloat16"), submit), i)


def test_what_was_decoded_is_computed_anew_as_a_prompt(checkpoints: Checkpoints) -> None:
    warm, prompt = exact_engine(checkpoints("llama"), "bfloat16"), tokens(2, 130)
    answer = run(warm, ask(prompt, max_tokens=200, ignore_eos=True)).tokens[1, 0]

    outcome = run(warm, ask([*prompt, *answer], 2))

    assert outcome.cached[2, 0] == 128


def test_a_preemption_changes_no_bit(checkpoints: Checkpoints) -> None:
    path, prompts = checkpoints("llama"), [tokens(30 + i, 140 + 32 * i) for i in range(3)]
    bytes_per_token = 3 * 2 * 2 * 16 * 2
    small = engine(path, dtype="bfloat16", exact=True, context_tokens=720, slab_budget_bytes=1050 * bytes_per_token)
    submits = [ask(prompt, i, max_tokens=400, sampling=SPEAKING, ignore_eos=True) for i, prompt in enumerate(prompts)]

    outcome = run(small, *submits)

    assert small.stats().preemptions > 0
    for i, submit in enumerate(submits):
        assert said(outcome, i) == said(run(exact_engine(path, "bfloat16"), submit), i)


def test_coming_back_from_a_preemption_does_not_use_what_others_made_of_the_answer(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(2, 140)
    alone = run(exact_engine(path, "bfloat16"), ask(prompt, 1, max_tokens=300, sampling=SPEAKING, ignore_eos=True))
    bytes_per_token = 3 * 2 * 2 * 16 * 2
    small = engine(path, dtype="bfloat16", exact=True, context_tokens=720, slab_budget_bytes=950 * bytes_per_token)
    run(small, ask([*prompt, *alone.tokens[1, 0]], 2, max_tokens=1))  # the same text, read as a prompt

    outcome = run(
        small,
        ask(tokens(3, 250), 0, max_tokens=400, ignore_eos=True),
        ask(prompt, 1, max_tokens=300, sampling=SPEAKING, ignore_eos=True),
    )

    assert small.stats().preemptions > 0
    assert said(outcome, 1) == said(alone, 1)
