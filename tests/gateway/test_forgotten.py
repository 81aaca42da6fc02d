"""Whatever began before its tenant was erased, or the tag it wears, is not noted after it."""

import pytest

from gateway.answers.selection import Selection
from gateway.forgotten import Forgotten

ME, TAGGED = Selection(tenant="me"), Selection(tag="user-7")


@pytest.mark.parametrize(
    ("selection", "tenant", "tags", "is_meant"),
    [
        pytest.param(ME, "me", (), True, id="tenant"),
        pytest.param(ME, "you", (), False, id="another tenant"),
        pytest.param(TAGGED, "you", ("pets", "user-7"), True, id="tag"),
        pytest.param(TAGGED, "you", ("pets",), False, id="another tag"),
        pytest.param(Selection(tenant="me", tag="user-7"), "you", ("user-7",), False, id="tag of another tenant"),
    ],
)
def test_what_began_before_is_forgotten_where_it_is_meant_and_what_begins_after_is_not(
    selection: Selection, tenant: str, tags: tuple[str, ...], is_meant: bool
) -> None:
    forgotten = Forgotten()
    before = forgotten.now()
    assert not before.is_forgotten(tenant, tags)

    forgotten.note([selection])

    assert before.is_forgotten(tenant, tags) is is_meant
    assert not forgotten.now().is_forgotten(tenant, tags)


def test_what_began_before_more_than_are_remembered_is_not_noted() -> None:
    forgotten = Forgotten(most=2)
    long_ago = forgotten.now()
    forgotten.note([ME])
    lately = forgotten.now()
    forgotten.note([ME, ME])

    assert long_ago.is_forgotten("you")
    assert not lately.is_forgotten("you")
