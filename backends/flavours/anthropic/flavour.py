"""Anthropic's Messages API as a flavour."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from backends.base import Model
from backends.chat import ChatRequest, Choice, Completion, Fields, Usage
from backends.errors import BackendGarbage
from backends.flavours.anthropic.marks import marked
from backends.flavours.anthropic.reply import MessageReader, parse_message, read_error
from backends.flavours.anthropic.request import message_body
from backends.flavours.base import Api, Endpoints, Flavour, Reader, Wishes
from backends.http import api_root
from backends.openai_wire import parse_json, write_json

_BETA = re.compile(r"[\w.:-]{1,100}", re.ASCII)
_COUNTED = (
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "mcp_servers",
    "context_management", "speed",
)  # fmt: skip
VERSION = "2023-06-01"


def _endpoints(url: str) -> Endpoints:
    return Endpoints(api_root(url.strip().rstrip("/").removesuffix("/messages")), "/messages", "/models?limit=1000")


def _headers(key: str) -> Mapping[str, str]:
    return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}


def _headers_of(request: ChatRequest) -> Mapping[str, str]:
    """The betas that a caller asks for; some change the answer, so they are among the fields of its key."""
    betas = request.params.get("anthropic_beta")
    named = betas if isinstance(betas, list | tuple) else []
    plain = [name for name in named if isinstance(name, str) and _BETA.fullmatch(name)]
    return {"anthropic-beta": ",".join(plain)} if plain else {}


def _write(request: ChatRequest, wishes: Wishes) -> bytes:
    body = message_body(request, wishes.max_tokens)
    return write_json(marked(body) if request.use_kv else body)


def _reader(upstream: str, _request: ChatRequest) -> Reader:
    return MessageReader(upstream)


def _write_count(request: ChatRequest, wishes: Wishes) -> bytes:
    """The same, of what may be said where tokens are counted."""
    body = message_body(request, wishes.max_tokens)
    return write_json({key: body[key] for key in _COUNTED if key in body})


def _read_count(payload: bytes, upstream: str) -> Completion:
    counted = parse_json(payload, upstream).get("input_tokens")
    if not isinstance(counted, int):
        raise BackendGarbage(f"{upstream} sent something that is not a count of tokens")
    return Completion((Choice({}, "stop"),), Usage(prompt_tokens=counted))


def _read_model(item: Fields, revision: str, owner: str) -> Model:
    context, created = item.get("max_input_tokens"), 0
    with suppress(ValueError, TypeError):
        created = int(datetime.fromisoformat(str(item.get("created_at"))).timestamp())
    return Model(
        str(item["id"]),
        revision,
        context_tokens=context if isinstance(context, int) else None,
        created=max(0, created),
        owned_by=owner,
    )


ANTHROPIC = Flavour(
    "anthropic",
    _endpoints,
    _headers,
    _write,
    _reader,
    parse_message,
    read_error,
    _read_model,
    headers_of=_headers_of,
    count=Api("/count_tokens", _write_count, _reader, _read_count),
)
