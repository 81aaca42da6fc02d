"""What is remembered of how often something was asked for."""

import random
from collections import Counter
from dataclasses import replace
from hashlib import blake2b

from gateway.answers.base import Entry
from gateway.answers.memory import MemoryAnswers
from gateway.answers.popularity import MIN_WINDOW, Popularity
from tests.contracts.answers_contract import entry_of
from tests.gateway.answers.test_memory import SIZE


def test_a_count_is_never_too_low_and_seldom_too_high() -> None:
    rng, truth, popularity = random.Random(1), Counter[bytes](), Popularity(0)
    keys = [rng.randbytes(32) for _ in range(1000)]
    too_high = 0
    for _ in range(MIN_WINDOW - 1):
        key = rng.choice(keys)
        truth[key] += 1
        known = popularity.add(key)
        assert known >= truth[key]
        too_high += known > truth[key]

    assert too_high < 0.01 * MIN_WINDOW


def test_what_was_asked_long_ago_counts_for_less() -> None:
    rng, popularity, key = random.Random(2), Popularity(0), bytes(range(32))
    assert popularity.add(key, 40) == 40
    for _ in range(MIN_WINDOW):
        popularity.add(rng.randbytes(32))

    assert 20 <= popularity.add(key) <= 23


def hashed(name: str) -> Entry:
    """An entry under a digest as spread as real ones are."""
    return replace(entry_of(name), exact=blake2b(name.encode(), digest_size=32).digest())


def asked(memory: MemoryAnswers, name: str) -> bool:
    """Ask, and keep what was not there; whether it was."""
    entry = hashed(name)
    is_hit = memory.get_now(entry.scope, entry.exact) is not None
    if not is_hit:
        memory.put_now(entry)
    return is_hit


def test_what_comes_back_is_known_although_it_was_let_go() -> None:
    memory = MemoryAnswers(10 * SIZE)
    found = []
    for turn in range(3):
        found.append(asked(memory, "p"))
        for number in range(20):
            asked(memory, f"{turn} {number}")

    assert found == [False, False, True]


def test_a_look_at_an_entry_is_no_use_of_it() -> None:
    memory = MemoryAnswers(10 * SIZE)
    for _ in range(5):
        memory.put_now(hashed("neighbour"), is_use=False)
        memory.remove_now(hashed("neighbour").scope, "e_neighbour")
    asked(memory, "neighbour")
    for number in range(20):
        asked(memory, f"{number}")

    assert not asked(memory, "neighbour")  # it was on probation


def test_a_scan_leaves_what_is_asked_for() -> None:
    memory = MemoryAnswers(40 * SIZE)
    wanted = [f"w{number}" for number in range(20)]
    for _ in range(2):
        for name in wanted:
            asked(memory, name)
    for number in range(100):
        asked(memory, f"scan{number}")

    assert all(asked(memory, name) for name in wanted)


def test_what_is_put_as_very_dear_does_not_push_out_what_others_ask_for() -> None:
    memory = MemoryAnswers(40 * SIZE)
    wanted = [replace(hashed(f"w{number}"), elapsed_s=3.0) for number in range(20)]
    for _ in range(6):
        for entry in wanted:
            if memory.get_now(entry.scope, entry.exact) is None:
                memory.put_now(entry)
    for number in range(120):
        memory.put_now(replace(hashed(f"junk{number}"), tenant="another", elapsed_s=86_400.0))

    kept = sum(memory.get_now(entry.scope, entry.exact) is not None for entry in wanted)
    assert kept == len(wanted)
