"""Names that stand for other models: who gets which conversation."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from backends.routing.aliases import Alias, Target, chain, ranked

TARGETS = (Target("small", 3), Target("large", 1))


def target(targets: Sequence[Target], messages: list[dict[str, Any]]) -> str:
    return ranked(targets, messages)[0]


def conversation(number: int, *more: str) -> list[dict[str, Any]]:
    system = {"role": "system", "content": "the same for everybody"}
    return [system, *({"role": "user", "content": text} for text in (f"question {number}", *more))]


def test_conversations_are_shared_out_by_weight() -> None:
    counts = Counter(target(TARGETS, conversation(number)) for number in range(2000))

    assert 0.7 < counts["small"] / 2000 < 0.8


def test_every_turn_of_a_conversation_meets_the_same_target() -> None:
    for number in range(50):
        assert target(TARGETS, conversation(number)) == target(TARGETS, conversation(number, "and then?"))


def test_a_weight_that_grows_takes_conversations_and_gives_none_away() -> None:
    heavier = (Target("small", 3), Target("large", 2))
    moved = {(target(TARGETS, conversation(number)), target(heavier, conversation(number))) for number in range(500)}

    assert moved == {("small", "small"), ("large", "large"), ("small", "large")}


def test_a_target_without_weight_gets_nothing() -> None:
    assert {target((Target("a", 0), Target("b")), conversation(number)) for number in range(50)} == {"b"}


def test_the_fallback_stands_behind_the_target_and_names_nobody_twice() -> None:
    assert chain(Alias("x", (Target("a"),), ("b", "a", "c")), conversation(0)) == ("a", "b", "c")
    assert chain(Alias("gpt", fallback=("local",)), conversation(0)) == ("gpt", "local")


def test_without_a_fallback_the_other_targets_stand_behind_the_conversations_own() -> None:
    chains = {chain(Alias("x", (*TARGETS, Target("off", 0))), conversation(number)) for number in range(50)}

    assert chains == {("small", "large"), ("large", "small")}


def test_pictures_without_words_and_no_messages_at_all_have_a_target() -> None:
    parts = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]

    assert target(TARGETS, parts) in ("small", "large")
    assert target(TARGETS, []) in ("small", "large")
