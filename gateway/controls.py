"""What a caller may ask of the cache, from the `Cache-Control` header and the body's `cache` object. Pure.

Names follow RFC 9111 and LiteLLM where they exist. A caller can only narrow what the operator allows.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from gateway.errors import InvalidRequest

TIERS = frozenset({"exact", "semantic", "kv"})
MAX_NAME_CHARS = 256
MAX_TAGS = 32
WALL = "\x1f"  # between the names of several walls; no name has it, so no one name can spell several

_DIRECTIVE = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)(?:=(?:"([^"]*)"|([^\s,;]*)))?\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Controls:
    """One request's wishes."""

    no_cache: bool = False  # do not read a stored answer
    no_store: bool = False  # leave nothing behind
    only_if_cached: bool = False  # 504 instead of a generation
    max_age_s: float | None = None  # accept stored answers up to this age
    stale_s: float = 0.0  # accept answers this long past their end, and refresh them
    ttl_s: float | None = None  # keep the answer this long
    namespace: str = ""
    tags: tuple[str, ...] = ()
    tiers: frozenset[str] = TIERS
    min_similarity: float | None = None
    is_redacted: bool = False  # it holds what the operator keeps nothing of; no caller's wish


def read_controls(cache_control: str | None, cache: Any) -> Controls:
    """Merge header and body. Raises `InvalidRequest` naming the field."""
    controls = _from_header(cache_control) if cache_control else Controls()
    return controls if cache is None else _from_body(controls, cache)


def narrower(controls: Controls, other: Controls) -> Controls:
    """What both allow, behind the walls of both."""
    return replace(
        controls,
        no_cache=controls.no_cache or other.no_cache,
        no_store=controls.no_store or other.no_store,
        only_if_cached=controls.only_if_cached or other.only_if_cached,
        max_age_s=_least(controls.max_age_s, other.max_age_s),
        ttl_s=_least(controls.ttl_s, other.ttl_s),
        namespace=_walls(controls.namespace, other.namespace),
        tiers=controls.tiers & other.tiers,
        min_similarity=max((s for s in (controls.min_similarity, other.min_similarity) if s is not None), default=None),
    )


def _walls(*names: str) -> str:
    """One name for several walls; a wall alone keeps its own."""
    joined = WALL.join(filter(None, names))
    if len(joined) <= MAX_NAME_CHARS:
        return joined
    return WALL + blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def _least(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)


def _from_header(header: str) -> Controls:
    found: dict[str, str | None] = {}
    for match in _DIRECTIVE.finditer(header):
        found.setdefault(match[1].lower(), match[2] if match[2] is not None else match[3])
    return Controls(
        no_cache="no-cache" in found,
        no_store="no-store" in found,
        only_if_cached="only-if-cached" in found,
        max_age_s=_header_seconds(found, "max-age"),
        stale_s=_header_seconds(found, "stale-while-revalidate") or 0.0,
    )


def _header_seconds(found: Mapping[str, str | None], name: str) -> float | None:
    if name not in found:
        return None
    raw = found[name] or ""
    if not (raw.isascii() and raw.isdigit() and len(raw) <= 10):
        raise InvalidRequest(f"Cache-Control: {name} needs a whole number of seconds, got {raw!r}.", "Cache-Control")
    return float(raw)


def _from_body(controls: Controls, cache: Any) -> Controls:
    if not isinstance(cache, Mapping):
        raise InvalidRequest("cache must be an object.", "cache")
    unknown = sorted(set(cache) - set(_FIELDS))
    if unknown:
        known = ", ".join(sorted(_FIELDS))
        raise InvalidRequest(f"cache.{unknown[0]} is not a cache control; there are: {known}.", f"cache.{unknown[0]}")
    for name, value in cache.items():
        if value is not None:
            controls = _FIELDS[name](controls, value, f"cache.{name}")
    return controls


def _flag(value: Any, param: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{param} must be true or false.", param)
    return value


def _seconds(value: Any, param: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 10**10:
        raise InvalidRequest(f"{param} must be a number of seconds, 0 or more.", param)
    return float(value)


def _name(value: Any, param: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise InvalidRequest(f"{param} must be a text of 1 to {MAX_NAME_CHARS} characters.", param)
    return value


def wall(value: Any, param: str) -> str:
    """The name of a namespace. Raises `InvalidRequest`."""
    if WALL in _name(value, param):
        raise InvalidRequest(f"{param} must not hold the control character U+001F.", param)
    return str(value)


def _similarity(value: Any, param: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRequest(f"{param} must be a number from 0 to 1.", param)
    return float(value)


def _names(value: Any, param: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise InvalidRequest(f"{param} must be a list of at most {MAX_TAGS} texts.", param)
    return tuple(_name(item, f"{param}[{index}]") for index, item in enumerate(value))


def _tiers(value: Any, param: str) -> frozenset[str]:
    named = set(_names(value, param))
    if not named <= TIERS:
        raise InvalidRequest(f"{param} may hold exact, semantic and kv; got {sorted(named - TIERS)[0]!r}.", param)
    return frozenset(named)


def _use(controls: Controls, value: Any, param: str) -> Controls:
    """LiteLLM's `use-cache: false`: neither read nor keep an answer."""
    return controls if _flag(value, param) else replace(controls, no_cache=True, no_store=True)


_FIELDS: Mapping[str, Callable[[Controls, Any, str], Controls]] = {
    "ttl": lambda c, v, p: replace(c, ttl_s=_seconds(v, p)),
    "s-maxage": lambda c, v, p: replace(c, max_age_s=_seconds(v, p)),
    "no-cache": lambda c, v, p: replace(c, no_cache=c.no_cache or _flag(v, p)),
    "no-store": lambda c, v, p: replace(c, no_store=c.no_store or _flag(v, p)),
    "use-cache": _use,
    "namespace": lambda c, v, p: replace(c, namespace=wall(v, p)),
    "tags": lambda c, v, p: replace(c, tags=_names(v, p)),
    "tiers": lambda c, v, p: replace(c, tiers=_tiers(v, p)),
    "min_similarity": lambda c, v, p: replace(c, min_similarity=_similarity(v, p)),
}
