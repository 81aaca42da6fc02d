"""Lanes: what is served, what is learned."""

from dataclasses import replace

from embeddings.control import Label, Lane, Neighbour, label_of
from embeddings.control.prior import CAUTIOUS, PRIORS, prior_of
from embeddings.control.support import FEATURES
from embeddings.control.types import OUTDONE
from tests.embeddings.control.texts import Even, near, reading, taught

ASKED = reading("how do I wash my bike then")


def free(a: str, b: str) -> str | None:  # guards have tests of their own
    return None


def same_numbers(a: str, b: str) -> str | None:
    return "numbers"


def lane(*, target: float = 0.01, shadow_rate: float = 0.05) -> Lane:
    return Lane(Even(), seed=b"s", refuse=free, target=target, shadow_rate=shadow_rate)


def test_a_new_lane_serves_nothing_that_is_merely_near() -> None:
    assert lane().decide(ASKED, [near("how do I wash my bike", 0.9)]).action == "pass"


def test_a_new_lane_serves_what_is_short_all_but_the_same_and_judged_well() -> None:
    asked, stored = "how do I wash my bike then", "how do I wash my bike"
    new = Lane(Even(0.95), seed=b"s", refuse=free, shadow_rate=0.0)
    long = " because it has been out in the rain" * 5

    assert new.decide(reading(asked), [near(stored, 0.97)]).action == "serve"
    assert new.decide(reading(asked), [near(stored, 0.93)]).action == "pass"
    assert new.decide(reading(asked + long), [near(stored + long, 0.97)]).action == "pass"
    doubtful = Lane(Even(0.8), seed=b"s", refuse=free, shadow_rate=0.0)
    assert doubtful.decide(reading(asked), [near(stored, 0.97)]).action == "pass"


def test_what_is_all_but_the_same_is_believed_until_one_was_wrong() -> None:
    told = Lane(Even(0.95), seed=b"s", refuse=free, shadow_rate=1.0)
    neighbour = near("how do I wash my bike", 0.97)
    verdict = told.decide(ASKED, [neighbour])
    assert verdict.action == "shadow"
    label = label_of(verdict, ASKED.text, neighbour, is_right=False, source="shadow")
    assert label is not None
    told.learn(label)

    assert told.decide(reading("how do I sell my coat now"), [near("how do I sell my coat", 0.97)]).action == "pass"


def test_clean_labels_open_a_lane() -> None:
    learned = lane()
    taught(learned, 400)

    assert learned.decide(ASKED, [near("how do I wash my bike")]).action in ("serve", "shadow")


def test_a_lane_whose_near_ones_are_wrong_stays_shut() -> None:
    learned = lane()
    taught(learned, 400, wrong_every=4)

    assert learned.decide(ASKED, [near("how do I wash my bike")]).action == "pass"


def test_a_looser_target_opens_sooner() -> None:
    strict, loose = lane(target=0.005), lane(target=0.05)
    taught(strict, 300)
    taught(loose, 300)

    assert loose.report().served > strict.report().served


def test_a_share_of_would_be_hits_is_generated_all_the_same() -> None:
    learned = lane(shadow_rate=0.25)
    taught(learned, 1000)
    report = learned.report()

    assert 0.15 < report.shadowed / (report.shadowed + report.served) < 0.35


def test_what_only_looks_is_never_served_and_books_nothing() -> None:
    learned = lane()
    taught(learned, 400)
    before = learned.threshold
    verdict = learned.decide(ASKED, [near("how do I wash my bike")], is_shadow_only=True)

    assert verdict.action == "shadow"
    assert learned.threshold == before


def test_the_same_labels_in_the_same_order_make_the_same_lane() -> None:
    first = lane(shadow_rate=1.0)  # nothing is served: labels are all there is
    labels = taught(first, 200, wrong_every=50)
    second = lane(shadow_rate=1.0)
    for label in labels:
        second.learn(label)

    neighbours = [near("how do I wash my bike"), near("how do I sell my bike", 0.9)]
    assert first.decide(ASKED, neighbours) == second.decide(ASKED, neighbours)


def test_a_retired_entry_gives_way_to_the_next() -> None:
    learned = lane()
    verdict = learned.decide(ASKED, [near("how do I wash my bike", bad=2), near("how do I clean my bike", 0.9)])

    assert [one.refusal for one in verdict.looked] == ["retired", None]
    assert verdict.neighbour is not None
    assert verdict.neighbour.id == "how do I clean my bike"


def test_what_a_guard_refuses_is_passed_by_name() -> None:
    guarded = Lane(Even(), refuse=same_numbers)

    assert guarded.decide(ASKED, [near("how do I wash my bike")]).reason == "guard_numbers"


def test_a_caller_may_tighten() -> None:
    learned = lane()
    taught(learned, 400)
    verdict = learned.decide(ASKED, [near("how do I wash my bike", 0.9)], min_similarity=0.95)

    assert (verdict.action, verdict.reason) == ("pass", "below_min_similarity")


def test_neighbours_of_one_answer_support_each_other() -> None:
    apart: list[Neighbour] = [near("a b c", 0.8), near("d e f", 0.79)]
    together = [near("a b c", 0.8, answer=b"1"), near("d e f", 0.79, answer=b"1")]
    alone, supported = (lane().decide(ASKED, some).probability for some in (apart, together))

    assert alone is not None
    assert supported is not None
    assert supported > alone


def test_a_positive_label_makes_two_questions_one_family() -> None:
    learned = lane(shadow_rate=1.0)
    neighbours = [near("a b c", 0.8), near("d e f", 0.79)]
    asked = reading("d e f")
    verdict = learned.decide(asked, neighbours)
    before = verdict.looked[0].features
    label = label_of(verdict, asked.text, neighbours[0], is_right=True, source="judge")
    assert label is not None
    learned.learn(label)
    after = learned.decide(ASKED, neighbours).looked[0].features

    assert before[3] == 0.0  # supporters
    assert after[3] > 0.0


def test_a_wrong_hit_told_by_a_user_makes_the_lane_stricter() -> None:
    learned = lane()
    taught(learned, 350)
    neighbour = near("how do I wash my bike")
    verdict = learned.decide(ASKED, [neighbour])
    before = learned.threshold
    label = label_of(verdict, ASKED.text, neighbour, is_right=False, source="feedback")
    assert label is not None
    learned.learn(label)

    assert learned.threshold > before


def test_the_live_figure_keeps_a_wrong_hit_that_made_the_lane_strict() -> None:
    learned = lane(shadow_rate=1.0)  # hits are kept back
    taught(learned, 400)
    known = learned.report().known
    assert known > 0
    label = Label("a", "b", "c", False, "shadow", 0.99, (), True, was_hit=True)
    learned.learn(label)
    learned.learn(replace(label, was_hit=False, probability=0.4))  # was no hit

    report = learned.report()
    assert (report.known, report.wrong) == (known + 1, 1)
    assert report.wrong_rate == 1 / (known + 1) < report.wrong_rate_upper
    learned.learn(replace(label, is_right=True, source="feedback", corrects=True))
    assert (learned.report().known, learned.report().wrong) == (known + 1, 0)


def test_no_neighbour_is_no_verdict() -> None:
    assert lane().decide(ASKED, []).reason == "no_candidates"


def test_what_has_a_rival_close_behind_is_not_strict() -> None:
    one = Lane(Even(0.95), seed=b"s", refuse=free, shadow_rate=0.0)
    stored, rival = near("how do I wash my bike", 0.97), near("how do I wash my boat", 0.9)

    assert one.decide(ASKED, [stored, rival]).action == "pass"
    assert one.decide(ASKED, [stored, near("how do I wash my boat", 0.85)]).action == "serve"
    assert one.decide(ASKED, [near("how do I wash my bike", 0.95), near("how do I wash my boat", 0.8)]).action == "pass"


def test_a_family_whose_answers_were_wrong_is_believed_less() -> None:
    learned = lane(shadow_rate=1.0)
    stored = near("how do I wash my bike", 0.9)
    verdict = learned.decide(ASKED, [stored])
    before = verdict.looked[0].features
    label = label_of(verdict, ASKED.text, stored, is_right=False, source="shadow")
    assert label is not None
    for _ in range(3):
        learned.learn(replace(label, probability=0.9))
    record = FEATURES.index("record")
    after = learned.decide(ASKED, [stored]).looked[0].features

    assert before[record] == 0.0
    assert after[record] < -1.0


def test_an_embedder_that_nobody_fitted_begins_cautiously() -> None:
    fitted, cautious = Lane(Even(), refuse=free, prior=next(iter(PRIORS.values()))), Lane(Even(), refuse=free)
    some = [near(f"how do I wash my {thing}", 0.9, answer=b"soap") for thing in ("bike", "coat", "boat", "lamp")]
    believed = [one.decide(ASKED, some).probability for one in (cautious, fitted)]

    assert prior_of("") is CAUTIOUS
    assert believed[0] is not None
    assert believed[1] is not None
    assert believed[0] < 0.95 < believed[1]


def test_a_word_taken_back_leaves_no_trace_in_a_family_s_record() -> None:
    learned = lane(shadow_rate=1.0)
    stored = near("how do I wash my bike", 0.9)
    label = label_of(learned.decide(ASKED, [stored]), ASKED.text, stored, is_right=False, source="feedback")
    assert label is not None
    learned.learn(replace(label, probability=0.9))
    learned.learn(replace(label, probability=0.9, is_right=True, corrects=True))
    never = lane(shadow_rate=1.0)
    never.learn(replace(label, probability=0.9, is_right=True))
    record = FEATURES.index("record")
    after = [one.decide(ASKED, [stored]).looked[0].features[record] for one in (learned, never)]

    assert after[0] == after[1]


def test_long_texts_are_doubted_until_enough_of_what_looked_sure_was_right() -> None:
    one = Lane(Even(0.99), seed=b"s", refuse=free, shadow_rate=0.0, target=0.05, prior=next(iter(PRIORS.values())))
    long = " because it has been out in the rain" * 5
    asked, stored = reading(f"how do I wash my bike then{long}"), near(f"how do I wash my bike{long}", 0.99)
    first = one.decide(asked, [stored])
    label = label_of(first, asked.text, stored, is_right=True, source="shadow")
    assert first.action == "pass"
    assert label is not None
    for n in range(200):
        one.learn(replace(label, question=f"{label.question} {n}"))

    assert one.decide(asked, [stored]).action == "serve"


def test_a_brief_lane_decides_what_a_thorough_one_does_and_asks_fewer_guards() -> None:
    asked: list[str] = []

    def picky(a: str, b: str) -> str | None:
        asked.append(b)
        return "names" if "coat" in b else None

    brief, whole = (
        Lane(Even(0.95), seed=b"s", refuse=picky, shadow_rate=0.0, is_brief=is_brief) for is_brief in (True, False)
    )
    stored = [
        near("how do I wash my coat", 0.99, answer=b"soap"),
        near("how do I wash my bike", 0.98, answer=b"soap"),
        near("how do I mend it", 0.82),
    ]
    found = brief.decide(ASKED, stored)
    num_asked, everything = len(asked), whole.decide(ASKED, stored)

    assert (found.action, found.chosen, found.probability) == ("serve", stored[1].id, everything.probability)
    assert (everything.action, everything.chosen) == (found.action, found.chosen)
    assert [one.refusal for one in found.looked] == ["guard_names", None, OUTDONE]
    assert [one.refusal for one in everything.looked] == ["guard_names", None, None]
    assert num_asked == 2 < len(asked) - num_asked
