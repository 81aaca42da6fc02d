"""How would-be hits spread."""

import pytest

from embeddings.control.types import Looked, Verdict
from gateway.semantic.tallies import CHANCES, COSINES, Known, Tally, chance_bin, cosine_bin, told

BINS = [(0.0, 0), (0.5, 1), (0.9, 6), (0.99, 12), (0.9999, CHANCES - 1), (1.0, CHANCES - 1), (-0.1, 0)]


@pytest.mark.parametrize(("probability", "at"), BINS)
def test_chances_have_a_scale_of_decades(probability: float, at: int) -> None:
    edges = told(None, Known())["chance_wrong"]["edges"]

    assert abs(chance_bin(probability) - at) <= (probability in (0.9, 0.99))  # an edge belongs to either side
    assert len(edges) == CHANCES + 1


@pytest.mark.parametrize(("cosine", "at"), [(0.3, 0), (0.5, 0), (0.75, 12), (1.0, COSINES - 1), (1.01, COSINES - 1)])
def test_cosines_have_even_bars(cosine: float, at: int) -> None:
    assert cosine_bin(cosine) == at


def verdict(probability: float | None, *, wording: str | None = None, reason: str = "served") -> Verdict:
    looked = (Looked("e_1", 0.96, None if probability is not None else reason, probability),)
    return Verdict("serve", None, probability, 0.98, reason, looked, wording)


def total(bars: dict[str, list[int]], key: str) -> int:
    return sum(bars[key])


def test_what_became_of_a_question_is_counted_once() -> None:
    tally = Tally()
    tally.note(verdict(0.995), "serve")
    tally.note(verdict(0.995), "shadow")
    histograms = told(tally, Known())

    assert [total(histograms["chance_wrong"], one) for one in ("serve", "shadow", "pass")] == [1, 1, 0]
    assert [total(histograms["cosine"], one) for one in ("serve", "shadow", "pass")] == [1, 1, 0]


def test_a_hit_by_bare_form_has_no_cosine() -> None:
    tally = Tally()
    tally.note(verdict(0.995, wording="e_1"), "serve")

    assert total(told(tally, Known())["cosine"], "serve") == 0


def test_a_refused_neighbour_is_told_by_its_guard() -> None:
    tally = Tally()
    tally.note(verdict(None, reason="guard_numbers"), "pass")

    assert told(tally, Known())["refused"] == {"guard_numbers": 1}


def test_a_correction_takes_back_what_was_counted() -> None:
    known = Known()
    known.note(0.99, is_right=True, corrects=False)
    known.note(0.99, is_right=False, corrects=True)

    assert (sum(known.right), sum(known.wrong)) == (0, 1)
