"""The engine keeps its limits, and every choice draws from its own luck."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.local.engine import Engine
from backends.local.params import Sampling
from backends.local.wire import Abort
from tests.backends.local.engines import ask, engine, reference, run, tokens

Checkpoints = Callable[[str], Path]
WILD = Sampling(temperature=1.5, seed=11)


@pytest.fixture
def llama(checkpoints: Checkpoints) -> Engine:
    return engine(checkpoints("llama"))


def test_a_full_queue_refuses_at_once(checkpoints: Checkpoints) -> None:
    small = engine(checkpoints("llama"), max_running=1, max_waiting=2)

    outcome = run(small, *[ask(tokens(i, 40), i) for i in range(5)])

    assert outcome.refused == [3, 4]
    assert sorted(outcome.finished) == [(0, 0), (1, 0), (2, 0)]


def test_an_abort_frees_the_slot_at_once(llama: Engine) -> None:
    llama.submit(ask(tokens(1, 300), 1, max_tokens=500))
    llama.submit(ask(tokens(2, 300), 2, max_tokens=500))
    for _ in range(3):
        llama.step()
    assert llama.stats().slab_tokens > 0

    llama.abort(Abort(1))
    llama.abort(Abort(2))
    llama.abort(Abort(99))

    stats = llama.stats()
    assert (stats.running, stats.waiting, stats.slab_tokens, stats.kv["blocks_leased"]) == (0, 0, 0, 0)
    assert not llama.has_work


def test_one_choice_can_be_aborted_alone(llama: Engine) -> None:
    llama.submit(ask(tokens(1, 40), max_tokens=8, n=3, ignore_eos=True))
    llama.step()
    llama.abort(Abort(1, index=1))

    outcome = run(llama)

    assert sorted(outcome.finished) == [(1, 0), (1, 2)]


def test_a_sequence_ends_at_its_limit_and_at_the_end_of_the_context(llama: Engine) -> None:
    outcome = run(llama, ask(tokens(1, 50), 1, max_tokens=7, ignore_eos=True), ask(tokens(2, 1000), 2, max_tokens=500))

    assert outcome.finished[1, 0] == "length"
    assert len(outcome.tokens[1, 0]) == 7
    assert len(outcome.tokens[2, 0]) <= 24


def test_an_end_token_ends_the_sequence(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(1, 50)
    fourth = reference(path, prompt)[3]
    first_seen = reference(path, prompt).index(fourth)

    outcome = run(engine(path, eos_token_ids=[fourth]), ask(prompt))

    assert outcome.finished == {(1, 0): "stop"}
    assert outcome.tokens[1, 0] == reference(path, prompt)[: first_seen + 1]


def test_a_seed_gives_the_same_text_alone_and_in_company(llama: Engine) -> None:
    prompt = tokens(1, 60)
    alone = run(llama, ask(prompt, 1, sampling=WILD, max_tokens=20)).tokens[1, 0]

    others = [ask(tokens(i, 30 * i), i, sampling=Sampling(temperature=1.2), max_tokens=30) for i in range(2, 6)]
    company = run(llama, *others, ask(prompt, 9, sampling=WILD, max_tokens=20)).tokens[9, 0]

    assert alone == company


def test_choices_share_the_prompt_and_differ_in_luck(llama: Engine) -> None:
    prompt = tokens(1, 200)

    outcome = run(llama, ask(prompt, n=4, sampling=WILD, ignore_eos=True))
    again = run(llama, ask(prompt, 2, n=4, sampling=WILD, ignore_eos=True))

    texts = [outcome.tokens[1, i] for i in range(4)]
    assert len({tuple(text) for text in texts}) == 4
    assert texts == [again.tokens[2, i] for i in range(4)]
    assert [outcome.cached[1, i] for i in range(4)] == [0, 192, 192, 192]


def test_without_a_seed_luck_differs_from_time_to_time(llama: Engine) -> None:
    wild = Sampling(temperature=1.5)
    prompt = tokens(1, 60)

    outcome = run(llama, *[ask(prompt, i, sampling=wild, ignore_eos=True) for i in range(3)])

    assert len({tuple(text) for text in outcome.tokens.values()}) > 1


def test_a_chunk_of_a_long_prompt_does_not_hold_up_those_who_decode(llama: Engine) -> None:
    llama.submit(ask(tokens(1, 20), 1, max_tokens=50, ignore_eos=True))
    llama.step()
    llama.submit(ask(tokens(2, 900), 2))
    llama.step()

    told = [len(llama.step()) for _ in range(6)]

    assert told == [1] * 6
