from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.routing.affinity import Affinity, Weights, within_bound
from backends.routing.base import Choice, Chooser, Load
from backends.routing.placement import draw, seed_of
from backends.routing.policies import POLICIES, make_chooser
from backends.routing.prompt import Prompt

NAMES = [f"replica-{number}" for number in range(8)]
IDLE = [Load(name) for name in NAMES]


def talk(number: int, num_chunks: int = 100, system: int = 0) -> Prompt:
    """A conversation of its own under a shared system prompt."""
    shared = tuple(range(1, system + 1))
    own = tuple(number * 10_000 + place for place in range(1, num_chunks - system + 1))
    chunks = shared + own
    return Prompt(chunks, num_chunks * 16, 16, home=chunks[15], opening=number)


def told(chooser: Chooser, prompt: Prompt, cached: int | None, loads: list[Load] = IDLE) -> Choice:
    """Choose, and report so many cached tokens."""
    choice = chooser.choose(prompt, loads)
    chooser.heard(choice, prompt, cached, prompt.num_tokens)
    return choice


@pytest.fixture
def affinity() -> Affinity:
    return Affinity(Random(1))


@pytest.mark.parametrize("policy", POLICIES)
@given(offered=st.lists(st.sampled_from(NAMES), min_size=1, unique=True), cached=st.none() | st.integers(0, 10_000))
def test_every_policy_chooses_among_those_that_are_offered(policy: str, offered: list[str], cached: int | None) -> None:
    chooser = make_chooser(policy, Random(1))
    for number in (1, 2, 1):
        choice = told(chooser, talk(number), cached, [Load(name) for name in offered])
        assert choice.replica in offered
        assert 0 <= choice.predicted_tokens <= 1600
    for name in NAMES:
        chooser.reset(name)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="least_load"):
        make_chooser("fastest")


def test_a_conversation_stays_where_it_is_known(affinity: Affinity) -> None:
    first = told(affinity, talk(1), 0)
    again = told(affinity, talk(1, 120), 1600)

    assert again.replica == first.replica
    assert again.predicted_tokens == 1600


def test_a_known_prefix_does_not_outweigh_a_queue(affinity: Affinity) -> None:
    first = told(affinity, talk(1), 0)
    loads = [Load(name, 9, prefill_tokens=50_000 if name == first.replica else 0) for name in NAMES]

    assert affinity.choose(talk(1, 120), loads).replica != first.replica


work = st.floats(0, 1e6)


@given(st.lists(st.tuples(work, st.integers(1, 10**6)), min_size=1), st.floats(1.0001, 3))
def test_nobody_is_given_more_than_the_bound(pairs: list[tuple[float, int]], bound: float) -> None:
    works, lefts = [work for work, _ in pairs], [left for _, left in pairs]
    allowed = within_bound(works, lefts, bound)
    ends = [work + left for work, left in pairs]

    assert allowed
    assert all(ends[place] <= bound * sum(ends) / len(ends) for place in allowed)
    assert ends.index(min(ends)) in allowed


@given(st.lists(st.integers(0, 100_000), min_size=8, max_size=8), st.integers(1, 50))
def test_the_chosen_replica_is_within_the_bound(queues: list[int], number: int) -> None:
    affinity = Affinity(Random(1))
    told(affinity, talk(number), 0)
    loads = [replace(load, prefill_tokens=queue) for load, queue in zip(IDLE, queues, strict=True)]
    choice = affinity.choose(talk(number, 110), loads)
    prompt_left = 110 * 16 - choice.predicted_tokens
    chosen = next(load.prefill_tokens for load in loads if load.replica == choice.replica) + prompt_left

    assert chosen <= Weights().bound * (sum(queues) + 8 * 110 * 16) / 8


def test_gateways_that_never_spoke_agree_about_what_nobody_has_seen() -> None:
    one, other = Affinity(Random(1)), Affinity(Random(2))
    agreed = [one.choose(talk(n), IDLE).replica == other.choose(talk(n), IDLE).replica for n in range(1, 50)]

    assert all(agreed)
    assert len({one.choose(talk(n), IDLE).replica for n in range(50, 150)}) == 8


def test_under_one_system_prompt_conversations_go_to_homes_of_their_own(affinity: Affinity) -> None:
    for name in NAMES:  # everybody has it
        affinity.shadow.hold(name, talk(0, 30, system=30))
    chosen = [affinity.choose(talk(number, 100, system=30), IDLE).replica for number in range(1, 80)]

    assert len(set(chosen)) == 8


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50), st.integers(1, 12))
def test_a_replica_that_joins_moves_keys_to_itself_alone(keys: list[int], count: int) -> None:
    seeds = [seed_of(f"replica-{number}") for number in range(count + 1)]
    for key in keys:
        before = max(seeds[:-1], key=lambda seed: draw(key, seed))
        after = max(seeds, key=lambda seed: draw(key, seed))
        assert after in (before, seeds[-1])


def test_the_homes_of_many_keys_are_spread_evenly() -> None:
    seeds = [seed_of(name) for name in NAMES]
    homes = [max(seeds, key=lambda seed: draw(key, seed)) for key in range(8000)]

    assert all(850 < homes.count(seed) < 1150 for seed in seeds)


def test_what_a_replica_turned_out_not_to_have_is_forgotten(affinity: Affinity) -> None:
    first = told(affinity, talk(1, system=30), 0)
    told(affinity, talk(2, system=30), 480)
    loads = [Load(first.replica)]
    told(affinity, talk(2, 120, system=30), 320, loads)  # it has lost most of it: so talk 1 is gone too

    assert affinity.choose(talk(1, 120, system=30), loads).predicted_tokens <= 30 * 16


def test_a_prefix_that_many_share_is_not_waited_for(affinity: Affinity) -> None:
    busy = told(affinity, talk(1, 220, system=200), 0).replica
    loads = [Load(name, prefill_tokens=4000 if name == busy else 0) for name in NAMES]
    first = affinity.choose(talk(2, 220, system=200), loads).replica
    for number in range(3, 13):  # ten conversations under it
        affinity.shadow.hold(busy, talk(number, 220, system=200))
    affinity.reset(first) if first != busy else None
    later = affinity.choose(talk(20, 220, system=200), loads).replica

    assert first == busy  # as long as it may be a conversation's own
    assert later != busy


def test_a_replica_that_never_has_what_it_should_is_believed_less(affinity: Affinity) -> None:
    loads = [Load("forgetful")]
    predicted = [told(affinity, talk(1), 0, loads).predicted_tokens for _ in range(20)]

    assert predicted[1] == 1600
    assert predicted[-1] < 400
    told_right = [told(affinity, talk(1), 1600, loads).predicted_tokens for _ in range(20)]
    assert told_right[-1] > 1000


def test_a_replica_that_says_nothing_is_believed(affinity: Affinity) -> None:
    loads = [Load("silent")]
    assert [told(affinity, talk(1), None, loads).predicted_tokens for _ in range(5)] == [0, 1600, 1600, 1600, 1600]


def test_an_engine_counts_tokens_differently_and_is_believed_all_the_same(affinity: Affinity) -> None:
    loads = [Load("terse")]
    for _ in range(20):  # 1,000 of its tokens are 1,600 of ours; it rounds down to blocks
        choice = affinity.choose(talk(1), loads)
        affinity.heard(choice, talk(1), 0 if choice.predicted_tokens == 0 else 992, 1000)

    assert affinity.belief("terse").confidence > 0.99


def test_the_horizon_is_drawn_to_what_an_engine_keeps() -> None:
    room, kept = 40, list[int]()  # an engine that keeps the last 40 of the talks it read
    affinity, random = Affinity(Random(1), Weights(horizon_tokens=1_000_000)), Random(2)
    for _ in range(4000):
        number = random.randint(1, 100)
        told(affinity, talk(number), 1600 if number in kept else 0, [Load("a")])
        kept = [*[other for other in kept if other != number][-room + 1 :], number]

    assert 0.5 < affinity.keeping.horizon / (room * 1600) < 1.5


def test_what_others_send_home_is_looked_for_at_home(affinity: Affinity) -> None:
    loads = [replace(load, prefill_tokens=3000 if load.replica == _home(talk(1)) else 0) for load in IDLE]
    assert affinity.choose(talk(1), loads).replica != _home(talk(1))
    for number in range(2, 60):  # conversations that another gateway began, at their homes
        told(affinity, replace(talk(number), is_later=True), 1500)

    assert affinity.elsewhere > 0.5
    assert affinity.choose(replace(talk(60), is_later=True), loads).replica == _home(talk(60))


def _home(prompt: Prompt) -> str:
    return max(NAMES, key=lambda name: draw(prompt.home, seed_of(name)))


def test_a_restarted_replica_holds_nothing(affinity: Affinity) -> None:
    first = told(affinity, talk(1), 0)
    affinity.reset(first.replica)

    assert affinity.choose(talk(1), IDLE).predicted_tokens == 0


def test_a_prompt_that_leaves_nothing_is_not_remembered(affinity: Affinity) -> None:
    told(affinity, replace(talk(1), is_kept=False), 0)

    assert affinity.choose(talk(1), IDLE).predicted_tokens == 0


def test_ties_are_broken_at_random_among_replicas_equally_far_from_home() -> None:
    chosen = set()
    for seed in range(60):
        affinity = Affinity(Random(seed), Weights(home_tokens=0))
        affinity.elsewhere = 0.0
        chosen.add(affinity.choose(talk(1), IDLE).replica)

    assert len(chosen) == 8
