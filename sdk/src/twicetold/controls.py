"""What a caller may ask of the cache, as arguments; and the body fields and headers that say it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

ReusableTier = Literal["exact", "semantic", "kv"]


class CacheOptions(TypedDict, total=False):
    """Arguments of every call that may be answered from the cache. They only narrow what the operator allows."""

    ttl: float  # seconds: keep the answer this long
    max_age: float  # seconds: take stored answers up to this age
    stale_while_revalidate: float  # seconds: take answers this long past their end, which are then made anew
    no_cache: bool  # read no stored answer
    no_store: bool  # leave nothing behind
    only_if_cached: bool  # `NotCachedError` instead of a generation
    namespace: str
    tags: Sequence[str]
    tiers: Sequence[ReusableTier]  # what may be used; [] is a plain cold run that leaves nothing behind
    min_similarity: float  # cosine from 0 to 1, of semantic hits
    cache_salt: str


_IN_BODY = {
    "ttl": "ttl",
    "max_age": "s-maxage",
    "no_cache": "no-cache",
    "no_store": "no-store",
    "namespace": "namespace",
    "tags": "tags",
    "tiers": "tiers",
    "min_similarity": "min_similarity",
}
NAMES = frozenset(CacheOptions.__annotations__)


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The cache's own among `options`, and the others. What is None was not said."""
    said = {name: value for name, value in options.items() if name in NAMES and value is not None}
    return said, {name: value for name, value in options.items() if name not in NAMES}


def body_fields(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the options add to a request's body."""
    cache = {_IN_BODY[name]: _plain(value) for name, value in said.items() if name in _IN_BODY}
    salt = {"cache_salt": said["cache_salt"]} if "cache_salt" in said else {}
    return {**({"cache": cache} if cache else {}), **salt}


def header_fields(said: Mapping[str, Any]) -> dict[str, str]:
    """What the options add to a request's headers: what only `Cache-Control` has a word for."""
    words = []
    if said.get("only_if_cached"):
        words.append("only-if-cached")
    if "stale_while_revalidate" in said:
        words.append(f"stale-while-revalidate={int(said['stale_while_revalidate'])}")
    return {"cache-control": ", ".join(words)} if words else {}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else value
