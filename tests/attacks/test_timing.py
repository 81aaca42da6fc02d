"""What the attack by time makes of times, and whom it asks for what; how long anything takes is no matter here."""

import asyncio
import random

import pytest

from bench.attacks.timing import Guess, Seen, attack, guess_of, key, prompts, serving, told

FASTER = [(0.001 * n, 1 + 0.001 * n) for n in range(20)]  # what was asked, and its twin


@pytest.mark.parametrize(
    ("times", "auc", "paired"),
    [
        (FASTER, 1.0, 1.0),
        ([(twin, asked) for asked, twin in FASTER], 0.0, 1.0),  # as good as one: whoever guesses turns it round
        ([(1.0, 1.0)] * 20, 0.5, 0.5),
        ([(1.0, 2.0), (3.0, 4.0)], 0.75, 1.0),  # 1 before 2, 1 before 4, 3 before 4; not 3 before 2
        ([(1.0, 1.0), (1.0, 2.0)], 0.75, 0.75),  # two ties, each a half
        ([(1.0, 2.0), (2.0, 1.0)], 0.5, 0.5),
    ],
    ids=["all-faster", "all-slower", "all-ties", "three-of-four", "half-ties", "as-many"],
)
def test_the_area_is_the_share_of_all_twos_in_which_what_was_asked_is_faster(
    times: list[tuple[float, float]], auc: float, paired: float
) -> None:
    found = guess_of(times, draws=200)

    assert (found.auc, found.paired) == (auc, paired)
    assert found.auc_between[0] <= auc <= found.auc_between[1]


def counted(times: list[tuple[float, float]]) -> float:
    """The same area, two by two."""
    twos = [(asked, twin) for asked, _ in times for _, twin in times]
    return sum(1.0 if asked < twin else 0.5 if asked == twin else 0.0 for asked, twin in twos) / len(twos)


def test_the_area_of_random_times_is_that_of_counting_every_two_and_lies_in_its_interval() -> None:
    rng = random.Random(5)
    for shift in (0, 1, 3):
        times = [(float(rng.randrange(8)), float(rng.randrange(8) + shift)) for _ in range(60)]
        found = guess_of(times, draws=400)
        low, high = found.auc_between

        assert found.auc == pytest.approx(counted(times))
        assert low < found.auc < high
        assert 0 < high - low < 0.3  # as wide as sixty pairs leave it: 0.05 to each side or a little more, twice


def test_a_row_tells_the_larger_of_an_area_and_its_complement_and_turns_its_interval_too() -> None:
    slower = Seen("exact", [(twin, asked) for asked, twin in FASTER], [(1.0, 1.0)] * 20, ["full miss"] * 20)

    row = told("default", slower)

    assert "1.000 (1.000 to 1.000), pairs 1.000" in row
    assert "0.500 (0.500 to 0.500), pairs 0.500" in row
    assert row.endswith("| 20 full miss |")


@pytest.mark.parametrize("tier", ["exact", "semantic", "kv"])
def test_no_prompt_of_the_attack_is_another_and_a_wording_is_asked_where_meaning_is_meant(tier: str) -> None:
    made = prompts(tier, 40, 1)

    assert len({(one.system, one.asked) for one in made}) == 40
    assert all((one.asked == one.probe) == (tier == "exact") for one in made)
    assert made == prompts(tier, 40, 1)


def test_a_victim_warms_half_of_what_its_own_key_asks_and_nothing_of_what_another_asks() -> None:
    with serving("") as server:
        theirs, ours = key(server, "victim"), key(server, "attacker")
        other = asyncio.run(attack(server.url, "exact", [theirs], [ours], 3, 2, seed=1))
        own = asyncio.run(attack(server.url, "exact", [theirs], [theirs], 3, 2, seed=2))

    assert other.tiers == ["full miss"] * 3
    assert own.tiers == ["exact same_request"] * 3  # the control: the method would see it
    for seen in (other, own):
        assert len(seen.first) == len(seen.whole) == 3
        firsts, wholes = ([one for pair in times for one in pair] for times in (seen.first, seen.whole))
        assert all(0 < first <= whole for first, whole in zip(firsts, wholes, strict=True))
        assert isinstance(guess_of(seen.first, draws=10), Guess)
