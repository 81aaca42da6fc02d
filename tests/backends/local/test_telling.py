"""Tokens are told in turns: soon enough for who reads them, and never all at a time."""

from itertools import pairwise

from backends.local.telling import LEAST_S, MOST_S, Telling, in_runs
from backends.local.wire import Admitted, Event, Token, Tokens

STEP_S = 0.0015


def played(num_requests: int, step_s: float, steps: int) -> list[tuple[float, list[Event]]]:
    """What is told at the end of each step, when every step makes a token of each request."""
    telling, told = Telling(), list[tuple[float, list[Event]]]()
    for step in range(1, steps + 1):
        telling.add(Token(request, 0, step) for request in range(num_requests))
        if due := telling.due(step * step_s):
            told.append((step * step_s, due))
    return told


def times_of(told: list[tuple[float, list[Event]]], request: int) -> list[float]:
    return [at for at, events in told if any(event.request == request for event in events)]


def test_the_first_token_of_every_request_is_told_at_once() -> None:
    at, first = played(8, STEP_S, 10)[0]

    assert at == STEP_S
    assert [event.request for event in first] == list(range(8))


def test_a_lone_answer_of_a_fast_model_is_told_every_four_milliseconds() -> None:
    gaps = [after - before for before, after in pairwise(times_of(played(1, STEP_S, 200), 0))]

    assert LEAST_S <= min(gaps) <= max(gaps) < LEAST_S + STEP_S


def test_fast_answers_are_told_in_turns_and_none_waits_long() -> None:
    told = played(8, STEP_S, 400)[1:]  # after the first tokens

    assert max(len(events) for _, events in told) <= 2
    for request in range(8):
        assert max(after - before for before, after in pairwise(times_of(told, request))) <= MOST_S + STEP_S


def test_more_answers_than_turns_are_told_as_soon_as_they_have_waited_the_most() -> None:
    told = played(32, STEP_S, 400)

    for request in range(32):
        assert max(after - before for before, after in pairwise(times_of(told, request))) <= MOST_S + STEP_S


def test_every_token_of_a_slow_model_is_told_as_it_comes() -> None:
    assert [len(events) for _, events in played(8, 0.02, 50)] == [8] * 50


def test_no_token_is_lost_or_told_out_of_order() -> None:
    told = [event for _, events in played(3, STEP_S, 100) for event in events if event.request == 1]

    token_ids = [token_id for event in told if isinstance(event, Tokens) for token_id in event.token_ids]
    assert token_ids == list(range(1, len(token_ids) + 1))
    assert len(token_ids) > 90


def test_the_end_of_an_answer_is_told_at_once_behind_its_other_tokens_and_before_those_of_others() -> None:
    telling = Telling()
    telling.add([Token(1, 0, 5), Token(2, 0, 5)])
    telling.due(1.0)

    telling.add([Token(1, 0, 6), Token(2, 0, 6), Token(1, 0, 7, "length")])

    assert telling.is_urgent
    assert telling.due(1.001) == [Tokens(1, 0, [6]), Token(1, 0, 7, "length")]
    assert telling.due(1.002, is_last=True) == [Tokens(2, 0, [6])]


def test_a_first_token_right_behind_an_admission_does_not_wait() -> None:
    telling = Telling()
    telling.add([Admitted(1, 0, 0)])
    telling.due(1.0)
    telling.add([Token(1, 0, 5)])

    assert telling.due(1.001) == [Tokens(1, 0, [5])]


def test_tokens_of_a_choice_are_one_event_and_what_else_is_told_keeps_its_place() -> None:
    admitted = [Admitted(1, index, 0) for index in range(2)]
    spelled, end = Token(1, 0, 4, logprob=-0.5), Token(1, 1, 6, "stop")
    plain = [Token(1, index, token_id) for token_id in (1, 2) for index in range(2)]

    told = in_runs([admitted[0], plain[0], admitted[1], *plain[1:], spelled, Token(1, 0, 5), end])

    assert told == [
        admitted[0],
        Tokens(1, 0, [1]),
        admitted[1],
        Tokens(1, 1, [1, 2]),
        Tokens(1, 0, [2]),
        spelled,
        Tokens(1, 0, [5]),
        end,
    ]
