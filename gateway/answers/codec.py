"""Answers as bytes: versioned JSON, read back strictly. What cannot be read is a `CacheError`, never a guess."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from backends.chat import JSON, Choice, Completion, Fields, Usage
from gateway.answers.base import CacheError, Entry

if TYPE_CHECKING:
    from gateway.answers.packed import Packed

VERSION = 1  # raise it when the shape changes; older bytes are then a miss
ENTRY_OVERHEAD_BYTES = 1280  # measured: digests, numbers, index entries, and what Python adds around them


def encode(completion: Completion) -> bytes:
    """Spell `completion` as bytes. Raises `CacheError` for what JSON cannot hold."""
    usage = completion.usage
    return encode_json(
        {
            "v": VERSION,
            "choices": [
                {"message": c.message, "finish_reason": c.finish_reason, "logprobs": c.logprobs}
                for c in completion.choices
            ],
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "cached_tokens": usage.cached_tokens,
                "extra": usage.extra,
            },
            "extra": completion.extra,
        }
    )


def decode(raw: bytes) -> Completion:
    """Read what `encode` wrote. Raises `CacheError` for another version or another shape."""
    record = decode_json(raw)
    version = record.get("v") if isinstance(record, dict) else None
    if type(version) is not int or version != VERSION:
        raise CacheError(f"a stored answer has version {version!r}, this code reads {VERSION}")
    _require(record.keys() == {"v", "choices", "usage", "extra"} and isinstance(record["choices"], list), "answer")
    choices = tuple(_choice(choice) for choice in record["choices"])
    return Completion(choices, _usage(record["usage"]), _fields(record["extra"], "extra"))


def size_bytes(entry: Entry, encoded: bytes) -> int:
    """What `entry` weighs in a budget; `encoded` is its completion as bytes."""
    names = (entry.id, entry.model, entry.tenant, entry.namespace, entry.revision, entry.alias_of or "")
    texts = sum(_utf8_bytes(text) for text in (*names, entry.question or "", *entry.tags))
    return ENTRY_OVERHEAD_BYTES + len(entry.canonical) + len(encoded) + texts + vector_bytes(entry)


def vector_bytes(entry: "Entry | Packed") -> int:
    """The part of `size_bytes` that `set_vector` changes."""
    return _utf8_bytes(entry.embedder or "") + len(entry.vector or b"")


def encode_json(value: JSON) -> bytes:
    """JSON bytes of any mapping, list or scalar. Raises `CacheError`."""
    try:
        return orjson.dumps(value, default=_plain)
    except orjson.JSONEncodeError as error:
        raise CacheError(f"cannot be stored as JSON: {error}") from error


def decode_json(raw: bytes) -> JSON:
    """The JSON value in `raw`. Raises `CacheError`."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise CacheError(f"stored JSON is broken: {error}") from error


def _plain(value: Any) -> Any:
    """`Fields` may be any mapping, a read-only view among them; orjson knows dict alone."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _choice(record: JSON) -> Choice:
    _require(isinstance(record, dict) and record.keys() == {"message", "finish_reason", "logprobs"}, "choice")
    finish, logprobs = record["finish_reason"], record["logprobs"]
    _require(finish is None or isinstance(finish, str), "finish_reason")
    return Choice(
        _fields(record["message"], "message"), finish, None if logprobs is None else _fields(logprobs, "logprobs")
    )


def _usage(record: JSON) -> Usage:
    numbers = ("prompt_tokens", "completion_tokens", "cached_tokens")
    _require(isinstance(record, dict) and record.keys() == {*numbers, "extra"}, "usage")
    _require(all(type(record[name]) is int for name in numbers), "usage")
    prompt, completion, cached = (record[name] for name in numbers)
    return Usage(prompt, completion, cached, _fields(record["extra"], "usage.extra"))


def _fields(value: JSON, name: str) -> Fields:
    _require(isinstance(value, dict), name)
    fields: Fields = value
    return fields


def _require(is_so: bool, name: str) -> None:
    if not is_so:
        raise CacheError(f"a stored answer has the wrong shape at {name}")
