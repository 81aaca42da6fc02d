"""Hits in new bytes are asked in bytes that never came, for what is stored."""

import json
from collections import Counter

from backends.chat import ChatRequest
from bench.exact import _body, _in_new
from bench.wrk import Pressure, together
from gateway.identity.canonical import fingerprints


def exact(body: str) -> bytes:
    said = json.loads(body)
    params = {name: value for name, value in said.items() if name not in ("model", "messages")}
    return fingerprints(b"s" * 32, b"scope", ChatRequest(said["model"], tuple(said["messages"]), params), {}).exact


def test_new_bytes_are_the_stored_requests_and_none_comes_twice() -> None:
    stored = tuple(_body(index, is_streaming=False) for index in range(4))

    new = _in_new(stored, "one", 12) + _in_new(stored, "other", 12)

    assert len({*stored, *new}) == 28
    assert Counter(map(exact, new)) == dict.fromkeys(map(exact, stored), 6)


def test_blocks_of_one_kind_are_joined() -> None:
    blocks = [Pressure(100, 1.0, p50_ms, 2 * p50_ms, 9.0, "wrk") for p50_ms in (1.0, 3.0, 2.0)]

    assert together(blocks) == Pressure(300, 3.0, 2.0, 4.0, 9.0, "wrk")
