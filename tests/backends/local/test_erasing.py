"""What an engine keeps of one owner is erased; who is being answered at that moment is answered to the end."""

from collections.abc import Callable
from pathlib import Path

from backends.local.erasures import Erasures
from backends.local.wire import Erase, Erased
from tests.backends.local.engines import ask, engine, run, tokens

Checkpoints = Callable[[str], Path]


def test_one_owners_prefixes_go_in_the_middle_of_its_answer_and_anothers_stay(checkpoints: Checkpoints) -> None:
    one = engine(checkpoints("llama"))
    mine, yours = tokens(1, 200), tokens(2, 200)
    alone = run(one, ask([*mine, 5], 1, owner="me", salt="me"))
    run(one, ask([*yours, 5], 2, owner="you", salt="you"))
    erasures = Erasures(one)

    one.submit(ask([*mine, 5], 3, owner="me", salt="me"))
    said = list(one.step())
    erasures.add(Erase(9, "me"))
    while one.has_work:
        said += one.step()

    assert [event.token_id for event in said if hasattr(event, "token_id")] == alone.tokens[1, 0]
    assert [(told.request, told.blocks > 3) for told in erasures.done(0.0)] == [(9, True)]
    assert run(one, ask([*mine, 5], 4, owner="me", salt="me")).cached[4, 0] == 0
    assert run(one, ask([*yours, 5], 5, owner="you", salt="you")).cached[5, 0] > 150


def test_an_erasure_is_told_once(checkpoints: Checkpoints) -> None:
    erasures = Erasures(engine(checkpoints("llama")))
    erasures.add(Erase(1, "nobody"))

    assert erasures.pause(None) is not None
    assert erasures.done(0.0) == [Erased(1, 0)]
    assert erasures.done(0.0) == []
    assert erasures.pause(None) is None
