"""What memory keeps as bytes is what was put, field by field; and little of it is parsed at a time."""

from dataclasses import replace

import pytest

from gateway.answers.base import Entry
from gateway.answers.codec import encode
from gateway.answers.memory import MemoryAnswers
from gateway.answers.packed import Packing, Parsed
from gateway.semantic.found import digest_of
from tests.contracts.answers_contract import digest, entry_of, full_entry


@pytest.mark.parametrize(
    "entry",
    [
        entry_of("plain"),
        full_entry(),
        replace(entry_of("q"), question=None),
        replace(entry_of("e"), question=""),
        replace(entry_of("v"), embedder="mini@1", vector=None),
        replace(entry_of("w"), embedder="mini@1", vector=b""),
        replace(entry_of("x"), embedder="mini@1", vector=b"\0\1\2\3", question="caf\u00e9 \U0001f600 \ud800"),
        replace(entry_of("t"), tags=("a", "b"), namespace="n", revision="r", schema=3, sliding_s=4.5, expires_s=9e9),
        replace(entry_of("a"), alias_of="e_plain", good=2, bad=1, origin="put", tenant="t"),
        entry_of("u", text="\u00fc" * 70_000),
    ],
    ids=lambda entry: entry.id,
)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    packed = Packing().packed(entry, encode(entry.completion))

    assert packed.unpacked() == entry
    plain = ("scope", "exact", "compat", "canonical", "question", "vector", "embedder", "model", "tags", "tenant")
    assert [getattr(packed, name) for name in plain] == [getattr(entry, name) for name in plain]
    assert entry.question is None or packed.digest == digest_of(entry)
    for limit_s, now_s in ((0.0, 999_000.0), (10.0, 1_000_005.0), (10.0, 1_000_011.0)):
        assert packed.is_older(limit_s, now_s) == entry.is_older(limit_s, now_s)


def test_what_changes_is_another_object() -> None:
    memory = MemoryAnswers(1 << 20)
    memory.put_now(entry_of("a"))
    before, stamp = memory.get_now(digest("s"), digest("a")), memory.stamp_now(digest("s"), digest("a"))
    memory.prolong_now(digest("s"), entry_of("a").id, 9e9)
    after = memory.get_now(digest("s"), digest("a"))

    assert before is not None
    assert after == replace(before, expires_s=9e9)
    assert memory.stamp_now(digest("s"), digest("a")) is not stamp


def test_only_what_was_used_last_stays_parsed() -> None:
    packing, parsed = Packing(), Parsed(16 * 10_000)
    small, large = (
        packing.packed(entry, encode(entry.completion)) for entry in (entry_of("a"), entry_of("b", text="x" * 20_000))
    )
    first = parsed.of(small)

    assert parsed.of(small) is first
    assert parsed.of(large) is not parsed.of(large)
    assert parsed.of(small) is not first
    assert 0 < parsed.num_bytes <= 10_000
