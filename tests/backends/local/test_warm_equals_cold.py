"""With kept prefixes, greedy token ids are those of a fresh engine and of transformers, whatever was hit."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.local.wire import Abort
from tests.backends.local import tiny
from tests.backends.local.engines import Outcome, ask, engine, reference, run, tokens

Checkpoints = Callable[[str], Path]
BLOCK = 32
families = pytest.mark.parametrize("family", [*tiny.FAMILIES, "demo"])


@families
def test_a_repeat_computes_one_token_and_says_the_same(family: str, checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints(family), tokens(1, 200)
    warm = engine(path)
    cold = run(warm, ask(prompt))

    again = run(warm, ask(prompt, 2))

    assert cold.cached[1, 0] == 0
    assert again.cached[2, 0] == 199
    assert again.tokens[2, 0] == cold.tokens[1, 0] == reference(path, prompt)


@families
@pytest.mark.parametrize("shared", [1, 31, 32, 33, 45, 63, 64, 65, 127, 128, 129, 160])
def test_a_prompt_that_diverges_anywhere_resumes_at_the_very_token(
    family: str, shared: int, checkpoints: Checkpoints
) -> None:
    path, first = checkpoints(family), tokens(1, 180)
    other = [*first[:shared], 301, *tokens(2, 70)]
    warm = engine(path)
    run(warm, ask(first))

    outcome = run(warm, ask(other, 2))

    assert outcome.cached[2, 0] == shared
    assert outcome.tokens[2, 0] == run(engine(path), ask(other)).tokens[1, 0] == reference(path, other)


@families
def test_the_next_turn_resumes_behind_the_last_answer(family: str, checkpoints: Checkpoints) -> None:
    path, history = checkpoints(family), tokens(3, 75)
    warm = engine(path)
    known = 0
    for turn in range(1, 5):
        outcome = run(warm, ask(history, turn, max_tokens=20))
        assert outcome.tokens[turn, 0] == reference(path, history, 20)
        assert outcome.cached[turn, 0] == known
        answered = [*history, *outcome.tokens[turn, 0]]
        known = len(answered) - 1  # the last token was chosen and never computed
        history = [*answered, *tokens(10 + turn, 17)]


@families
def test_concurrent_requests_do_not_change_each_other(family: str, checkpoints: Checkpoints) -> None:
    path, system = checkpoints(family), tokens(4, 100)
    prompts = [[*system[: 100 - 9 * i], *tokens(20 + i, 30 + 40 * i)] for i in range(7)]
    warm = engine(path)
    run(warm, ask(system))

    outcome = run(warm, *[ask(prompt, i, max_tokens=24) for i, prompt in enumerate(prompts)])

    for i, prompt in enumerate(prompts):
        assert outcome.cached[i, 0] >= 32
        assert outcome.tokens[i, 0] == reference(path, prompt, 24)


def test_a_sequence_is_unharmed_by_the_abort_of_its_neighbour(checkpoints: Checkpoints) -> None:
    path, shared = checkpoints("llama"), tokens(5, 300)
    prompt = [*shared[:290], *tokens(6, 40)]
    warm = engine(path)
    warm.submit(ask(shared, 1))
    warm.submit(ask(tokens(7, 400), 2))
    for _ in range(4):
        warm.step()
    warm.abort(Abort(1))
    warm.abort(Abort(2))

    outcome = run(warm, ask(prompt, 3))

    assert outcome.cached[3, 0] >= 128
    assert outcome.tokens[3, 0] == reference(path, prompt)


def test_who_waited_for_an_aborted_neighbour_goes_on_from_what_it_left(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(5, 400)
    warm = engine(path)
    warm.submit(ask(prompt, 1))
    warm.submit(ask(prompt, 2))
    for _ in range(3):
        warm.step()
    assert (warm.stats().running, warm.stats().waiting) == (1, 1)
    warm.abort(Abort(1))

    outcome = run(warm)

    assert outcome.cached[2, 0] == 256
    assert outcome.tokens[2, 0] == reference(path, prompt)


def test_equal_prompts_at_once_are_computed_once(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("qwen2"), tokens(8, 260)
    warm = engine(path)

    outcome = run(warm, *[ask(prompt, i) for i in range(4)])

    expected = reference(path, prompt)
    assert [outcome.tokens[i, 0] for i in range(4)] == [expected] * 4
    assert [outcome.cached[i, 0] for i in range(4)] == [0, 256, 256, 256]
    assert warm.stats().prefill_tokens == 260 + 3 * 4


def test_a_preempted_sequence_goes_on_where_it_was(checkpoints: Checkpoints) -> None:
    path = checkpoints("qwen3")
    prompts = [tokens(30 + i, 60 + 32 * i) for i in range(3)]
    bytes_per_token = 3 * 2 * 2 * 16 * 4
    small = engine(path, context_tokens=720, slab_budget_bytes=1050 * bytes_per_token)

    outcome = run(small, *[ask(prompt, i, max_tokens=500, ignore_eos=True) for i, prompt in enumerate(prompts)])

    assert small.stats().preemptions > 0
    for i, prompt in enumerate(prompts):
        fresh = run(engine(path, context_tokens=720), ask(prompt, max_tokens=500, ignore_eos=True))
        assert outcome.tokens[i, 0] == fresh.tokens[1, 0]
        assert len(outcome.tokens[i, 0]) == 500


def test_a_small_pool_evicts_and_stays_right(checkpoints: Checkpoints) -> None:
    path = checkpoints("llama")
    block_bytes = 3 * 2 * 2 * 16 * 4 * BLOCK
    warm = engine(path, kv_budget_bytes=6 * block_bytes)
    prompts = [tokens(40 + i % 3, 150) for i in range(9)]

    for i, prompt in enumerate(prompts):
        assert run(warm, ask(prompt, i)).tokens[i, 0] == reference(path, prompt)

    assert warm.stats().kv["evicted_blocks"] > 0


@pytest.mark.parametrize(
    ("fields", "cached"), [({"use_kv": False}, 0), ({"publish_kv": False}, 99), ({"salt": "another"}, 0)]
)
def test_a_request_may_leave_the_kept_prefixes_alone(
    fields: dict[str, Any], cached: int, checkpoints: Checkpoints
) -> None:
    path, prompt = checkpoints("llama"), tokens(9, 100)
    warm = engine(path)
    run(warm, ask(prompt))
    published = warm.stats().kv["published_blocks"]

    outcome = run(warm, ask(prompt, 2, **fields))

    assert outcome.cached[2, 0] == cached
    assert outcome.tokens[2, 0] == reference(path, prompt)
    assert (warm.stats().kv["published_blocks"] > published) == ("salt" in fields)


def test_without_a_budget_nothing_is_kept_and_nothing_breaks(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(9, 100)
    plain = engine(path, kv_budget_bytes=0)

    outcome = run(plain, ask(prompt, 1), ask(prompt, 2))

    assert outcome.cached == {(1, 0): 0, (2, 0): 0}
    assert outcome.tokens[1, 0] == outcome.tokens[2, 0] == reference(path, prompt)


@pytest.mark.parametrize("seed", range(4))
def test_random_traffic_with_aborts_and_too_little_memory_stays_right(seed: int, checkpoints: Checkpoints) -> None:
    rng, path = random.Random(seed), checkpoints(tiny.FAMILIES[seed % 3])
    bytes_per_token = 3 * 2 * 2 * 16 * 4
    small = engine(
        path,
        context_tokens=512,
        kv_budget_bytes=rng.choice([10, 40]) * BLOCK * bytes_per_token,
        slab_budget_bytes=900 * bytes_per_token,
        max_running=4,
    )
    stem, prompts, outcome, aborted = tokens(50, 300), {}, Outcome(), set()
    for request in range(14):
        prompts[request] = [*stem[: rng.randint(0, 300)], *tokens(60 + request, rng.randint(1, 90))]
        outcome.take(small.submit(ask(prompts[request], request, max_tokens=rng.randint(1, 100), ignore_eos=True)))
        for _ in range(rng.randint(0, 12)):
            outcome.take(small.step())
        if rng.random() < 0.25:
            aborted.add(request - 1)
            small.abort(Abort(request - 1))
    outcome.take(run(small).events)

    assert sum(outcome.cached.values()) > 0
    assert {request for request, _ in outcome.finished} >= set(prompts) - aborted
    for (request, _), said in outcome.tokens.items():
        assert said == reference(path, prompts[request], 100, ends=False)[: len(said)]
    stats = small.stats()
    assert (stats.running, stats.waiting, stats.slab_tokens, stats.kv["blocks_leased"]) == (0, 0, 0, 0)
