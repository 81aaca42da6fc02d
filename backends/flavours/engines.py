"""Engines people run themselves. Tenants share no prefix on those that take a salt: the gateway sets it.

What a client says about the salt never gets here: the gateway has hashed it into `ChatRequest.kv_salt`, of which an
engine only sees a digest. A cold run gets a salt of its own, so it finds nothing and leaves nothing to be found.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any

from backends.base import Model
from backends.chat import ChatRequest, Fields
from backends.flavours import figures
from backends.flavours.base import Endpoints
from backends.flavours.openai import openai_like, read_model, with_cached
from backends.http import api_root
from backends.openai_wire import Dialect, usage_of


def engine_salt(request: ChatRequest) -> str:
    """32 hex digits (vLLM takes up to 128 characters and no slashes), equal for requests that may share a prefix."""
    if not request.use_kv:
        return secrets.token_hex(16)
    return blake2b(request.kv_salt.encode(), digest_size=16, person=b"engine salt").hexdigest()


def salted(body: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    """vLLM and SGLang: prefixes are found under the salt they were made with."""
    return {**body, "cache_salt": engine_salt(request)}


def _llamacpp(body: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    """llama.cpp keeps prefixes per slot and chooses the slot itself; a client's choice could be another's."""
    body = {key: value for key, value in body.items() if key not in ("id_slot", "cache_salt")}
    return {**body, "cache_prompt": request.use_kv and body.get("cache_prompt") is not False}


def _llamacpp_usage(wire: Fields) -> Fields | None:
    """Its usage; servers from before it counted cached tokens say so in `timings`, with the last piece."""
    timings = wire.get("timings")
    found = usage_of(wire)
    if not timings:
        return found
    cached = timings.get("cache_n")
    if found is not None:
        return with_cached(found, cached)
    if not any(choice.get("finish_reason") for choice in wire.get("choices") or ()):
        return None  # timings of every token, when a caller asked for them
    counts = {
        "prompt_tokens": (timings.get("prompt_n") or 0) + (cached or 0),
        "completion_tokens": timings.get("predicted_n") or 0,
    }
    return with_cached(counts, cached)


def _twicetold(body: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    """Another gateway of this kind: its engine is asked for, not its stored answers, which are ours to keep."""
    tiers = ["kv"] if request.use_kv else []
    wish: dict[str, Any] = {"tiers": tiers, **({} if request.publish_kv else {"no-store": True})}
    return {**salted(body, request), "cache": wish}


def _endpoints(health: str, url: str) -> Endpoints:
    """The usual ones, and the health that an engine tells beside its API."""
    root = api_root(url)
    base = root.removesuffix("/v1")
    path = root.removeprefix(base)
    return Endpoints(base, f"{path}/chat/completions", f"{path}/models", health, "/metrics")


def _llamacpp_model(item: Fields, revision: str, owner: str) -> Model:
    """What is there, with the tokens of one slot."""
    meta = item.get("meta")
    context = meta.get("n_ctx") if isinstance(meta, Mapping) else None
    return replace(read_model(item, revision, owner), context_tokens=context if isinstance(context, int) else None)


# What llama.cpp's server throws on reading a request is a 500 unless it is an `invalid_argument` (tools/server).
_LLAMACPP_BLAMES = re.compile(
    r"(?P<context>context size has been exceeded|exceeds the available context|input [^.]*too large to process"
    r"|context shift is disabled)|(?:image|audio|video) input is not supported|not support multimodal"
    r"|unsupported content part|unsupported param|requires --jinja|failed to (?:load|download) (?:image|audio)"
    r"|invalid base64|cannot use both|failed to parse (?:messages|tools|grammar)|jinja exception|roles must alternate",
    re.IGNORECASE,
)
_LLAMACPP = Dialect(_llamacpp_usage, fleeting=frozenset({"timings"}), blames=_LLAMACPP_BLAMES)

VLLM = replace(openai_like("vllm", salted), endpoints=partial(_endpoints, "/health"), figures=figures.VLLM)
SGLANG = replace(openai_like("sglang", salted), endpoints=partial(_endpoints, "/health"), figures=figures.SGLANG)
LLAMACPP = replace(
    openai_like("llamacpp", _llamacpp, _LLAMACPP),
    endpoints=partial(_endpoints, "/health"),
    read_model=_llamacpp_model,
    figures=figures.LLAMACPP,
)
TWICETOLD = replace(
    openai_like("twicetold", _twicetold, takes_predictions=True, worded=lambda request: request),
    endpoints=partial(_endpoints, "/readyz"),
)
