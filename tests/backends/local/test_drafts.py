"""Guesses are copied from the right place, and are marked by what came."""

import random

from hypothesis import given
from hypothesis import strategies as st

from backends.local.engine.drafts import MOST, NEAR, REPEAT, Guesser, NearAnswer, Odds, Repeats

PROMPT = [900, 901, 902]
ANSWER = list(range(100, 200))


def guessed(near: list[int], said: list[int], count: int = 3) -> list[int]:
    """The first guesses out of `near` once `said` was said after the prompt."""
    followed, text = NearAnswer(near), [*PROMPT, *said]
    for stop in range(len(PROMPT), len(text)):
        followed.follow(text, stop)
    return list(followed.guess().token_ids[:count])


def held(guesser: Guesser, prompt: list[int], said: list[int]) -> int:
    """Forwards needed for `said` when the first eight guesses are checked each time."""
    forwards, stop = 0, 0
    while stop < len(said):
        guess = list(guesser.guess([*prompt, *said[:stop]], len(prompt)).token_ids[:8])
        right = 0
        while right < len(guess) and stop + right < len(said) - 1 and guess[right] == said[stop + right]:
            right += 1
        forwards, stop = forwards + 1, stop + right + 1
    return forwards


def test_a_near_answer_is_guessed_from_its_start_and_then_from_where_the_output_is() -> None:
    assert guessed(ANSWER, []) == [100, 101, 102]
    assert guessed(ANSWER, ANSWER[:40]) == [140, 141, 142]
    assert guessed(ANSWER, ANSWER) == []


def test_a_token_in_the_place_of_another_costs_one_guess() -> None:
    assert guessed(ANSWER, [*ANSWER[:10], 7]) == [111, 112, 113]
    assert guessed(ANSWER, [*ANSWER[:10], 7, 8]) == [112, 113, 114]


def test_what_was_put_in_is_stepped_over() -> None:
    assert guessed(ANSWER, [*ANSWER[:10], 7, 110]) == [111, 112, 113]
    assert guessed(ANSWER, [*ANSWER[:10], 7, 8, 9, 5, 6, 110, 111]) == [112, 113, 114]


def test_what_was_left_out_is_skipped() -> None:
    assert guessed(ANSWER, [*ANSWER[:10], 112]) == [113, 114, 115]
    assert guessed(ANSWER, [*ANSWER[:10], 150, 151, 152]) == [153, 154, 155]


def test_a_part_that_comes_earlier_than_it_should_is_found_by_three_tokens() -> None:
    swapped = [*ANSWER[:10], *ANSWER[50:60], 110]

    assert guessed(ANSWER, [*swapped, 111]) != [112, 113, 114]
    assert guessed(ANSWER, [*swapped, 111, 112]) == [113, 114, 115]


def test_a_phrase_that_comes_twice_is_taken_where_the_output_has_got_to() -> None:
    near = [1, 2, 3, 10, 11, 12, 1, 2, 3, 20, 21, 22]

    assert guessed(near, [1, 2, 3, 10, 11, 12, 99, 2, 3]) == [20, 21, 22]


def test_an_edited_answer_takes_few_forwards() -> None:
    rng = random.Random(0)
    said = [rng.randrange(3000) for _ in range(300)]
    for edits in range(0, 60, 10):
        near = list(said)
        for _ in range(edits):
            place = rng.randrange(len(near))
            near[place : place + rng.randrange(3)] = [rng.randrange(3000) for _ in range(rng.randrange(3))]

        assert held(Guesser(near), PROMPT, said) <= 300 / 9 + 2.5 * edits + 1


def test_what_followed_the_longest_match_is_guessed_the_latest_of_equals() -> None:
    repeats = Repeats()

    assert repeats.guess([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3]).token_ids[:3] == [4, 9, 2]
    assert Repeats().guess([2, 3, 4, 9, 2, 3, 5, 8, 2, 3]).token_ids[:3] == [5, 8, 2]
    assert not Repeats().guess([1, 2, 3, 4]).token_ids


def test_a_text_that_goes_round_is_guessed_to_go_on_going_round() -> None:
    guess = Repeats().guess([9, 1, 2, 3, 1, 2, 3, 1, 2])

    assert list(guess.token_ids) == ([3, 1, 2] * MOST)[:MOST]


@given(st.lists(st.integers(0, 4), max_size=120), st.data())
def test_following_a_text_guesses_like_reading_it_anew(text: list[int], data: st.DataObject) -> None:
    repeats = Repeats()
    for stop in sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8))):
        repeats.guess(text[:stop])

    assert repeats.guess(text) == Repeats().guess(text)


@given(st.lists(st.integers(0, 4), max_size=60), st.lists(st.integers(0, 4), max_size=60), st.integers(0, 60))
def test_guesses_are_copied_and_never_more_than_fit(near: list[int], text: list[int], num_prompt: int) -> None:
    guesser, num_prompt = Guesser(near), min(num_prompt, len(text))
    for stop in range(num_prompt, len(text) + 1):
        guess = guesser.guess(text[:stop], num_prompt)

        assert len(guess.token_ids) <= MOST
        assert set(guess.token_ids) <= {*near, *text[:stop]}
        chances = guesser.chances(guess, 5, 0.02)
        assert len(chances) <= 5
        assert chances == sorted(chances, reverse=True)


def test_a_near_answer_that_is_always_wrong_gives_way_to_repeats() -> None:
    guesser = Guesser([7] * 200)
    text = [*PROMPT, *[1, 2, 3, 4, 5] * 20]
    sources = [guesser.guess(text[:stop], len(PROMPT)).source for stop in range(len(PROMPT), len(text))]

    assert sources[0] == NEAR
    assert set(sources[-20:]) == {REPEAT}


def test_guesses_that_nobody_checked_are_marked_too() -> None:
    pooled = Odds()
    guesser = Guesser([7] * 200, pooled)
    before = pooled.chance(NEAR)
    for stop in range(len(ANSWER)):
        guesser.guess([*PROMPT, *ANSWER[:stop]], len(PROMPT))

    assert pooled.chance(NEAR) < before / 3


def test_old_marks_are_forgotten() -> None:
    odds = Odds(forget=1 / 32)
    for came_true in (*[False] * 300, *[True] * 100):
        odds.mark(NEAR, came_true)

    assert odds.chance(NEAR) > 0.85


def test_after_a_rest_the_place_is_found_by_what_was_said_last() -> None:
    guesser = Guesser(ANSWER)
    guesser.guess(PROMPT, len(PROMPT))

    guess = guesser.guess([*PROMPT, *range(500, 540), *ANSWER[60:64]], len(PROMPT))

    assert list(guess.token_ids[:3]) == [164, 165, 166]
