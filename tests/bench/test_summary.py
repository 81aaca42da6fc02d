"""What a replay saw, added up."""

from bench.asking import Seen, error_code
from bench.summary import saved_tokens, summarise

EXACT = Seen(tier="exact", reason="same_request", prompt_tokens=10, completion_tokens=5, first_s=0.001, total_s=0.002)
WARM = Seen(tier="kv", reason="prefix", prompt_tokens=100, completion_tokens=5, cached_tokens=60, total_s=0.2)
FULL = Seen(tier="full", reason="miss", prompt_tokens=100, completion_tokens=5, first_s=0.1, total_s=0.4)
LOST = Seen(error="ConnectError")


def test_a_stored_answer_saves_all_its_tokens_and_a_resumed_one_its_prefix() -> None:
    assert [saved_tokens(one) for one in (EXACT, WARM, FULL)] == [15, 60, 0]


def test_shares_are_of_what_was_answered_and_errors_are_counted_apart() -> None:
    found = summarise([EXACT, WARM, FULL, LOST, LOST])

    assert (found["requests"], found["answered"], found["errors"]) == (5, 3, {"ConnectError": 2})
    assert found["hit_rate"] == 1 / 3
    assert found["saved_tokens"] == 75
    assert found["cached_share"] == 60 / 200
    assert {name: tier["requests"] for name, tier in found["tiers"].items()} == {
        "exact": 1, "semantic": 0, "kv": 1, "full": 1,
    }  # fmt: skip


def test_times_are_milliseconds_and_absent_ones_are_left_out() -> None:
    tiers = summarise([EXACT, WARM])["tiers"]

    assert tiers["exact"]["total_ms"]["p50"] == 2.0
    assert tiers["kv"]["first_ms"] is None
    assert tiers["semantic"]["total_ms"] is None


def test_an_error_has_the_code_of_its_object_or_its_status() -> None:
    assert error_code(429, b'{"error": {"code": "rate_limited", "message": "m"}}') == "rate_limited"
    assert error_code(400, b'{"error": {"code": null, "type": "invalid_request_error"}}') == "invalid_request_error"
    assert error_code(502, b"<html>") == "502"
    assert error_code(500, b"[]") == "500"
