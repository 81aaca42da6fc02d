"""The arguments of calls, as types."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from twicetold.answers import Message
from twicetold.controls import CacheOptions

OneMessage: TypeAlias = Mapping[str, Any] | Message
Messages: TypeAlias = str | Sequence[OneMessage]


class CallOptions(CacheOptions, total=False):
    """What every generating call takes beside the cache's own."""

    timeout: float  # seconds, of this call
    extra_body: Mapping[str, Any]  # fields that have no name here
    extra_headers: Mapping[str, str]


class ChatOptions(CallOptions, total=False):
    """OpenAI's fields; the server judges their values."""

    temperature: float
    top_p: float
    max_tokens: int
    max_completion_tokens: int
    stop: str | Sequence[str]
    n: int
    seed: int
    logprobs: bool
    top_logprobs: int
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[str, float]
    tools: Sequence[Mapping[str, Any]]
    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool
    response_format: Mapping[str, Any]
    reasoning_effort: str
    prediction: Mapping[str, Any]
    prompt_cache_key: str
    user: str
    metadata: Mapping[str, str]


class ResponseOptions(CallOptions, total=False):
    """OpenAI's fields of /v1/responses."""

    instructions: str
    max_output_tokens: int
    temperature: float
    top_p: float
    tools: Sequence[Mapping[str, Any]]
    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool
    text: Mapping[str, Any]
    reasoning: Mapping[str, Any]
    previous_response_id: str
    include: Sequence[str]
    store: bool
    user: str
    metadata: Mapping[str, str]


class EmbeddingOptions(CallOptions, total=False):
    """OpenAI's fields of /v1/embeddings."""

    dimensions: int
    user: str


class PrefixOptions(TypedDict, total=False):
    """Of a prefix to compute."""

    tools: Sequence[Mapping[str, Any]]
    namespace: str
    cache_salt: str
    pin: bool


class ExportCriteria(TypedDict, total=False):
    """What an export is of; every criterion that is given must hold."""

    tenant: str
    model: str
    namespace: str
    tag: str
    after: str  # the cursor of the last line of an export that broke off


class ImportOptions(TypedDict, total=False):
    """What an import is to do."""

    on_conflict: Literal["newer", "replace", "keep"]  # which stays where both have an answer
    into: str  # the tenant that gets everything
    map: Mapping[str, str]  # tenants by the tenants they were
    dry_run: bool
