"""Cache arguments, put where the official client and the gateway find them. Pure."""

from collections.abc import Mapping
from typing import Any

from twicetold import controls
from twicetold.controls import CacheOptions

RAW = "x-stainless-raw-response"  # `with_raw_response` and `with_streaming_response` ask for it


def arguments(defaults: CacheOptions, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the official client's method is called with."""
    said, others = controls.split({**defaults, **given})
    headers, body = controls.header_fields(said), controls.body_fields(said)
    if headers:
        others["extra_headers"] = {**headers, **(others.get("extra_headers") or {})}
    if body:
        theirs = others.get("extra_body") or {}
        mine = {**body.pop("cache", {}), **theirs.get("cache", {})}  # as people write it who have no SDK
        others["extra_body"] = {**body, **theirs, **({"cache": mine} if mine else {})}
    return others


def wants_raw(given: Mapping[str, Any]) -> bool:
    """Whether the caller reads the response's headers himself."""
    return any(name.lower() == RAW for name in given.get("extra_headers") or {})
