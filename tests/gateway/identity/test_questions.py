import re

import pytest
from hypothesis import given, settings
from hypothesis.strategies import DataObject, characters, data, from_regex

from gateway.identity.questions import _ALWAYS_VOLATILE, _DAYS, _MOMENTS, _tells, is_deictic, is_volatile

ASCII = characters(codec="ascii")


@pytest.mark.parametrize(
    "text",
    [
        "What is the weather in Oslo?",
        "Who won yesterday?",
        "What is the latest Python version?",
        "Who is currently the mayor of Berlin?",
        "What is the exchange rate of the yen?",
        "What should I wear tomorrow?",
        "what's the time",
        "I live in Bonn. Which shops are open now?",
        "今天星期几",
        "现在几点了？",
        "最新的安卓版本是多少",
        "黄金的价格是多少",
    ],
)
def test_what_is_true_for_a_moment_is_volatile(text: str) -> None:
    assert is_volatile(text)


@pytest.mark.parametrize(
    "text",
    [
        "I ordered a card last week. Where is it?",
        "Why was the wrong exchange rate applied to my withdrawal?",
        "My card was stolen this morning, what do I do now?",
        "What is the difference between alternating current and direct current?",
        "How do I spot fake news?",
        "Tim now has 5 apples. He eats 2. How many are left?",
        "价格200-300元的酒店有哪些",
        "What is the capital of Peru?",
        "",
    ],
)
def test_what_somebody_tells_of_himself_is_not(text: str) -> None:
    assert not is_volatile(text)


@pytest.mark.parametrize("text", ["And the second one?", "继续", "why?", "那上海呢？"])
def test_what_points_back_is_deictic(text: str) -> None:
    assert is_deictic(text)


def test_a_question_that_stands_alone_is_not_deictic() -> None:
    assert not is_deictic("What is the capital city of Peru?")


@pytest.mark.parametrize("pattern", [_ALWAYS_VOLATILE, _DAYS, _MOMENTS], ids=["always", "days", "moments"])
def test_no_word_of_the_clock_is_missed_by_the_first_look(pattern: re.Pattern[str]) -> None:
    @settings(max_examples=20, database=None, deadline=None)
    @given(data())
    def look(drawn: DataObject) -> None:
        text = drawn.draw(from_regex(pattern, alphabet=ASCII))
        assert pattern.search(text) is None or _tells(text)

    look()
