"""Idle work: done when nothing else is to do, given up at once, and there when somebody asks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.local.engine.engine import Engine
from backends.local.engine.idle import MOST_TASKS, STALE_S
from backends.local.params import Sampling
from backends.local.wire import Abort, Warm, Warmed
from tests.backends.local import tiny
from tests.backends.local.engines import Clock, ask, assert_empty, engine, reference, rest, run, said, tokens

Checkpoints = Callable[[str], Path]
SPEAKING = Sampling(temperature=0.0, top_logprobs=4)


@pytest.fixture
def llama(checkpoints: Checkpoints) -> Engine:
    return engine(checkpoints("llama"))


def warm(prompt: list[int], request: int = 100, **fields: Any) -> Warm:
    return Warm(request, prompt, **fields)


def test_what_was_computed_ahead_is_a_hit_to_the_very_token(checkpoints: Checkpoints, llama: Engine) -> None:
    prompt = tokens(1, 300)
    run(llama, warm(prompt[:280]))

    outcome = run(llama, ask(prompt))

    assert outcome.cached[1, 0] == 280
    assert outcome.tokens[1, 0] == reference(checkpoints("llama"), prompt)


def test_whoever_waits_for_it_is_told(llama: Engine) -> None:
    outcome = run(llama, warm(tokens(1, 300), is_awaited=True))

    assert outcome.warmed[100] == Warmed(100, 300, 0)
    assert run(llama, warm(tokens(1, 300), 101, is_awaited=True)).warmed[101].by_tier == {"ram": 300}


def test_it_gives_way_to_a_request_within_one_chunk(llama: Engine) -> None:
    llama.warm(warm(tokens(1, 900)))
    llama.step()
    assert llama.stats().slab_tokens == 900

    llama.submit(ask(tokens(2, 20), max_tokens=5))

    assert llama.stats().slab_tokens == 0
    said_after = [len(llama.step()) for _ in range(2)]
    assert said_after == [1, 1]  # admitted, and its first token


def test_it_goes_on_from_where_it_was(llama: Engine) -> None:
    llama.warm(warm(tokens(1, 640)))
    for _ in range(4):
        llama.step()
    done = llama.stats().idle_tokens
    run(llama, ask(tokens(2, 20)))

    stats = llama.stats()
    assert 0 < done < 640
    assert (stats.idle_tokens, stats.idle_tasks) == (640, 1)


def test_the_conversation_that_paused_last_goes_first(llama: Engine) -> None:
    for i in range(3):
        llama.warm(warm(tokens(i, 64), i))
    llama.step()

    assert run(llama, ask(tokens(2, 64), 10)).cached[10, 0] == 63
    assert llama.stats().idle_tasks == 3


def test_what_is_awaited_goes_before_what_is_not(llama: Engine) -> None:
    llama.warm(warm(tokens(1, 32), 1, is_awaited=True))
    llama.warm(warm(tokens(2, 32), 2))

    assert [event.request for event in llama.step() if isinstance(event, Warmed)] == [1]


def test_the_queue_is_bounded_and_the_oldest_falls_out(llama: Engine) -> None:
    for i in range(MOST_TASKS + 5):
        llama.warm(warm(tokens(i, 40), i))
    run(llama)

    assert (llama.stats().idle_tasks, llama.stats().idle_dropped) == (MOST_TASKS, 5)


def test_who_waits_is_refused_rather_than_dropped(llama: Engine) -> None:
    outcome = run(llama, *[warm(tokens(i, 40), i, is_awaited=True) for i in range(MOST_TASKS + 2)])

    assert outcome.refused == [MOST_TASKS, MOST_TASKS + 1]
    assert len(outcome.warmed) == MOST_TASKS


def test_what_the_caller_has_asked_meanwhile_is_not_computed_ahead(llama: Engine) -> None:
    prompt = tokens(1, 200)
    llama.warm(warm(prompt[:150]))

    run(llama, ask(prompt))

    assert (llama.stats().idle_tokens, llama.stats().idle_dropped) == (0, 1)


def test_another_tenants_words_are_no_reason_to_drop_it(llama: Engine) -> None:
    prompt = tokens(1, 200)
    llama.warm(warm(prompt[:150], salt="one"))

    run(llama, ask(prompt, salt="two"))

    assert (llama.stats().idle_tokens, llama.stats().idle_dropped) == (150, 0)


def test_a_stale_conversation_is_let_go(checkpoints: Checkpoints) -> None:
    clock = Clock()
    llama = engine(checkpoints("llama"), parts={"clock": clock})
    llama.warm(warm(tokens(1, 100)))
    clock.now_s += STALE_S + 1

    run(llama)

    assert (llama.stats().idle_tokens, llama.stats().idle_dropped) == (0, 1)


def test_an_abort_ends_what_was_awaited(llama: Engine) -> None:
    llama.warm(warm(tokens(1, 640), is_awaited=True))
    llama.step()

    llama.abort(Abort(100))

    assert not llama.has_work
    assert_empty(llama)


@pytest.mark.parametrize("overrides", [{"kv_budget_bytes": 0}, {"idle_work": False}])
def test_where_it_cannot_be_done_who_waits_is_told(overrides: dict[str, Any], checkpoints: Checkpoints) -> None:
    plain = engine(checkpoints("llama"), **overrides)

    assert run(plain, warm(tokens(1, 100), is_awaited=True)).refused == [100]
    assert run(plain, warm(tokens(1, 100))).refused == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_in_exact_mode_a_follow_up_turn_hits_the_whole_history_and_no_bit_differs(
    family: str, dtype: str, checkpoints: Checkpoints
) -> None:
    path = checkpoints(family)
    exact: dict[str, Any] = {"dtype": dtype, "exact": True, "prefill_chunk": 64}
    first, warm_engine = tokens(1, 150), engine(path, **exact)
    answer = run(warm_engine, ask(first, max_tokens=180, ignore_eos=True)).tokens[1, 0]
    history = [*first, *answer]
    assert run(warm_engine, ask([*history, 7], 2, max_tokens=1)).cached[2, 0] == 128  # what was decoded is not kept

    warm_engine = engine(path, **exact)
    run(warm_engine, ask(first, max_tokens=180, ignore_eos=True))
    run(warm_engine, warm(history))
    follow_up = ask([*history, *tokens(2, 40)], 3, sampling=SPEAKING, ignore_eos=True)
    outcome = run(warm_engine, follow_up)

    assert outcome.cached[3, 0] == len(history) // 64 * 64 == 320
    assert said(outcome, 3) == said(run(engine(path, **exact), follow_up), 3)


def test_what_was_warmed_comes_back_after_a_restart(checkpoints: Checkpoints, tmp_path: Path) -> None:
    tiers: dict[str, Any] = {"kv_dir": str(tmp_path), "kv_disk_bytes": 64 << 20}
    before = engine(checkpoints("llama"), **tiers)
    run(before, warm(tokens(1, 300)))
    rest(before)
    before.close(5)
    after = engine(checkpoints("llama"), **tiers)

    outcome = run(after, warm(tokens(1, 300), is_awaited=True))

    assert outcome.warmed[100].by_tier == {"disk": 300}
    assert after.stats().idle_tokens == 0
    after.close(0)


def test_what_is_to_be_pinned_is_pinned_in_whole_blocks(llama: Engine) -> None:
    assert run(llama, warm(tokens(1, 100), pin=True, is_awaited=True)).warmed[100].pinned == 96
