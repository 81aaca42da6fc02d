"""OpenAI's text completions: a raw prompt goes out as it stands, and what follows it is read as chat's choices are."""

from dataclasses import replace
from typing import Any

from backends.chat import ChatRequest
from backends.errors import BackendGarbage
from backends.flavours.base import Api, Reader, Wishes
from backends.openai_wire import Amend, Dialect, StreamReader, parse_completion, request_body


def completions_api(dialect: Dialect, amend: Amend) -> Api:
    """The text completions of a server whose chat speaks this dialect."""
    spoken = replace(dialect, choice=_as_chat)

    def as_completion(body: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
        return _body(amend(body, request), request)

    def write(request: ChatRequest, _: Wishes) -> bytes:
        return request_body(request, amend=as_completion)

    def reader(upstream: str, request: ChatRequest) -> Reader:
        wanted = request.params.get("n")
        return StreamReader(upstream, wanted if isinstance(wanted, int) else 1, spoken)

    return Api("/completions", write, reader, lambda payload, upstream: parse_completion(payload, upstream, spoken))


def _body(body: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    """The prompt in the place of the messages, and a number of log probabilities where chat has two fields."""
    body = {key: value for key, value in body.items() if key not in ("messages", "logprobs", "top_logprobs")}
    if request.params.get("logprobs"):
        body["logprobs"] = request.params.get("top_logprobs") or 0
    return {**body, "prompt": request.prompt}


def _as_chat(choice: Any) -> Any:
    """A choice with its text where chat has a message; what is none is told apart by who reads it."""
    if not isinstance(choice, dict):
        return choice
    text = choice.get("text")
    if not isinstance(text, str | None):
        raise BackendGarbage("a server sent a text completion whose text is none")
    said = {"role": "assistant", "content": text or ""}
    return {**choice, "delta": {"content": text} if text else {}, "message": said}
