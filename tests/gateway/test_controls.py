"""`Cache-Control` and the body's `cache` object."""

from typing import Any

import pytest

from gateway.controls import TIERS, Controls, read_controls
from gateway.errors import InvalidRequest

HEADERS: dict[str, Controls] = {
    "no-cache": Controls(no_cache=True),
    "No-Store": Controls(no_store=True),
    "no-cache, no-store": Controls(no_cache=True, no_store=True),
    "max-age=60": Controls(max_age_s=60),
    'max-age="60"': Controls(max_age_s=60),
    "max-age=0": Controls(max_age_s=0),
    "only-if-cached": Controls(only_if_cached=True),
    "stale-while-revalidate=30": Controls(stale_s=30),
    "private, x-unknown=1": Controls(),
}

BODIES: list[tuple[dict[str, Any], Controls]] = [
    ({}, Controls()),
    ({"ttl": 5}, Controls(ttl_s=5)),
    ({"ttl": 0}, Controls(ttl_s=0)),
    ({"s-maxage": 9.5}, Controls(max_age_s=9.5)),
    ({"no-cache": True}, Controls(no_cache=True)),
    ({"no-store": True, "no-cache": False}, Controls(no_store=True)),
    ({"use-cache": False}, Controls(no_cache=True, no_store=True)),
    ({"use-cache": True}, Controls()),
    ({"namespace": "n"}, Controls(namespace="n")),
    ({"tags": ["a", "b"]}, Controls(tags=("a", "b"))),
    ({"tiers": []}, Controls(tiers=frozenset())),
    ({"tiers": ["exact", "kv"]}, Controls(tiers=frozenset({"exact", "kv"}))),
    ({"min_similarity": 0}, Controls(min_similarity=0)),
    ({"ttl": None}, Controls()),
]

BAD: list[tuple[Any, str]] = [
    ("yes", "cache"),
    ({"ttl": -1}, "cache.ttl"),
    ({"ttl": "5"}, "cache.ttl"),
    ({"ttl": True}, "cache.ttl"),
    ({"ttl": float("nan")}, "cache.ttl"),
    ({"no-cache": 1}, "cache.no-cache"),
    ({"namespace": ""}, "cache.namespace"),
    ({"namespace": "x" * 300}, "cache.namespace"),
    ({"tags": "a"}, "cache.tags"),
    ({"tags": [1]}, "cache.tags[0]"),
    ({"tiers": ["l2"]}, "cache.tiers"),
    ({"min_similarity": 2}, "cache.min_similarity"),
    ({"no_cache": True}, "cache.no_cache"),
]


@pytest.mark.parametrize("header", HEADERS)
def test_the_header_is_read_as_rfc_9111_says(header: str) -> None:
    assert read_controls(header, None) == HEADERS[header]


@pytest.mark.parametrize(("cache", "controls"), BODIES)
def test_the_body_is_read(cache: dict[str, Any], controls: Controls) -> None:
    assert read_controls(None, cache) == controls


@pytest.mark.parametrize(("cache", "param"), BAD)
def test_a_bad_control_is_refused_by_name(cache: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_controls(None, cache)

    assert refused.value.param == param


@pytest.mark.parametrize("header", ["max-age=x", "max-age", "max-age=-1", "stale-while-revalidate=1.5"])
def test_a_directive_that_needs_seconds_gets_them_or_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest):
        read_controls(header, None)


def test_header_and_body_add_up() -> None:
    both = read_controls("no-store, max-age=9", {"no-cache": True, "tiers": ["exact"]})

    assert both == Controls(no_cache=True, no_store=True, max_age_s=9, tiers=frozenset({"exact"}))
    assert Controls().tiers == TIERS
