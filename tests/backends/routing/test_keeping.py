from random import Random

from hypothesis import given
from hypothesis import strategies as st

from backends.routing.keeping import LEAST, Keeping

reports = st.lists(st.tuples(st.integers(0, 10**8), st.booleans()), max_size=60)


@given(reports, st.integers(1000, 10**7))
def test_what_is_older_is_never_likelier_to_be_there(seen: list[tuple[int, bool]], horizon: int) -> None:
    keeping = Keeping(horizon)
    for age, was_there in seen:
        keeping.saw(age, was_there, 0.1)
    chances = [keeping.chance(2**power) for power in range(30)]

    assert chances == sorted(chances, reverse=True)
    assert all(LEAST <= chance <= 1 for chance in chances)


def test_an_engine_under_pressure_has_a_flat_chance() -> None:
    keeping, random = Keeping(1_000_000), Random(1)
    for _ in range(1000):
        keeping.saw(random.randrange(500_000), random.random() < 0.4, 0.1)

    assert all(0.25 < keeping.chance(age) < 0.6 for age in (50_000, 100_000, 400_000))


def test_what_was_there_after_all_is_believed_again() -> None:
    keeping = Keeping(10_000)
    for _ in range(40):
        keeping.saw(200_000, True, 0.1)

    assert keeping.chance(200_000) > 0.9
    assert keeping.chance(400_000) == LEAST
