import asyncio
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.routing.base import Load
from backends.routing.counters import Counters


def test_a_request_is_read_first_and_then_answered() -> None:
    counters = Counters()
    with counters.sent("a", 900) as sent:
        assert counters.load("a") == Load("a", running=1, prefill_tokens=900)
        sent.answering()
        sent.answering()
        assert counters.load("a") == Load("a", running=1, decodes=1)
    assert counters.load("a") == Load("a")


async def test_a_cancelled_request_is_counted_no_more() -> None:
    counters = Counters()

    async def send() -> None:
        with counters.sent("a", 10) as sent:
            await asyncio.sleep(0)
            sent.answering()
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(send()) for _ in range(3)]
    tasks[0].cancel()  # before it began
    await asyncio.sleep(0)
    tasks[1].cancel()  # before its first delta
    await asyncio.sleep(0.001)
    assert counters.load("a") == Load("a", running=1, decodes=1)
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert counters.load("a") == Load("a")


def test_an_error_ends_the_count() -> None:
    counters = Counters()
    with suppress(ValueError), counters.sent("a", 5):
        raise ValueError

    assert counters.loads(["a", "b"], {"b": 2}) == [Load("a"), Load("b", waiting=2)]


steps = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10_000), st.booleans()), max_size=20)


@given(steps)
def test_counts_are_never_negative_and_end_at_nothing(sendings: list[tuple[str, int, bool]]) -> None:
    counters = Counters()
    with ExitStack() as open_ones:
        for replica, tokens, answers in sendings:
            sent = open_ones.enter_context(counters.sent(replica, tokens))
            if answers:
                sent.answering()
        for load in counters.loads("abc"):
            mine = [(tokens, answers) for replica, tokens, answers in sendings if replica == load.replica]
            assert load.running == len(mine)
            assert load.decodes == sum(answers for _, answers in mine)
            assert load.prefill_tokens == sum(tokens for tokens, answers in mine if not answers)

    assert counters.loads("abc") == [Load("a"), Load("b"), Load("c")]


@pytest.mark.parametrize("tokens", [0, 1])
def test_an_unknown_replica_has_nothing_to_do(tokens: int) -> None:
    assert Counters().load(f"never-{tokens}") == Load(f"never-{tokens}")
