"""OpenAI's chat completions and the servers that follow them closely.

What such a server does differently is told by two functions: `amend` changes a body before it is sent, `usage` finds
the usage of a chunk or of a whole answer and spells it as OpenAI does.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from backends.base import Model
from backends.chat import ChatRequest, Fields
from backends.flavours.base import Endpoints, Flavour, Reader, Wishes
from backends.flavours.completions import completions_api
from backends.flavours.embeddings import embeddings_api
from backends.flavours.responses import responses_api
from backends.http import api_root
from backends.openai_wire import (
    Amend,
    Dialect,
    StreamReader,
    as_it_is,
    error_from_reply,
    parse_completion,
    request_body,
    usage_of,
    write_json,
)
from backends.plain import plain


def endpoints(url: str) -> Endpoints:
    """The usual three, under `/v1` unless the URL names a version."""
    return Endpoints(api_root(url), "/chat/completions", "/models")


def bearer(key: str) -> Mapping[str, str]:
    """The key as OpenAI wants it."""
    return {"authorization": f"Bearer {key}"} if key else {}


def openai_like(
    name: str,
    amend: Amend = as_it_is,
    dialect: Dialect | None = None,
    *,
    takes_predictions: bool = False,
    has_responses: bool = True,
    worded: Callable[[ChatRequest], ChatRequest] = plain,
) -> Flavour:
    """A flavour that differs from OpenAI's in what `amend` and `dialect` say, and may not know its `prediction`.

    `has_responses`: such a server may have the Responses API, and is tried. `worded` leaves out, or says otherwise,
    what such a server has no words for.
    """
    spoken = dialect or Dialect()

    def write(request: ChatRequest, wishes: Wishes) -> bytes:
        return request_body(worded(request), predicts=wishes.predicts and takes_predictions, amend=amend)

    def reader(upstream: str, request: ChatRequest) -> Reader:
        wanted = request.params.get("n")
        return StreamReader(upstream, wanted if isinstance(wanted, int) else 1, spoken)

    return Flavour(
        name,
        endpoints,
        bearer,
        write,
        reader,
        lambda payload, upstream: parse_completion(payload, upstream, spoken),
        lambda status, headers, body, upstream: error_from_reply(status, headers, body, upstream, spoken),
        read_model,
        completions=completions_api(spoken, amend),
        responses=responses_api(amend) if has_responses else None,
        embeddings=embeddings_api(),
    )


def read_model(item: Fields, revision: str, owner: str) -> Model:
    """An item of `GET /v1/models`; engines say the length of the context too."""
    created, context = item.get("created"), item.get("max_model_len")
    return Model(
        str(item["id"]),
        revision,
        context_tokens=context if isinstance(context, int) else None,
        created=created if isinstance(created, int) else 0,
        owned_by=str(item.get("owned_by") or owner),
    )


def cached_elsewhere(wire: Fields) -> Fields | None:
    """The usage, with the cached tokens where OpenAI has them though they were told under another name."""
    found = usage_of(wire)
    if found is None:
        return None
    return with_cached(found, next((found[name] for name in _CACHED if found.get(name) is not None), None))


def with_cached(usage: Fields, cached: object) -> Fields:
    """The usage with a count of cached tokens where OpenAI has it, unless there is one already or none was told."""
    details = usage.get("prompt_tokens_details") or {}
    if not isinstance(cached, int) or isinstance(details.get("cached_tokens"), int):
        return usage
    return {**usage, "prompt_tokens_details": {**details, "cached_tokens": cached}}


def _mistral(body: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    """Mistral keeps the prompts that name a key; what a conversation of a tenant begins with is as good as a name."""
    if not request.use_kv or body.get("prompt_cache_key"):
        return body
    beginning = write_json({"salt": request.kv_salt, "tools": body.get("tools"), "first": body["messages"][:2]})
    return {**body, "prompt_cache_key": blake2b(beginning, digest_size=16).hexdigest()}


def _gemini_usage(wire: Fields) -> Fields | None:
    """Gemini leaves what was thought out of the completion's tokens, and in the total's."""
    found = usage_of(wire)
    if found is None:
        return None
    told = [found.get(f"{kind}_tokens") or 0 for kind in ("total", "prompt", "completion")]
    if not all(isinstance(count, int) for count in told) or told[0] <= told[1] + told[2]:
        return found
    details = found.get("completion_tokens_details") or {}
    thought = {"reasoning_tokens": told[0] - told[1] - told[2], **{k: v for k, v in details.items() if v is not None}}
    return {**found, "completion_tokens": told[0] - told[1], "completion_tokens_details": thought}


# Whoever is called "openai" may be any of the many that speak it, so every name is read that is known.
_CACHED = ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens")  # DeepSeek, Mistral, Moonshot
_ELSEWHERE = Dialect(cached_elsewhere)

OPENAI = openai_like("openai", dialect=_ELSEWHERE, takes_predictions=True)
DEEPSEEK = openai_like("deepseek", dialect=_ELSEWHERE, has_responses=False)
MISTRAL = openai_like("mistral", _mistral, _ELSEWHERE, takes_predictions=True, has_responses=False)
GEMINI = openai_like("gemini", dialect=Dialect(_gemini_usage), has_responses=False)
OLLAMA = openai_like("ollama")  # newer ones count what was cached in OpenAI's field; older say nothing
