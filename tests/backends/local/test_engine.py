"""The engine keeps its limits, and every choice draws from its own luck."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.local.engine.engine import Engine
from backends.local.params import Sampling
from backends.local.wire import Abort, Expired, Refused, Token, Warm
from tests.backends.local import tiny
from tests.backends.local.engines import Clock, ask, assert_empty, engine, reference, rest, run, tokens

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


def test_more_choices_than_there_is_room_for_are_never_taken(checkpoints: Checkpoints) -> None:
    small = engine(checkpoints("llama"), max_running=1, max_waiting=1)

    (refused,) = small.submit(ask(tokens(1, 40), n=3))

    assert isinstance(refused, Refused)
    assert (refused.is_hopeless, refused.param) == (True, "n")
    assert not small.has_work


@pytest.mark.parametrize("stranger", [-1, 300, 2**70])
def test_tokens_that_the_model_does_not_have_are_never_taken(stranger: int, tmp_path: Path) -> None:
    small = engine(tiny.build("llama", tmp_path, vocab_size=300))

    said = [
        *small.submit(ask([5, stranger], 1)),
        *small.submit(ask([5, 6], 2, drafts=[7, stranger])),
        *small.warm(Warm(3, [5, stranger], is_awaited=True)),
        *small.warm(Warm(4, [5, stranger])),
    ]

    reason = f"token {stranger} is none of the model's 300"
    assert said == [Refused(request, reason, is_hopeless=True) for request in (1, 2, 3)]
    assert not small.has_work


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


def test_a_request_ends_when_its_time_is_over(checkpoints: Checkpoints) -> None:
    clock = Clock()
    slow = engine(checkpoints("llama"), max_running=2, parts={"clock": clock})
    slow.submit(ask(tokens(1, 40), 1, max_tokens=400, ignore_eos=True, n=2, timeout_s=10.0))
    slow.submit(ask(tokens(2, 40), 2, max_tokens=5, ignore_eos=True, timeout_s=10.0))
    slow.submit(ask(tokens(3, 40), 3, max_tokens=5, ignore_eos=True))
    for _ in range(5):
        slow.step()
    clock.now_s += 10.5

    outcome = run(slow)

    assert sorted(outcome.expired) == [1, 2]
    assert list(outcome.finished) == [(3, 0)]
    assert slow.stats().expired == 2
    assert_empty(slow)


def test_an_overdue_request_says_how_far_it_came(checkpoints: Checkpoints) -> None:
    clock = Clock()
    slow = engine(checkpoints("llama"), parts={"clock": clock})
    slow.submit(ask(tokens(1, 40), max_tokens=400, ignore_eos=True, timeout_s=2.0))
    said = sum(len(slow.step()) for _ in range(6)) - 1
    clock.now_s += 2.5

    assert slow.step() == [Expired(1, 2.0, said)]


def test_a_flood_of_one_owner_does_not_starve_another(checkpoints: Checkpoints) -> None:
    busy = engine(checkpoints("llama"), max_running=2, max_waiting=99)
    flood = [ask(tokens(i, 60), i, max_tokens=10, ignore_eos=True, owner="flood") for i in range(20)]

    outcome = run(busy, *flood, ask(tokens(99, 60), 99, max_tokens=10, ignore_eos=True, owner="late"))

    assert list(outcome.finished).index((99, 0)) <= 4


def test_of_one_owners_requests_the_urgent_one_goes_first(checkpoints: Checkpoints) -> None:
    busy = engine(checkpoints("llama"), max_running=1)
    submits = [ask(tokens(i, 60), i, max_tokens=4, priority=5 - i) for i in range(5)]

    assert [request for request, _ in run(busy, *submits).finished] == [4, 3, 2, 1, 0]


def test_a_full_queue_makes_room_for_who_has_less_in_it(checkpoints: Checkpoints) -> None:
    small = engine(checkpoints("llama"), max_running=1, max_waiting=3)
    flood = [ask(tokens(i, 40), i, owner="flood") for i in range(5)]

    outcome = run(small, *flood, ask(tokens(9, 40), 9, owner="other"))

    assert outcome.refused == [4, 3]  # the fifth finds no room; the fourth gives its own to the other owner
    assert sorted(request for request, _ in outcome.finished) == [0, 1, 2, 9]


def test_a_prompt_that_can_never_fit_is_told_so(llama: Engine) -> None:
    [event] = llama.submit(ask(tokens(1, 1024)))

    assert isinstance(event, Refused)
    assert event.is_hopeless
    assert event.reason == "the prompt has 1024 tokens; the engine's context is 1024"


def test_admission_waits_for_memory_and_gives_up_in_the_end(checkpoints: Checkpoints) -> None:
    clock, free = Clock(), [0]
    tight = engine(checkpoints("llama"), parts={"clock": clock, "free_bytes": lambda: free[0]})
    tight.submit(ask(tokens(1, 40), 1, max_tokens=3))
    assert tight.step() == []
    assert tight.pause_s
    free[0] = 1 << 30
    assert run(tight).finished
    free[0] = 64 << 20

    tight.submit(ask(tokens(1, 900), 2))
    clock.now_s += 60

    [event] = tight.step()
    assert isinstance(event, Refused)
    assert "do not fit" in event.reason
    assert_empty(tight)


def test_short_prompts_share_a_forward(llama: Engine) -> None:
    for i in range(4):
        llama.submit(ask(tokens(i, 25), i, max_tokens=2, ignore_eos=True))
    llama.step()

    assert sum(isinstance(event, Token) for event in llama.step()) == 4


def test_what_a_stop_string_cuts_off_leaves_its_tail_for_the_next_turn(llama: Engine) -> None:
    prompt = tokens(1, 40)
    llama.submit(ask(prompt, max_tokens=50, ignore_eos=True))
    told = [event.token_id for _ in range(15) for event in llama.step() if isinstance(event, Token)]

    llama.abort(Abort(1, 0, keep_tail=True))

    assert llama.stats().aborts == 0
    assert run(llama, ask([*prompt, *told, 5], 2)).cached[2, 0] == 40 + len(told) - 1


def test_seconds_for_prompts_do_not_grow_while_an_answer_is_decoded(llama: Engine) -> None:
    llama.submit(ask(tokens(1, 300), max_tokens=20, ignore_eos=True))
    while not llama.stats().decode_tokens:
        llama.step()
    after_prompt = llama.stats()

    run(llama)

    assert llama.stats().prefill_s == after_prompt.prefill_s > 0
    assert llama.stats().decode_tokens == 20


def test_a_cleared_engine_hands_no_slab_over_either(checkpoints: Checkpoints) -> None:
    warm = engine(checkpoints("llama"))
    run(warm, ask(tokens(1, 100)))

    warm.clear()
    outcome = run(warm, ask(tokens(1, 100), 2))

    assert outcome.cached[2, 0] == 0
    assert warm.stats().kv["in_place_tokens"] == 0


def test_a_slab_is_handed_to_one_choice_and_the_others_copy(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(1, 100)
    warm = engine(path)
    run(warm, ask(prompt))

    outcome = run(warm, ask(prompt, 2, n=3))

    assert [outcome.cached[2, index] for index in range(3)] == [99] * 3
    assert warm.stats().kv["in_place_tokens"] == 99
    assert all(outcome.tokens[2, index] == reference(path, prompt) for index in range(3))


def test_tenants_never_go_on_in_each_others_slabs(checkpoints: Checkpoints) -> None:
    warm = engine(checkpoints("llama"))
    run(warm, ask(tokens(1, 100), salt="one"))

    outcome = run(warm, ask(tokens(1, 100), 2, salt="two"))

    assert outcome.cached[2, 0] == 0
    assert warm.stats().kv["in_place_tokens"] == 0


def test_what_must_not_be_kept_is_not_handed_over(checkpoints: Checkpoints) -> None:
    warm = engine(checkpoints("llama"))
    run(warm, ask(tokens(1, 100)[:40]))
    run(warm, ask(tokens(1, 100), 2, publish_kv=False))

    outcome = run(warm, ask(tokens(1, 100), 3))

    assert outcome.cached[3, 0] == 40
    assert warm.stats().kv["in_place_tokens"] <= 40


def test_a_cancelled_request_leaves_its_slab_to_the_next_try(checkpoints: Checkpoints) -> None:
    path, prompt = checkpoints("llama"), tokens(1, 400)
    warm = engine(path, prefill_chunk=64)
    warm.submit(ask(prompt))
    for _ in range(3):
        warm.step()
    warm.abort(Abort(1))

    outcome = run(warm, ask(prompt, 2))

    assert warm.stats().kv["in_place_tokens"] == outcome.cached[2, 0] >= 128
    assert outcome.tokens[2, 0] == reference(path, prompt)


def test_the_first_token_does_not_wait_for_blocks_to_be_kept(llama: Engine) -> None:
    llama.submit(ask(tokens(1, 100), ignore_eos=True))
    while not any(isinstance(event, Token) for event in llama.step()):
        pass

    assert llama.stats().kv["published_blocks"] == 0
    llama.step()
    assert llama.stats().kv["published_blocks"] == 3


def test_what_a_cancelled_request_has_computed_is_kept(llama: Engine) -> None:
    llama.submit(ask(tokens(1, 100), ignore_eos=True))
    for _ in range(2):
        llama.step()
    llama.abort(Abort(1))

    assert llama.stats().kv["published_blocks"] == 3


def test_nothing_computed_before_a_clear_is_kept_after_it(checkpoints: Checkpoints, tmp_path: Path) -> None:
    tiers: dict[str, Any] = {"kv_dir": str(tmp_path), "kv_disk_bytes": 64 << 20}
    llama = engine(checkpoints("llama"), **tiers)
    prompt = tokens(1, 300)
    llama.submit(ask(prompt, 1, max_tokens=80, ignore_eos=True))
    llama.step()
    while not llama.step():  # until the first token is said
        pass
    llama.clear()

    outcome = run(llama)
    rest(llama)

    assert len(outcome.tokens[1, 0]) > 70
    assert llama.stats().kv["blocks_cached"] == 0
    assert run(llama, ask([*prompt, 7], 2)).cached[2, 0] == 0
    llama.close(5)


def test_a_clear_drops_what_was_to_be_computed_ahead_and_begins_anew_what_is_waited_for(llama: Engine) -> None:
    llama.warm(Warm(7, tokens(7, 640), is_awaited=True))
    for seed in range(5):
        llama.warm(Warm(0, tokens(seed, 200)))
    for _ in range(3):
        llama.step()
    before = llama.stats()
    assert before.idle_tokens > 0

    llama.clear()
    outcome = run(llama)

    stats = llama.stats()
    assert stats.idle_dropped - before.idle_dropped == 5
    assert stats.idle_tokens - before.idle_tokens == 640  # all of it
    assert outcome.warmed[7].by_tier == {}
    assert run(llama, ask(tokens(0, 200))).cached[1, 0] == 0


def test_what_was_computed_last_outlives_the_process(checkpoints: Checkpoints, tmp_path: Path) -> None:
    tiers: dict[str, Any] = {"kv_dir": str(tmp_path), "kv_disk_bytes": 64 << 20}
    first = engine(checkpoints("llama"), **tiers)
    prompt = tokens(1, 600)
    first.submit(ask(prompt, max_tokens=200, ignore_eos=True))
    while not first.step() or first._running[0].num_left != 1:  # its prompt is computed, and not published yet
        pass
    first.close(5)

    again = engine(checkpoints("llama"), **tiers)
    assert run(again, ask(prompt)).by_tier[1, 0]["disk"] >= 576
    again.close(0)


def test_what_was_just_loaded_is_not_loaded_again(checkpoints: Checkpoints, tmp_path: Path) -> None:
    tiers: dict[str, Any] = {"kv_dir": str(tmp_path), "kv_disk_bytes": 64 << 20}
    first = engine(checkpoints("llama"), **tiers)
    prompt = tokens(1, 600)
    run(first, ask(prompt))
    first.close(5)
    again = engine(checkpoints("llama"), **tiers)
    again.submit(ask(prompt, 1, max_tokens=50, ignore_eos=True))
    while not again._running:
        again.step()

    again.submit(ask(prompt, 2))

    prefetched = again._waiting[0].prefetched
    assert prefetched is not None
    assert prefetched.wanted is None or prefetched.wanted.start >= 576
    outcome = run(again)
    assert outcome.by_tier[2, 0]["ram"] >= 576
    again.close(0)
