"""The arguments of the official client's methods and ours, as types. For type checkers alone: the official ones are
TypedDicts of typing_extensions, which cannot be joined with typing's at run time."""

from collections.abc import Mapping
from typing import Any, TypedDict

from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsBase as CompletionParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase as ResponseParams

from twicetold.controls import CacheOptions


class Extra(TypedDict, total=False):
    """What every call of the official client takes."""

    extra_headers: Mapping[str, Any] | None
    extra_query: Mapping[str, object] | None
    extra_body: object | None
    timeout: Any  # a number, or a Timeout of the client's own httpx


class ChatArguments(ChatParams, CacheOptions, Extra, total=False):
    """Of `chat.completions.create`."""


class CompletionArguments(CompletionParams, CacheOptions, Extra, total=False):
    """Of `completions.create`."""


class ResponseArguments(ResponseParams, CacheOptions, Extra, total=False):
    """Of `responses.create`."""
