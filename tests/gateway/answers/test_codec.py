"""Answers as bytes: what goes in comes out, and nothing else is believed."""

from types import MappingProxyType

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.chat import Choice, Completion, Usage
from gateway.answers.base import CacheError
from gateway.answers.codec import decode, encode, size_bytes
from tests.contracts.answers_contract import completion_of, entry_of, full_entry

texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(texts, values, max_size=3) | st.dictionaries(texts, values, max_size=3).map(MappingProxyType)
choices = st.builds(Choice, fields, st.none() | texts, st.none() | fields)
counts = st.integers(0, 10**9)
completions = st.builds(
    Completion, st.lists(choices, max_size=3).map(tuple), st.builds(Usage, counts, counts, counts, fields), fields
)


@given(completions)
def test_every_answer_survives_the_way_to_bytes_and_back(completion: Completion) -> None:
    assert decode(encode(completion)) == completion


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"v"',
        b"{}",
        b"\x80\x04\x95",  # a pickle
        b'{"v":2,"choices":[],"usage":{},"extra":{}}',
        b'{"v":1,"choices":[],"usage":{},"extra":{}}',
    ],
)
def test_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(CacheError):
        decode(raw)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("v",), True),
        (("v",), 1.5),
        (("choices",), {}),
        (("choices", 0), []),
        (("choices", 0, "message"), "text"),
        (("choices", 0, "message"), None),
        (("choices", 0, "finish_reason"), 3),
        (("choices", 0, "logprobs"), []),
        (("choices", 0, "surprise"), 1),
        (("usage",), None),
        (("usage", "prompt_tokens"), "7"),
        (("usage", "prompt_tokens"), True),
        (("usage", "cached_tokens"), None),
        (("usage", "extra"), []),
        (("extra",), None),
        (("surprise",), 1),
    ],
)
def test_a_wrong_shape_is_refused(path: tuple[str | int, ...], value: object) -> None:
    record = orjson.loads(encode(completion_of("hello")))
    place = record
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    with pytest.raises(CacheError):
        decode(orjson.dumps(record))


@pytest.mark.parametrize("keep", range(0, 180, 7))
def test_a_cut_answer_is_refused(keep: int) -> None:
    with pytest.raises(CacheError):
        decode(encode(full_entry().completion)[:keep])


def test_an_entry_weighs_at_least_its_bytes() -> None:
    entry = full_entry()
    raw = encode(entry.completion)

    assert size_bytes(entry, raw) > len(raw) + len(entry.canonical) + len(entry.vector or b"")
    assert size_bytes(entry_of(text="x" * 1000), encode(completion_of("x" * 1000))) > 1000
