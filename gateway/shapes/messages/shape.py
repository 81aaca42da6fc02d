"""Anthropic's messages as a shape."""

from dataclasses import replace

from backends.chat import ChatRequest, Fields
from gateway.callers.auth import Headers, read_credential
from gateway.quota.told import Dialect
from gateway.shapes.base import Parsed
from gateway.shapes.messages.errors import error_of
from gateway.shapes.messages.reply import MessageEnvelope
from gateway.shapes.messages.request import parse_messages

MAX_BETAS = 64


class MessagesShape:
    """POST /v1/messages. A stream always tells its usage."""

    route = "messages"
    dialect: Dialect = "anthropic"

    def parse(self, raw: bytes) -> Parsed:
        request, body = parse_messages(raw)
        return Parsed(request, body, body.get("cache"), body.get("cache_salt") or "", include_usage=True)

    def envelope(self, parsed: Parsed) -> MessageEnvelope:
        return MessageEnvelope(parsed.request.model)

    def error(self, status: int, body: Fields, /) -> Fields:
        return error_of(status, body)

    def with_headers(self, request: ChatRequest, headers: Headers, /) -> ChatRequest:
        """With the betas its client asks for: they may change the answer, so they are of the request."""
        said = headers.get("anthropic-beta")
        betas = [name for item in (said or "").split(",") if (name := item.strip())][:MAX_BETAS]
        return replace(request, params={**request.params, "anthropic_beta": betas}) if betas else request

    def credential(self, headers: Headers) -> str | None:
        """An Anthropic client's key comes first where it says both."""
        return headers.get("x-api-key") or read_credential(headers)
