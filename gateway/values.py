"""How many values a body may hold: each costs the event loop microseconds, and everybody else waits meanwhile. Pure.

They are counted before they are read, at the speed of searching bytes: a comma outside of texts parts two values, a
bracket opens a first one. An object, a list, a text, a number, true, false and null are values; names are not.
"""

import gc
import re
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.body import LARGE_BYTES
from gateway.errors import InvalidRequest

MAX_VALUES = 50_000
MAX_TOKENS = 300_000  # further ones, where they are the tokens of a prompt or a text; as OpenAI's of embeddings
WITH_REQUEST = MAX_VALUES + MAX_TOKENS  # of a body that holds a request, which is bounded by itself

_PIECES = re.compile(rb'("[^"]*")|([\[{]+)|([\]}]+)|[^"\[\]{}]+')


def read_values(raw: bytes, most: int = MAX_VALUES) -> Any:
    """The JSON in a body. Raises `InvalidRequest`, naming the field in which there come to be too many values."""
    check_values(raw, most)
    was_on = len(raw) >= LARGE_BYTES and gc.isenabled()
    if was_on:
        gc.disable()  # JSON has no cycles, and looking for some among its objects takes five times as long as they do
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    finally:
        if was_on:
            gc.enable()


def read_beside_tokens(raw: bytes, field: str) -> Any:
    """The same of a body of which one field may hold many tokens beside."""
    body = read_values(raw, WITH_REQUEST)
    if isinstance(body, dict) and _marks(raw) >= MAX_VALUES:
        try:
            check_values(orjson.dumps({name: value for name, value in body.items() if name != field}))
        except orjson.JSONEncodeError as error:
            raise InvalidRequest(f"The body cannot be written as JSON: {error}.") from error
    return body


def check_values(raw: bytes, most: int = MAX_VALUES) -> None:
    """Raises `InvalidRequest` when JSON holds more than `most` values."""
    if _marks(raw) < most:  # in texts, too: nearly every body
        return
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in raw else raw
    # With so many texts and names no count is needed, and none begins that would cut the body into millions of pieces.
    if plain.count(b'"') > 4 * most or _marks(b"".join(plain.split(b'"')[::2])) >= most:
        name = _crowded(plain, min(most, MAX_VALUES))
        raise InvalidRequest(
            f"{name or 'The body'} holds too many values: {most:,} are taken at most, every field and every item "
            "of a list counted.",
            name or None,
        )


def _marks(raw: bytes) -> int:
    """One less than the values, where there are no texts; more where some hold such marks."""
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def _crowded(plain: bytes, most: int) -> str:
    """The field of the body, without escapes, at which the bound is reached; the object may be cut anywhere."""
    name = said = b""
    depth = count = 0
    for piece in _PIECES.finditer(plain):
        text, opened, closed = piece.groups()
        if text is not None:
            said = text
        elif opened is not None:
            depth, count = depth + len(opened), count + len(opened)
        elif closed is not None:
            depth -= len(closed)
        else:
            between = piece[0]
            count += between.count(b",")
            if depth == 1 and b":" in between:
                name = said
        if count >= most:
            break
    return name[1:-1].decode("utf-8", "replace")[:64]


def are_tokens(values: Sequence[Any], end: int) -> bool:
    """Whether all are whole numbers from 0 to below `end`; of JSON, where true is no number."""
    return set(map(type, values)) <= {int} and (not values or (min(values) >= 0 and max(values) < end))
