"""The tree of shared prefixes: who found what, and what that saved."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtier.cache import KVCache
from kvtier.geometry import KVGeometry
from kvtier.keys import pack, unpack
from kvtier.survey import Prefix, Survey
from tests.kvtier.rows import hit, publish, small_cache

SYSTEM = list(range(100, 108))  # two blocks of four
ONE, TWO = [*SYSTEM, 1, 2, 3, 4], [*SYSTEM, 5, 6, 7, 8]


def surveyed(cache: KVCache, most_nodes: int = 100) -> Survey:
    survey = cache.survey(most_nodes)
    assert survey.step(60.0)
    return survey


def nodes(cache: KVCache, most_nodes: int = 100) -> list[Prefix]:
    found: list[Prefix] = surveyed(cache, most_nodes).report()["nodes"]
    return found


def shared_cache() -> KVCache:
    """A system prompt found five times: with one question three times, with another once, and once alone."""
    cache = small_cache(16)
    for ids in (ONE, TWO):
        publish(cache, "a", ids)
    for ids in (ONE, ONE, ONE, TWO, [*SYSTEM, 9]):
        hit(cache, "a", ids)
    return cache


def test_what_many_share_is_one_node_and_what_they_do_not_are_its_children() -> None:
    system, one, two = nodes(shared_cache())

    assert (system.head, system.tokens, system.hits, system.parent) == (SYSTEM, 8, 5, None)
    assert (one.head, one.hits, one.parent, one.start) == ([1, 2, 3, 4], 3, 0, 8)
    assert (two.head, two.hits, two.parent) == ([5, 6, 7, 8], 1, 0)
    assert (system.saved, one.saved, two.saved, system.saved_below) == (40, 12, 4, 56)


def test_a_block_used_in_part_saves_the_part() -> None:
    cache = small_cache(16)
    publish(cache, "a", ONE)
    hit(cache, "a", [*SYSTEM, 1, 2, 7])

    (node,) = nodes(cache)
    assert (node.tokens, node.saved) == (12, 10)


def test_texts_part_where_their_tokens_do_and_not_where_blocks_do() -> None:
    geometry = KVGeometry(1, 1, 1, "float32")
    cache = KVCache(geometry, 8 * geometry.block_bytes, secret=b"s", model="m", tokenizer="t")
    system, asked = list(range(32)), list(range(40, 60))
    for end in ([1] * 12, [2] * 12):
        ids = [*system, *asked, *end]
        cache.publish("a", ids, torch.zeros(1, 2, 1, 64, 1), 64)
        cache.match("a", ids).release()

    head, *others = nodes(cache)
    assert (head.skipped, head.head) == (0, system)
    assert sorted((one.skipped, one.head) for one in others) == [(20, [1] * 12), (20, [2] * 12)]


def test_what_nobody_has_found_is_counted_and_not_drawn() -> None:
    cache = shared_cache()
    publish(cache, "a", [*SYSTEM, 60, 61, 62, 63, 64, 65, 66, 67])

    report = surveyed(cache).report()
    assert (report["blocks"], report["found_blocks"], report["tokens"]) == (6, 4, 24)
    assert [node.unused_tokens for node in report["nodes"]] == [8, 0, 0]


def test_the_nodes_that_saved_most_are_told_with_all_above_them() -> None:
    system, one = nodes(shared_cache(), most_nodes=2)

    assert (system.head, one.head) == (SYSTEM, [1, 2, 3, 4])
    assert (system.hidden, one.hidden) == (1, 0)


def test_salts_have_trees_of_their_own_and_their_names_are_told_apart() -> None:
    cache = shared_cache()
    publish(cache, "b", ONE)
    hit(cache, "b", ONE)

    told = nodes(cache)
    assert sorted(node.salt == told[0].salt for node in told) == [False, True, True, True]
    assert sum(node.parent is None for node in told) == 2
    assert all("a" != node.salt != "b" for node in told)


def test_pinned_blocks_are_told() -> None:
    cache = shared_cache()
    cache.pin("a", SYSTEM)

    assert [node.pinned for node in nodes(cache)] == [2, 0, 0]


def test_a_survey_in_slices_is_not_disturbed_by_what_is_evicted_meanwhile() -> None:
    cache = shared_cache()
    survey = cache.survey(100)
    while not survey.step(0.0):
        cache.clear()

    assert [node.hits for node in survey.report()["nodes"]] == [5, 3, 1]
    assert nodes(cache) == []


def test_a_longer_block_takes_over_what_is_known_of_the_one_it_replaces() -> None:
    cache = small_cache(16)
    publish(cache, "a", [*SYSTEM, 1, 2], tail=True)
    hit(cache, "a", [*SYSTEM, 1, 2])
    publish(cache, "a", ONE)

    (node,) = nodes(cache)
    assert (node.tokens, node.hits, node.saved) == (12, 1, 10)


IDS = st.lists(st.integers(0, 1), min_size=1, max_size=14)


@settings(max_examples=30, deadline=None, database=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), IDS), max_size=40))
def test_every_token_found_is_told_of_one_node(told: list[tuple[bool, str, list[int]]]) -> None:
    cache = small_cache(600)
    for is_published, salt, ids in told:
        if is_published:
            publish(cache, salt, ids, tail=True)
        else:
            hit(cache, salt, ids)

    report = surveyed(cache).report()
    assert report["saved"] == sum(node.saved for node in report["nodes"]) == cache.stats.ram_hit_tokens
    assert report["found_blocks"] == sum(node.blocks for node in report["nodes"])


@settings(max_examples=30, deadline=None, database=None)
@given(st.lists(st.tuples(st.booleans(), IDS), max_size=40))
def test_a_leaf_that_is_evicted_leaves_its_hits_to_its_parent(told: list[tuple[bool, list[int]]]) -> None:
    cache = small_cache(4)
    for is_published, ids in told:
        if is_published:
            publish(cache, "a", ids)
        else:
            hit(cache, "a", ids)

    told_nodes = nodes(cache)
    for place, node in enumerate(told_nodes):
        assert node.hits >= sum(below.hits for below in told_nodes if below.parent == place)
        assert node.saved <= node.hits * node.tokens


def test_packed_tokens_are_had_back() -> None:
    assert unpack(pack([0, 1, 2**32 - 1])) == [0, 1, 2**32 - 1]
