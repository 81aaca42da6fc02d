"""Good input made bad: values of JSON put in place of others, and bytes changed, cut, doubled, moved."""

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import orjson

LONG = "x" * 70_000
NASTY: Sequence[Any] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 0.5, -0.0, 1e308, 5e-324, 1.0,
    "", " ", "\0", "\n", "\r\nx: y", "a", "\u00e9", "e\u0301", "\ufeff", "\u202e", "\U0001f600", "\ud7ff", "null",
    "-1", "1e9", "NaN",
    "../../etc/passwd", "<script>", "%00", "{}", "[]", "\x1f", "\u2028", "data:image/png;base64,AAAA",
    "http://127.0.0.1:9/x",
    "exact", "user", "assistant", "tool", "function", "text", "stop", "auto", "none", "required", "json_object",
    "m1", "m2", LONG,
    [], {}, [[]], [None], [{}], {"": None}, {"type": "text"}, {"type": "text", "text": "x"},
    {"role": "user"}, {"a": {"b": {"c": []}}},
    ["x"] * 300, {str(n): n for n in range(300)},
    {"type": "image_url", "image_url": {"url": "x"}}, {"type": "function", "function": {"name": "f", "arguments": "{"}},
)  # fmt: skip
TEXTS = tuple(value for value in NASTY if isinstance(value, str) and len(value) < 100)


def nasty(rng: random.Random) -> Any:
    """One of them, to be changed at will."""
    return deepcopy(rng.choice(NASTY))


def mutated(rng: random.Random, value: Any, times: int | None = None) -> Any:
    """A copy in which some places hold something else. Where bytes of JSON hold the copy, they may be no JSON."""
    value = deepcopy(value)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6)) if times is None else times):
        value = _changed(rng, value)
    return value


def spelled(rng: random.Random, value: Any) -> bytes:
    """As JSON; now and then in an odd spelling, or damaged."""
    raw = orjson.dumps(value)
    match rng.randrange(24):
        case 0:
            return damaged(rng, raw)
        case 1:
            return orjson.dumps(value, option=orjson.OPT_INDENT_2)
        case 2:
            return (
                raw.replace(b'"', b'\\"', 1) if rng.random() < 0.3 else raw + rng.choice((b"", b"\0", b" ", b"}", raw))
            )
        case 3:  # a name twice
            return raw[:-1] + b"," + raw[1:] if raw[:1] == b"{" and len(raw) > 2 else raw
        case 4:
            return raw.replace(b"1", rng.choice((b"1e999", b"1.0", b"01", b"NaN", b"9" * 400, b"-", b"1e-400")), 1)
        case 5:
            return raw.replace(
                b"a", rng.choice((b"\\ud800", b"\\udc00\\ud800", b"\\u0000", b"\xff", b"\xed\xa0\x80")), 1
            )
        case 6:
            depth = rng.choice((10, 70, 1000, 5000))
            deep = rng.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth))
            return raw[:-1] + b',"x":' + deep + b"}" if raw[:1] == b"{" and len(raw) > 2 else deep
    return raw


def damaged(rng: random.Random, raw: bytes) -> bytes:
    """Some bytes changed, cut out, doubled or added."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                data[at:at] = rng.randbytes(rng.choice((1, 1, 4, 40)))
            case 2:
                del data[at : at + rng.choice((1, 1, 4, 40))]
            case 3:
                del data[at:]
            case 4:
                data[at:at] = data[max(0, at - 20) : at]
            case 5:
                data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
            case 6:
                data[at:at] = rng.choice(_TOKENS)
    return bytes(data)


_TOKENS = (
    b"\r\n",
    b"\n",
    b"\n\n",
    b"\0",
    b"data: ",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b",",
    b":",
    b"\xff",
    b"\xef\xbb\xbf",
    b"-1",
)


def _changed(rng: random.Random, value: Any) -> Any:
    """One place of it, however deep, changed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[rng.choice(TEXTS)] = nasty(rng)
            case 2:
                value[key + rng.choice(TEXTS)] = value.pop(key)
            case 3:
                value[key] = nasty(rng)
            case _:
                value[key] = _changed(rng, value[key])
        return value
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        match rng.randrange(7):
            case 0:
                del value[at]
            case 1:
                value.insert(at, nasty(rng))
            case 2:
                value.insert(at, value[at])
            case 3:
                value[at] = nasty(rng)
            case _:
                value[at] = _changed(rng, value[at])
        return value
    return rng.choice(_OF_SCALARS)(rng, value)


_OF_SCALARS: Sequence[Callable[[random.Random, Any], Any]] = (
    lambda rng, _: nasty(rng),
    lambda rng, _: nasty(rng),
    lambda _, value: [value],
    lambda _, value: {"text": value},
    lambda _, value: str(value),
    lambda rng, value: value + rng.choice(TEXTS) if isinstance(value, str) else rng.randrange(-3, 10),
)
