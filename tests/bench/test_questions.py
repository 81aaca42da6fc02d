"""What the benches ask by meaning can be found by meaning alone, and what was not found so is no time of a hit."""

from collections.abc import Callable

import pytest

from bench.memory import Near
from bench.questions import questions, reworded, reworded_anew
from embeddings.lexical import bare

STORED = questions(1_000)
FORMS = {bare(question) for question in STORED}


def test_every_question_has_a_bare_form_of_its_own() -> None:
    assert len(FORMS - {""}) == len(STORED)


@pytest.mark.parametrize("anew", [pytest.param(reworded, id="reworded"), pytest.param(reworded_anew, id="anew")])
def test_other_words_never_have_the_bare_form_of_a_stored_question(anew: Callable[[str], str]) -> None:
    asked = {anew(question) for question in STORED}

    assert len(asked) == len(STORED)
    assert FORMS.isdisjoint(map(bare, asked))


def test_the_time_of_hits_by_meaning_leaves_others_out_and_counts_them() -> None:
    row = Near(asked=5, taken_ms=[4.0, 2.0, 3.0], by_form=1).row("here")

    assert row.value == 3.0
    assert row.note == "3 hits by meaning of 5 distinct questions, 1 by bare form, 1 missed"


def test_where_nothing_was_a_hit_there_is_no_time() -> None:
    assert Near(asked=5).row("here").value is None
