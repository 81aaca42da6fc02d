"""With drafts the engine says the very same, in fewer forwards."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.local.engine.engine import Engine
from backends.local.engine.pace import Pace
from backends.local.params import Sampling
from backends.local.wire import Abort, Submit, Token
from tests.backends.local import tiny
from tests.backends.local.engines import GREEDY, Outcome, ask, engine, reference, run, tokens

Checkpoints = Callable[[str], Path]
families = pytest.mark.parametrize("family", [*tiny.FAMILIES, "demo"])
WILD = Sampling(temperature=0.9, seed=11)
SETTINGS = {
    "greedy": GREEDY,
    "logprobs": Sampling(temperature=0.0, top_logprobs=3),
    "repetition": Sampling(temperature=0.0, repetition_penalty=1.3),
    "presence and frequency": Sampling(temperature=0.0, presence_penalty=1.0, frequency_penalty=0.5),
    "bias": Sampling(temperature=0.0, logit_bias=((17, 5.0), (40, -100.0))),
    "sampled": WILD,
    "nucleus": Sampling(temperature=1.2, top_p=0.8, min_p=0.02, seed=5, top_logprobs=1),
}


class AsMany(Pace):
    """Checks as many drafts as there are, whatever they cost."""

    def allot(self, chances: Sequence[Sequence[float]]) -> list[int]:
        return [len(each) for each in chances]

    def wants_plain(self, sequences: int) -> bool:
        return False

    def plain_s(self, sequences: int) -> None:
        """Not known, so nothing is lost."""


def drafting(path: Path, **overrides: Any) -> Engine:
    return engine(path, pace=AsMany(), drafts=True, **overrides)


def edited(answer: list[int], share: float, seed: int = 0) -> list[int]:
    """`answer` with a share of its tokens replaced, left out or doubled."""
    rng, near = random.Random(seed), list[int]()
    for token in answer:
        edit = rng.random() < share
        near += rng.choice([[], [token, token], [rng.randrange(3, 300)]]) if edit else [token]
    return near


def said(outcome: Outcome, request: int, index: int = 0) -> list[tuple[int, str | None]]:
    events = [e for e in outcome.events if isinstance(e, Token) and (e.request, e.index) == (request, index)]
    return [(event.token_id, event.finish_reason) for event in events]


@families
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 1.0])
def test_greedy_tokens_are_those_of_the_model(family: str, share: float, checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints(family), tokens(1, 90)
    answer = reference(path, prompt, 60, ends=False)
    drafted = drafting(path)

    outcome = run(drafted, ask(prompt, max_tokens=60, ignore_eos=True, drafts=edited(answer, share)))

    assert outcome.tokens[1, 0] == answer
    stats = drafted.stats()
    assert stats.decode_tokens == 60
    if share < 0.5:
        assert stats.drafts_accepted > 20


@families
@pytest.mark.parametrize("name", SETTINGS)
def test_every_way_of_choosing_gives_the_same_with_drafts_and_without(
    family: str, name: str, checkpoints: Checkpoints
) -> None:
    path, prompt, sampling = checkpoints(family), tokens(2, 70), SETTINGS[name]
    wish: dict[str, Any] = {"max_tokens": 50, "sampling": sampling, "ignore_eos": True}
    plain = run(engine(path), ask(prompt, **wish))
    drafted = drafting(path)

    outcome = run(drafted, ask(prompt, **wish, drafts=edited(plain.tokens[1, 0], 0.1)))

    assert drafted.stats().drafts_accepted > 10
    assert said(outcome, 1) == said(plain, 1)
    for ours, theirs in zip(outcome.events, plain.events, strict=True):
        if isinstance(ours, Token) and isinstance(theirs, Token) and theirs.logprob is not None:
            assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-3)
            assert [value for _, value in ours.top] == pytest.approx([value for _, value in theirs.top], abs=1e-3)


@pytest.mark.parametrize(("presence", "frequency"), [(1.5, 0.0), (0.7, 0.3)])
def test_asking_for_log_probabilities_changes_no_penalised_token(
    presence: float, frequency: float, checkpoints: Checkpoints
) -> None:
    path, prompt = checkpoints("llama"), tokens(2, 70)
    together = Sampling(temperature=0.0, presence_penalty=presence, frequency_penalty=frequency)
    one_by_one = replace(together, top_logprobs=1)
    plain = run(engine(path), ask(prompt, max_tokens=60, sampling=one_by_one, ignore_eos=True))
    answer = plain.tokens[1, 0]

    outcome = run(
        drafting(path),
        ask(prompt, max_tokens=60, sampling=together, ignore_eos=True, drafts=edited(answer, 0.1)),
    )

    assert outcome.tokens[1, 0] == answer


def test_what_repeats_itself_needs_no_near_answer(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(3, 50)
    stuck = Sampling(temperature=0.0, logit_bias=((17, 100.0),))
    drafted = drafting(path)

    outcome = run(drafted, ask(prompt, max_tokens=80, sampling=stuck))

    assert outcome.tokens[1, 0] == [17] * 80
    assert drafted.stats().drafts_accepted > 70


def test_a_right_near_answer_takes_a_few_forwards(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(1, 40)
    answer = reference(path, prompt, 100, ends=False)
    drafted = drafting(path)
    drafted.submit(ask(prompt, max_tokens=100, ignore_eos=True, drafts=answer))

    steps = 0
    while drafted.has_work:
        drafted.step()
        steps += 1

    assert steps < 12


def test_an_end_token_among_drafts_that_hold_ends_the_answer(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(1, 50)
    answer = reference(path, prompt, 40, ends=False)
    end = next(token for index, token in enumerate(answer) if index > 8 and token not in answer[:index])
    drafted = drafting(path, eos_token_ids=[end])

    outcome = run(drafted, ask(prompt, max_tokens=40, drafts=answer))

    assert outcome.finished == {(1, 0): "stop"}
    assert outcome.tokens[1, 0] == answer[: answer.index(end) + 1]


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 9, 32, 33])
def test_an_answer_ends_at_its_limit_among_drafts_that_hold(max_tokens: int, checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("qwen2"), tokens(1, 50)
    answer = reference(path, prompt, 60, ends=False)

    outcome = run(drafting(path), ask(prompt, max_tokens=max_tokens, ignore_eos=True, drafts=answer))

    assert (outcome.tokens[1, 0], outcome.finished[1, 0]) == (answer[:max_tokens], "length")


@pytest.mark.parametrize("num_prompt", [990, 1000, 1020, 1022])
def test_drafts_stay_within_the_context(num_prompt: int, checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(4, num_prompt)
    plain = run(engine(path), ask(prompt, max_tokens=200, ignore_eos=True))

    near = [*plain.tokens[1, 0], *tokens(5, 100)]
    outcome = run(drafting(path), ask(prompt, max_tokens=200, ignore_eos=True, drafts=near))

    assert said(outcome, 1) == said(plain, 1)


def test_slabs_grow_under_drafts(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(4, 40)
    plain = run(engine(path), ask(prompt, max_tokens=700, ignore_eos=True))

    outcome = run(drafting(path), ask(prompt, max_tokens=700, ignore_eos=True, drafts=plain.tokens[1, 0]))

    assert outcome.tokens[1, 0] == plain.tokens[1, 0]


def test_choices_draft_each_for_itself(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("qwen3"), tokens(6, 60)
    plain = run(engine(path), ask(prompt, n=4, max_tokens=30, sampling=WILD, ignore_eos=True))

    near = plain.tokens[1, 2]
    outcome = run(drafting(path), ask(prompt, n=4, max_tokens=30, sampling=WILD, ignore_eos=True, drafts=near))

    assert outcome.tokens == plain.tokens


def test_neighbours_with_and_without_drafts_do_not_change_each_other(checkpoints: Checkpoints) -> None:
    path = checkpoints("qwen2")
    prompts = [tokens(20 + i, 30 + 40 * i) for i in range(7)]
    answers = [reference(path, prompt, 40, ends=False) for prompt in prompts]
    nears = [edited(answer, 0.1 * i) if i % 3 else [] for i, answer in enumerate(answers)]
    submits = [
        ask(p, i, max_tokens=40, ignore_eos=True, drafts=d) for i, (p, d) in enumerate(zip(prompts, nears, strict=True))
    ]

    outcome = run(drafting(path), *submits)

    assert [outcome.tokens[i, 0] for i in range(7)] == answers


def test_rows_of_rejected_drafts_are_never_kept(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(7, 50)
    answer = reference(path, prompt, 150, ends=False)
    warm = drafting(path)
    run(warm, ask(prompt, max_tokens=150, ignore_eos=True, drafts=edited(answer, 0.3)))
    stats = warm.stats()
    assert min(stats.drafts_accepted, stats.drafts_rejected) > 20

    for request, stop in enumerate(range(1, 150, 7), start=2):
        resumed = [*prompt, *answer[:stop], *tokens(request, 3)]
        outcome = run(warm, ask(resumed, request))

        assert outcome.cached[request, 0] >= len(prompt) + stop - 1
        assert outcome.tokens[request, 0] == reference(path, resumed)


def test_the_next_turn_resumes_behind_an_answer_that_was_drafted(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("qwen3"), tokens(8, 40)
    answer = reference(path, prompt, 70, ends=False)
    for length in (21, 22, 23, 24, 25, 54, 55, 56, 57):  # about the ends of blocks
        warm = drafting(path)
        run(warm, ask(prompt, 1, max_tokens=length, ignore_eos=True, drafts=answer))
        turn = [*prompt, *answer[:length], *tokens(length, 9)]

        outcome = run(warm, ask(turn, 2))

        assert outcome.cached[2, 0] == len(prompt) + length - 1
        assert outcome.tokens[2, 0] == reference(path, turn)


def test_a_preempted_sequence_drafts_on_where_it_was(checkpoints: Checkpoints) -> None:
    path = checkpoints("qwen3")
    prompts = [tokens(30 + i, 60 + 32 * i) for i in range(3)]
    plain = [run(engine(path), ask(p, max_tokens=500, ignore_eos=True)).tokens[1, 0] for p in prompts]
    small = drafting(path, context_tokens=720, slab_budget_bytes=1050 * 3 * 2 * 2 * 16 * 4)

    nears = [edited(answer, 0.2) for answer in plain]
    outcome = run(small, *[ask(prompts[i], i, max_tokens=500, ignore_eos=True, drafts=nears[i]) for i in range(3)])

    assert small.stats().preemptions > 0
    assert [outcome.tokens[i, 0] for i in range(3)] == plain


def test_exact_numerics_draft_nothing(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(1, 50)
    answer = reference(path, prompt, 40)
    exact = drafting(path, exact=True)

    assert run(exact, ask(prompt, max_tokens=40, drafts=answer)).tokens[1, 0] == answer
    assert (exact.stats().drafts_accepted, exact.stats().drafts_rejected) == (0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_random_traffic_with_drafts_and_too_little_memory_stays_right(seed: int, checkpoints: Checkpoints) -> None:
    rng, path = random.Random(seed), checkpoints(tiny.FAMILIES[seed % 3])
    bytes_per_token = 3 * 2 * 2 * 16 * 4
    small = drafting(
        path,
        context_tokens=512,
        kv_budget_bytes=rng.choice([10, 40]) * 32 * bytes_per_token,
        slab_budget_bytes=900 * bytes_per_token,
        max_running=4,
    )
    stem, prompts, outcome, aborted = tokens(50, 300), dict[int, list[int]](), Outcome(), set[int]()
    for request in range(14):
        prompts[request] = [*stem[: rng.randint(0, 300)], *tokens(60 + request, rng.randint(1, 90))]
        near = edited(reference(path, prompts[request], 100, ends=False), rng.random() / 2, request)
        submit: Submit = ask(prompts[request], request, max_tokens=rng.randint(1, 100), ignore_eos=True, drafts=near)
        outcome.take(small.submit(submit))
        for _ in range(rng.randint(0, 5)):
            outcome.take(small.step())
        if rng.random() < 0.25:
            aborted.add(request - 1)
            small.abort(Abort(request - 1))
    outcome.take(run(small).events)

    assert {request for request, _ in outcome.finished} >= set(prompts) - aborted
    for (request, _), generated in outcome.tokens.items():
        assert generated == reference(path, prompts[request], 100, ends=False)[: len(generated)]
    stats = small.stats()
    assert min(stats.drafts_accepted, stats.drafts_rejected) > 0
    assert (stats.running, stats.waiting, stats.slab_tokens, stats.kv["blocks_leased"]) == (0, 0, 0, 0)
