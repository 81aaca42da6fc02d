"""What gateways say to each other: whole, and nobody else's."""

from dataclasses import fields

import orjson
import pytest

from backends.chat import Delta, Usage
from backends.errors import BackendBusy, BackendError, RequestRejected
from gateway.errors import describe
from gateway.shared.flights.words import Ended, Leave, NotOurs, Said, Want, Word, _mac, mail_key, seal, unseal

KEY = mail_key(b"s" * 32)
FIELDS = {"content": "häh", "tool_calls": [{"index": 0}]}
FULL = Delta(1, FIELDS, "stop", {"content": []}, Usage(1, 2, 1, {"x": 1}), {"f": 2}, "another model")
DELTAS = (FULL, Delta())


def test_no_field_is_left_out_of_these_tests() -> None:
    assert all(getattr(FULL, item.name) != getattr(Delta(), item.name) for item in fields(Delta))


@pytest.mark.parametrize(
    "word",
    [Want("f", 7, "r/1", 3, anew=False), Leave("f", 7, "r/1"), Said("r/1", 3, DELTAS), Ended("r/1", 5, "whole")],
)
def test_a_message_arrives_as_it_was_sent(word: Word) -> None:
    assert unseal(KEY, "r", seal(KEY, "r", word)) == word


@pytest.mark.parametrize(
    "error",
    [
        BackendBusy("full", retryable=False, retry_after_s=3.0),
        RequestRejected("no", param="n", code="bad_n", status=422, error={"message": "no"}),
        BackendError("what"),
    ],
)
def test_an_error_arrives_as_it_was(error: BackendError) -> None:
    word = unseal(KEY, "r", seal(KEY, "r", Ended("r/1", 0, "failed", error)))
    assert isinstance(word, Ended)
    assert type(word.error) is type(error)
    assert word.error is not None
    assert describe(word.error) == describe(error)
    assert (word.error.retryable, word.error.retry_after_s) == (error.retryable, error.retry_after_s)


def test_who_has_another_secret_is_not_heard() -> None:
    with pytest.raises(NotOurs):
        unseal(KEY, "r", seal(mail_key(b"t" * 32), "r", Leave("f", 7, "r/1")))


def test_a_message_to_another_replica_is_not_heard() -> None:
    with pytest.raises(NotOurs):
        unseal(KEY, "q", seal(KEY, "r", Leave("f", 7, "r/1")))


@pytest.mark.parametrize("raw", [b"", b"x" * 40, b"[]"])
def test_noise_is_not_heard(raw: bytes) -> None:
    with pytest.raises(NotOurs):
        unseal(KEY, "r", raw)


def test_a_message_of_another_version_with_our_secret_is_not_ours() -> None:
    delta = [0, {}, None, None, None, {}, "", "a field too many"]
    for said in (["said", "r/1", 0, [delta]], ["said", "r/1"], ["shouted"], {"said": 1}, 5, ["ended", "r", 0, "x", {}]):
        body = orjson.dumps(said)
        with pytest.raises(NotOurs):
            unseal(KEY, "r", _mac(KEY, "r", body) + body)
