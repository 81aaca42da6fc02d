"""Other gateways' headers about caching, read as our own controls. Pure.

Who moves here from LiteLLM, Portkey, Helicone, Bifrost, Cloudflare's AI Gateway, OpenRouter, OpenPipe or vLLM's
semantic router may keep sending theirs. Each can only narrow what happens: a header that would widen a hit, or turn on
what is on anyway, changes nothing. LiteLLM's words are those of the body's `cache` object already.

    turns storing or reading off    x-portkey-cache-force-refresh, helicone-cache-enabled, x-bf-cache-no-store,
                                    cf-aig-skip-cache, x-openrouter-cache, op-cache, x-vsr-cache-control
    bounds an answer's age          x-portkey-config, x-bf-cache-ttl, cf-aig-cache-ttl, x-vsr-cache-control
    asks for more likeness          x-portkey-cache, x-portkey-config, x-bf-cache-type, x-bf-cache-threshold
    a wall of its own               x-portkey-cache-namespace, helicone-cache-seed, x-bf-cache-key, cf-aig-cache-key
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import orjson

from gateway.controls import TIERS, Controls, narrower, read_controls, wall
from gateway.errors import InvalidRequest

_WITHOUT_MEANING = TIERS - {"semantic"}
_SPAN = re.compile(r"(?:\d{1,9}(?:\.\d{1,6})?(?:ms|s|m|h|d))+", re.ASCII)
_SPAN_PART = re.compile(r"([\d.]+)(ms|s|m|h|d)", re.ASCII)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
MAX_SECONDS = 10**10
MAX_CONFIG_CHARS = 65_536


class Headers(Protocol):
    """Request headers, by lower-case name."""

    def __iter__(self) -> Iterator[str]:
        """Their names."""

    def get(self, name: str, /) -> str | None: ...

    def getlist(self, key: str) -> list[str]: ...


def controls_of(headers: Headers, cache: Any) -> Controls:
    """What a request asks of the cache: in `Cache-Control`, in the body's `cache`, in another gateway's headers.

    Raises `InvalidRequest` naming the field or the header.
    """
    own = read_controls(", ".join(headers.getlist("cache-control")), cache)
    if _NAMES.isdisjoint(headers):  # most say nothing of it
        return own
    for name, read in _READERS.items():
        if (value := headers.get(name)) is not None and value.strip():
            own = narrower(own, read(value.strip(), name))
    return own


# -- values ----------------------------------------------------------------------------------------------------------


def _is_true(value: str, name: str) -> bool:
    said = value.lower()
    if said in ("true", "1", "yes", "on"):
        return True
    if said in ("false", "0", "no", "off"):
        return False
    raise InvalidRequest(f"{name} must be true or false, got {value[:40]!r}.", name)


def _seconds(value: str, name: str) -> float:
    """Seconds, or a span as Go writes it: 90, 30s, 1h30m."""
    if value.isascii() and value.isdigit() and len(value) <= 10:
        return float(value)
    if not _SPAN.fullmatch(value):
        raise InvalidRequest(f"{name} must be a time like 300, 30s or 1h30m, got {value[:40]!r}.", name)
    return sum(float(number) * _UNITS_S[unit] for number, unit in _SPAN_PART.findall(value))


def _wall(value: str, name: str) -> Controls:
    return Controls(namespace=wall(value, name))


def _similarity(value: str, name: str) -> Controls:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise InvalidRequest(f"{name} must be a number from 0 to 1, got {value[:40]!r}.", name)
    return Controls(min_similarity=number)


def _kind(exact: str) -> Callable[[str, str], Controls]:
    """The kind of cache: by `exact` alone, or by meaning too, which is for the operator to allow."""
    meant = {exact: Controls(tiers=_WITHOUT_MEANING), "semantic": Controls()}
    return lambda value, name: _one_of(meant, value, name)


def _one_of(meant: Mapping[str, Controls], value: str, name: str) -> Controls:
    controls = meant.get(value.lower())
    if controls is None:
        raise InvalidRequest(f"{name} must be one of {', '.join(meant)}, got {value[:40]!r}.", name)
    return controls


def _living(value: str, name: str) -> Controls:
    seconds = _seconds(value, name)
    return Controls(ttl_s=seconds, max_age_s=seconds)


def _off(value: str, name: str) -> Controls:
    """Off where the header says true."""
    return Controls(no_cache=True, no_store=True) if _is_true(value, name) else Controls()


def _on(value: str, name: str) -> Controls:
    """Off where the header says false."""
    return Controls() if _is_true(value, name) else Controls(no_cache=True, no_store=True)


# -- headers with a language of their own ------------------------------------------------------------------------------


def _portkey_config(value: str, name: str) -> Controls:
    """`{"cache": {"mode": "simple", "max_age": 60}}`; the name of a config that lies at Portkey says nothing here."""
    if not value.startswith("{"):
        return Controls()
    if len(value) > MAX_CONFIG_CHARS:
        raise InvalidRequest(f"{name} must have at most {MAX_CONFIG_CHARS} characters.", name)
    try:
        cache = orjson.loads(value).get("cache")
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{name} is not valid JSON: {error}.", name) from error
    if cache is None:
        return Controls()
    if isinstance(cache, str):
        cache = {"mode": cache}
    if not isinstance(cache, dict):
        raise InvalidRequest(f"{name}: cache must be an object, simple or semantic.", name)
    mode = cache.get("mode")
    controls = Controls() if mode is None else _kind("simple")(str(mode), name)
    age = cache.get("max_age", cache.get("maxAge"))
    if age is None:
        return controls
    if isinstance(age, bool) or not isinstance(age, int | float) or not 0 <= age <= MAX_SECONDS:
        raise InvalidRequest(f"{name}: cache.max_age must be a number of seconds.", name)
    return replace(controls, ttl_s=float(age), max_age_s=float(age))


def _semantic_router(value: str, name: str) -> Controls:
    """`no-cache`, `no-store`, `bypass`, `max-age=`, `ttl=`, between commas."""
    controls = Controls()
    for item in value.lower().split(","):
        word, _, number = (part.strip() for part in item.partition("="))
        if word == "bypass":
            controls = narrower(controls, Controls(no_cache=True, no_store=True))
        elif word in ("no-cache", "no-store"):
            controls = narrower(controls, Controls(no_cache=word == "no-cache", no_store=word == "no-store"))
        elif word == "max-age":
            controls = narrower(controls, Controls(max_age_s=_seconds(number, name)))
        elif word == "ttl":
            controls = narrower(controls, Controls(ttl_s=_seconds(number, name)))
        elif word:
            known = "no-cache, no-store, bypass, max-age=, ttl="
            raise InvalidRequest(f"{name} may say {known}, got {word[:40]!r}.", name)
    return controls


_OPENPIPE = {
    "readwrite": Controls(),
    "readonly": Controls(no_store=True),
    "writeonly": Controls(no_cache=True),
    "true": Controls(),
    "false": Controls(no_cache=True, no_store=True),
}


_READERS: Mapping[str, Callable[[str, str], Controls]] = {
    "x-portkey-config": _portkey_config,
    "x-portkey-cache": _kind("simple"),
    "x-portkey-cache-force-refresh": lambda value, name: Controls(no_cache=_is_true(value, name)),
    "x-portkey-cache-namespace": _wall,
    "helicone-cache-enabled": _on,
    "helicone-cache-seed": _wall,
    "x-bf-cache-key": _wall,
    "x-bf-cache-ttl": _living,
    "x-bf-cache-threshold": _similarity,
    "x-bf-cache-type": _kind("direct"),
    "x-bf-cache-no-store": lambda value, name: Controls(no_store=_is_true(value, name)),
    "cf-aig-skip-cache": _off,
    "cf-aig-cache-ttl": _living,
    "cf-aig-cache-key": _wall,
    "x-openrouter-cache": _on,
    "op-cache": partial(_one_of, _OPENPIPE),
    "x-vsr-cache-control": _semantic_router,
}

_NAMES = frozenset(_READERS)
