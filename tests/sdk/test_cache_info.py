"""The SDK reads what the gateway writes."""

import pytest

from gateway.outcome import Outcome, headers_of
from twicetold import CacheInfo


def headers(outcome: Outcome) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers_of(outcome)}


def test_a_semantic_hit_is_read_back() -> None:
    outcome = Outcome("semantic", "same_question", "e_1", 0.9812, age_s=12.9, saved_tokens=40, overhead_s=0.003)
    info = CacheInfo.from_headers({name.title(): value for name, value in headers(outcome).items()})

    assert info == CacheInfo("semantic", "same_question", "e_1", 0.9812, 40, 12, 3.0)
    assert info.is_hit


def test_a_generation_is_no_hit() -> None:
    info = CacheInfo.from_headers(headers(Outcome("kv", "prefix", saved_tokens=32)))

    assert (info.is_hit, info.saved_tokens, info.similarity) == (False, 32, None)


def test_a_model_that_answered_instead_is_named() -> None:
    info = CacheInfo.from_headers(headers(Outcome("full", "fallback", fallback="größer/2")))

    assert (info.fallback, info.reason) == ("größer/2", "fallback")


@pytest.mark.parametrize("strange", [{}, {"x-twicetold-tier": "l3"}])
def test_somebody_elses_answer_is_refused(strange: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not an answer of Twicetold"):
        CacheInfo.from_headers(strange)
