"""Wrong-hit accounting over a labelled stream."""

from bench.labels import Judged, judge


def made(entry: str, class_id: str, tier: str = "full") -> Judged:
    return Judged(f"question about {class_id}", class_id, tier, "miss", entry)


def hit(entry: str, class_id: str, tier: str = "semantic") -> Judged:
    return Judged(f"other words about {class_id}", class_id, tier, "same_question", entry, 0.97)


def test_a_hit_on_an_entry_of_the_same_class_is_true() -> None:
    found = judge([made("e1", "a"), hit("e1", "a")])

    assert (found.true_hits.hits, found.true_hits.of) == (1, 1)
    assert (found.wrong_of_semantic.hits, found.wrong_of_semantic.of) == (0, 1)
    assert (found.wrong_of_prompts.hits, found.wrong_of_prompts.of) == (0, 2)


def test_a_hit_on_an_entry_of_another_class_is_wrong_and_named() -> None:
    found = judge([made("e1", "a"), made("e2", "b"), hit("e1", "b")])

    assert (found.wrong_of_semantic.hits, found.wrong_of_semantic.of) == (1, 1)
    assert (found.true_hits.hits, found.true_hits.of) == (0, 1)
    assert found.wrong[0].answered_by == "question about a"
    assert (found.wrong[0].class_id, found.wrong[0].answered_class) == ("b", "a")


def test_a_wrong_hit_makes_its_class_seen() -> None:
    found = judge([made("e1", "a"), hit("e1", "b"), made("e2", "b")])

    assert found.true_hits.of == 1


def test_a_miss_on_a_seen_class_counts_against_the_true_hit_rate() -> None:
    found = judge([made("e1", "a"), made("e2", "a"), hit("e2", "a")])

    assert (found.true_hits.hits, found.true_hits.of) == (1, 2)


def test_exact_and_semantic_hits_are_told_apart() -> None:
    found = judge([made("e1", "a"), hit("e1", "a", "exact"), hit("e1", "a"), hit("e1", "b", "exact")])

    assert (found.true_hits.hits, found.true_semantic.hits) == (2, 1)
    assert (found.wrong_exact.hits, found.wrong_exact.of) == (1, 2)
    assert found.wrong_of_prompts.hits == 0


def test_a_hit_on_an_entry_from_before_the_run_is_not_judged() -> None:
    found = judge([hit("unknown", "a"), Judged("p", "a", "semantic", "same_question", None)])

    assert found.unjudged == 2
    assert found.wrong_of_semantic.of == 0


def test_an_insert_makes_its_class_seen_and_is_no_prompt() -> None:
    insert = Judged("p", "a", "full", "no_cache", "e1", is_insert=True)
    found = judge([insert, hit("e1", "a"), hit("e1", "b")])

    assert (found.true_hits.hits, found.true_hits.of) == (1, 1)
    assert (found.wrong_of_prompts.hits, found.wrong_of_prompts.of) == (1, 2)


def test_who_makes_an_entry_anew_is_its_maker_from_then_on() -> None:
    found = judge([made("e1", "a"), made("e1", "b"), hit("e1", "a")])

    assert found.wrong[0].answered_class == "b"


def test_a_hit_that_stands_before_its_maker_is_judged_all_the_same() -> None:
    found = judge([hit("e1", "a"), made("e1", "a")])

    assert (found.unjudged, found.wrong) == (0, ())


def test_the_entry_of_a_resumed_generation_has_a_maker_too() -> None:
    found = judge([made("e1", "a", "kv"), hit("e1", "a")])

    assert found.true_hits.hits == 1


def test_the_report_is_plain_json() -> None:
    found = judge([made("e1", "a"), hit("e1", "b")]).as_json()

    assert found["wrong_of_semantic"]["rate"] == 1.0
    assert found["wrong"][0]["similarity"] == 0.97
