"""Where an answer is continued by another generation."""

import pytest

from backends.chat import Delta, collect
from backends.fake import say
from gateway.shared.flights.seam import Parted, Seam


def continued(told: list[Delta], anew: list[Delta]) -> list[Delta]:
    """What a caller gets who was told a part, and then a generation from its start."""
    seam = Seam()
    first = [delta for delta in told if seam.fit(delta)]
    seam.again()
    return [*first, *(new for delta in anew if (new := seam.fit(delta)))]


@pytest.mark.parametrize("num_told", range(4))
def test_an_answer_that_agrees_is_continued_without_a_seam(num_told: int) -> None:
    script = say("one two three")
    assert collect(continued(script[:num_told], script)) == collect(script)


def test_pieces_may_be_cut_elsewhere() -> None:
    coarse = [Delta(fields={"role": "assistant", "content": "one two thr"}), Delta(fields={"content": "ee"})]
    assert collect(continued(say("one two three")[:3], coarse)).text == "one two three"


def test_an_answer_may_break_off_again_while_it_is_repeated() -> None:
    script = say("one two three four")
    seam = Seam()
    told = [new for delta in script[:3] if (new := seam.fit(delta)) is not None]
    for num_again in (1, 2):
        seam.again()
        assert [seam.fit(delta) for delta in script[:num_again]] == [None] * num_again
    seam.again()
    told += [new for delta in script if (new := seam.fit(delta)) is not None]

    assert collect(told) == collect(script)


@pytest.mark.parametrize("other", ["one too", "one"])
def test_another_answer_is_refused(other: str) -> None:
    with pytest.raises(Parted):
        continued(say("one two three")[:3], say(other))


def test_what_is_more_than_text_is_not_continued() -> None:
    with pytest.raises(Parted):
        continued([Delta(fields={"tool_calls": [{"index": 0}]})], say("one"))


def test_choices_are_compared_one_by_one() -> None:
    told = [Delta(0, {"content": "a"}), Delta(1, {"content": "b"})]
    anew = [Delta(1, {"content": "bb"}), Delta(0, {"content": "aa"})]
    assert [choice.message["content"] for choice in collect(continued(told, anew)).choices] == ["aa", "bb"]
