"""What began before a removal hears of it, and of everything where nobody remembers so far back."""

from gateway.answers.removals import Removals
from gateway.answers.selection import Selection

A, B, C = (Selection(tenant=tenant) for tenant in "abc")


def test_what_was_removed_since_is_told_and_everything_where_more_was_than_is_remembered() -> None:
    removals = Removals(most=2)
    for selection in (A, B, C):
        removals.note(selection)

    assert [list(removals.since(began)) for began in range(4)] == [[Selection()], [C, B], [C], []]
