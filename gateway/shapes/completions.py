"""POST /v1/completions: a raw prompt, continued. Kept under its own key: no chat was ever asked the same.

A prompt is no question, so no other wording of it is looked for; what is kept is the exact continuation, and its
prefix in the KV tier.
"""

import secrets
import time
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from backends.chat import PROMPT, ChatRequest, Choice, Completion, Delta, Fields, Usage
from gateway.callers.auth import Headers, read_credential
from gateway.errors import InvalidRequest
from gateway.quota.told import Dialect
from gateway.shapes.base import Parsed, data_event, dump
from gateway.values import are_tokens
from gateway.wire import MAX_CHOICES, MAX_SALT_CHARS, StreamOptions, check_params, first_complaint, read_object

MAX_PROMPTS = 64
_OWN = frozenset({"model", "prompt", "stream", "logprobs", "cache", "cache_salt"})
_OF_CHAT = ("messages", "tools", "tool_choice", "functions", "top_logprobs")


class CompletionBody(BaseModel):
    """The fields whose type the gateway relies on, and that chat has otherwise."""

    model_config = ConfigDict(extra="allow")
    model: Annotated[StrictStr, Field(min_length=1, max_length=512)]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    echo: StrictBool | None = None
    suffix: StrictStr | None = None
    best_of: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    cache_salt: Annotated[StrictStr, Field(min_length=1, max_length=MAX_SALT_CHARS)] | None = None


class CompletionsShape:
    """OpenAI's text completions."""

    route = "completions"
    dialect: Dialect = "openai"

    def parse(self, raw: bytes) -> Parsed:
        body = read_object(raw, "prompt")
        try:
            CompletionBody.model_validate(body)
        except ValidationError as error:
            raise first_complaint(error) from error
        prompts, params = _prompts(body.get("prompt")), _params(body)
        first, *others = (
            ChatRequest(body["model"], ({"role": PROMPT, "content": prompt},), params, bool(body.get("stream")))
            for prompt in prompts
        )
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        salt = body.get("cache_salt") or ""
        return Parsed(first, body, body.get("cache"), salt, include_usage, others=tuple(others))

    def envelope(self, parsed: Parsed) -> "CompletionEnvelope":
        return CompletionEnvelope(parsed.request.model, include_usage=parsed.include_usage)

    def error(self, _status: int, body: Fields, /) -> Fields:
        return body

    def with_headers(self, request: ChatRequest, _headers: Headers, /) -> ChatRequest:
        return request

    def credential(self, headers: Headers) -> str | None:
        return read_credential(headers)


def _prompts(prompt: Any) -> list[Any]:
    """Every prompt as the content of a message: a text, or its tokens in a part."""
    if prompt is None:
        raise InvalidRequest("prompt is missing.", "prompt")
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list) or not prompt:
        raise InvalidRequest("prompt: must be a text, a list of texts, or tokens.", "prompt")
    if are_tokens(prompt, 2**31):
        return [_tokens(prompt)]
    if len(prompt) > MAX_PROMPTS:
        raise InvalidRequest(f"prompt holds {len(prompt)} prompts; at most {MAX_PROMPTS} are taken.", "prompt")
    return [_one(one, f"prompt[{index}]") for index, one in enumerate(prompt)]


def _one(prompt: Any, at: str) -> Any:
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, list) or not prompt or not are_tokens(prompt, 2**31):
        raise InvalidRequest(f"{at}: must be a text or a list of tokens.", at)
    return _tokens(prompt)


def _tokens(token_ids: list[int]) -> list[Fields]:
    return [{"type": "tokens", "tokens": token_ids}]


def _params(body: Mapping[str, Any]) -> Fields:
    for name in _OF_CHAT:
        if body.get(name) is not None:
            raise InvalidRequest(f"{name} is a field of chat completions; a prompt is continued as it stands.", name)
    params = {name: value for name, value in body.items() if name not in _OWN}
    if body.get("logprobs") is not None:
        params |= {"logprobs": True, "top_logprobs": body["logprobs"]}
    check_params(params)
    return params


class CompletionEnvelope:
    """What every piece of one response repeats, and how far each choice's text has come."""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self.id = f"cmpl-{secrets.token_hex(16)}"
        self.created = int(time.time())
        self._model = model
        self._include_usage = include_usage
        self._offsets: dict[int, int] = {}

    def start(self) -> bytes:
        return b""

    def completion(self, completion: Completion, usage: Usage) -> bytes:
        choices = [self._choice(index, choice) for index, choice in enumerate(completion.choices)]
        return dump({**self._head(completion.extra), "choices": choices, "usage": usage.to_wire()})

    def chunk(self, delta: Delta) -> bytes:
        if not delta.text and delta.finish_reason is None and delta.logprobs is None:
            return b""
        choice = Choice({"content": delta.text}, delta.finish_reason, delta.logprobs)
        body = {**self._head(delta.extra), "choices": [self._choice(delta.index, choice)]}
        return data_event({**body, "usage": None} if self._include_usage else body)

    def end(self, usage: Usage, extra: Fields) -> bytes:
        done = b"data: [DONE]\n\n"
        if not self._include_usage:
            return done
        return data_event({**self._head(extra), "choices": [], "usage": usage.to_wire()}) + done

    def error_event(self, _status: int, body: Fields, /) -> bytes:
        return data_event(body)

    def _head(self, extra: Fields) -> dict[str, Any]:
        named = {"id": self.id, "object": "text_completion", "created": self.created, "model": self._model}
        return {**named, **extra}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        text = choice.message.get("content")
        return {
            "index": index,
            "text": text if isinstance(text, str) else "",
            "logprobs": self._logprobs(index, choice.logprobs),
            "finish_reason": choice.finish_reason,
        }

    def _logprobs(self, index: int, logprobs: Fields | None) -> Fields | None:
        """As this API has them: lists side by side. A server of this API has said them so; the engine says chat's."""
        content = (logprobs or {}).get("content")
        if logprobs is None or not isinstance(content, list | tuple):
            return logprobs
        offset, offsets = self._offsets.get(index, 0), []
        for token in content:
            offsets.append(offset)
            offset += len(token["token"])
        self._offsets[index] = offset
        likeliest = [{one["token"]: one["logprob"] for one in token["top_logprobs"]} for token in content]
        return {
            "tokens": [token["token"] for token in content],
            "token_logprobs": [token["logprob"] for token in content],
            "top_logprobs": likeliest if any(likeliest) else None,
            "text_offset": offsets,
        }
