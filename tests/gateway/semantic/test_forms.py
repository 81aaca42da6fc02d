"""Names of entries by their bare form, as bytes: what a dict of lists would say."""

import random
from hashlib import blake2b

import pytest

from gateway.semantic.forms import MOST_SAME, Forms, Known
from gateway.semantic.kept_forms import NO_FORM, SIZE


def digest(value: object) -> bytes:
    return blake2b(str(value).encode(), digest_size=SIZE).digest()


@pytest.mark.parametrize("seed", range(2))
def test_random_forms_agree_with_plain_dicts(seed: int) -> None:
    rng, forms = random.Random(seed), Forms()
    keys, names = dict[bytes, bytes](), dict[bytes, list[str]]()
    for step in range(2000):
        id = rng.choice(("e_", "a longer name than most: ")) + str(rng.randrange(200))
        name, key = digest(id), digest(rng.randrange(30)) if rng.random() < 0.8 else NO_FORM
        before = keys.pop(name, None)
        if before not in (None, NO_FORM):
            names[before].remove(id)
        if rng.random() < 0.7:
            forms.put(name, key, id)
            keys[name] = key
            names.setdefault(key, []).append(id)
            if key == NO_FORM:
                names[key].clear()
        else:
            assert forms.drop(name) == (before is not None)
        if step % 50 == 0:
            assert len(forms) == len(keys)
            assert all((digest(f"e_{n}") in forms) == (digest(f"e_{n}") in keys) for n in range(200))
            for number in range(30):
                assert forms.newest(digest(number), 8) == names.get(digest(number), [])[:-9:-1]
    pairs = [forms.pairs()[at : at + 2 * SIZE] for at in range(0, len(forms.pairs()), 2 * SIZE)]
    assert {pair[:SIZE]: pair[SIZE:] for pair in pairs} == keys
    asked = [*keys, digest("nobody")]
    assert list(Known(forms.pairs()).keys_of(asked)) == [*keys.values(), None]


def test_of_very_many_of_one_form_the_newest_are_found() -> None:
    forms = Forms()
    for number in range(3 * MOST_SAME):
        forms.put(digest(number), digest("form"), f"e_{number}")

    assert len(forms) == 3 * MOST_SAME
    assert forms.newest(digest("form"), 2) == [f"e_{3 * MOST_SAME - 1}", f"e_{3 * MOST_SAME - 2}"]
    assert len(forms.newest(digest("form"), 1000)) == MOST_SAME
    for number in range(3 * MOST_SAME):
        assert forms.drop(digest(number))
    assert (len(forms), forms.newest(digest("form"), 8), forms.pairs()) == (0, [], b"")


def test_nothing_is_known_of_nothing() -> None:
    assert list(Known().keys_of([digest(1)])) == [None]
