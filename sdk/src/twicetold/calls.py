"""Every call of the API as a value: what to send, and how to read what comes back. The clients only send. No I/O."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeAlias, cast, runtime_checkable
from urllib.parse import quote

from twicetold import admin, controls
from twicetold.answers import ChatAnswer, Chunk, Message
from twicetold.cache import CacheInfo
from twicetold.decoding import ChunkDecoder, LineDecoder, ResponseEventDecoder
from twicetold.embeddings import Embeddings
from twicetold.options import Messages, OneMessage
from twicetold.responses import ResponseAnswer
from twicetold.sending import JSON, Call, Headers, Sent, StreamCall
from twicetold.store import Kept, Lookup
from twicetold.writing import dump, listed, several, wanted

Options = Mapping[str, Any]  # of twicetold.options
Verdict = Literal["good", "bad"]

LINES = "application/x-ndjson"


@runtime_checkable
class Dumped(Protocol):
    """A model of pydantic, as the openai package answers with."""

    def model_dump(self, **how: Any) -> Any: ...


Answer: TypeAlias = str | ChatAnswer | JSON | Dumped  # what may be kept


# -- answers -----------------------------------------------------------------------------------------------------------


def chat(messages: Messages, model: str, options: Options) -> Call[ChatAnswer]:
    def read(wire: JSON, headers: Headers) -> ChatAnswer:
        return ChatAnswer.read(wire, CacheInfo.from_headers(headers))

    return Call(_generating("/v1/chat/completions", chat_body(messages, model), options), read)


def chat_stream(messages: Messages, model: str, options: Options) -> StreamCall[Chunk]:
    body = {**chat_body(messages, model), "stream": True, "stream_options": {"include_usage": True}}
    return StreamCall(_generating("/v1/chat/completions", body, options), ChunkDecoder)


def respond(input_: str | Sequence[JSON], model: str, options: Options) -> Call[ResponseAnswer]:
    def read(wire: JSON, headers: Headers) -> ResponseAnswer:
        return ResponseAnswer.read(wire, CacheInfo.from_headers(headers))

    return Call(_generating("/v1/responses", respond_body(input_, model), options), read)


def respond_stream(input_: str | Sequence[JSON], model: str, options: Options) -> StreamCall[JSON]:
    body = {**respond_body(input_, model), "stream": True}
    return StreamCall(_generating("/v1/responses", body, options), ResponseEventDecoder)


def embeddings(input_: str | Sequence[str], model: str, options: Options) -> Call[Embeddings]:
    def read(wire: JSON, _headers: Headers) -> Embeddings:
        return Embeddings.read(wire)

    texts = input_ if isinstance(input_, str) else listed("input", "a text or a list of texts", input_)
    body = {"model": model, "input": texts}
    return Call(_generating("/v1/embeddings", body, options), read)


def models() -> Call[list[str]]:
    return Call(Sent("GET", "/v1/models"), lambda wire, _: [model["id"] for model in wire["data"]])


# -- the cache without the proxy ---------------------------------------------------------------------------------------


def lookup(messages: Messages, model: str, options: Options) -> Call[Lookup]:
    request, headers, timeout_s = _request(chat_body(messages, model), options)
    sent = Sent("POST", "/v1/cache/lookup", dump({"request": request}), headers=headers, timeout_s=timeout_s)
    return Call(sent, lambda wire, _: Lookup.read(wire))


def put(
    messages: Messages,
    answer: Any,
    model: str,
    options: Options,
    *,
    lookup: Lookup | str | None = None,
    elapsed_s: float | None = None,
) -> Call[Kept]:
    request, headers, timeout_s = _request(chat_body(messages, model), options)
    body = {"request": request, **_answered(answer)}
    if lookup is not None:
        body["lookup"] = lookup if isinstance(lookup, str) else lookup.id
    if elapsed_s is not None:
        body["elapsed_s"] = float(elapsed_s)
    sent = Sent("PUT", "/v1/cache/entries", dump(body), headers=headers, timeout_s=timeout_s)
    return Call(sent, lambda wire, _: Kept.read(wire))


def feedback(answer: Any, verdict: Verdict | bool, comment: str = "", entry: str | None = None) -> Call[admin.Said]:
    """`answer` is a response, or its id."""
    word = verdict if isinstance(verdict, str) else "good" if verdict else "bad"
    name = {"entry": entry} if entry is not None else {"id": id_of(answer)}
    body = {**name, "verdict": word, **({"comment": comment} if comment else {})}
    return Call(Sent("POST", "/v1/cache/feedback", dump(body)), lambda wire, _: admin.Said.read(wire))


# -- the operator's ----------------------------------------------------------------------------------------------------


def stats() -> Call[admin.Stats]:
    return Call(_admin("GET", "/stats"), lambda wire, _: admin.Stats.read(wire))


def entries(criteria: Mapping[str, str | None], limit: int, after: str | None) -> Call[admin.EntryPage]:
    query = {**criteria, "limit": str(limit), "after": after}
    return Call(_admin("GET", "/entries", query=query), lambda wire, _: admin.EntryPage.read(wire))


def entry(entry_id: str) -> Call[admin.WholeEntry]:
    return Call(_admin("GET", f"/entries/{quote(entry_id, safe='')}"), lambda wire, _: admin.WholeEntry.read(wire))


def delete_entry(entry_id: str) -> Call[int]:
    sent = _admin("DELETE", f"/entries/{quote(entry_id, safe='')}")
    return Call(sent, lambda wire, _: cast("int", wire["count"]))


def invalidate(criteria: Mapping[str, Any], *, dry_run: bool) -> Call[admin.Invalidation]:
    body = {**{name: value for name, value in criteria.items() if value is not None}, "dry_run": dry_run}
    return Call(_admin("POST", "/invalidate", body), lambda wire, _: admin.Invalidation.read(wire))


def explain(messages: Messages, model: str, options: Options, api_key: str) -> Call[JSON]:
    request, headers, _ = _request(chat_body(messages, model), options)
    body = {"request": request, "api_key": api_key, "cache_control": headers.get("cache-control", "")}
    return Call(_admin("POST", "/explain", body), lambda wire, _: wire)


def explain_response(response_id: str) -> Call[JSON]:
    return Call(_admin("GET", f"/explain/{quote(response_id, safe='')}"), lambda wire, _: wire)


def warm(
    question: Messages, model: str, options: Options, api_key: str | None, *, refresh: bool
) -> Call[Literal["stored", "present", "not_kept"]]:
    request, _, timeout_s = _request(chat_body(question, model), options)
    sent = _admin("POST", "/warm", {"request": request, "api_key": api_key or "", "refresh": refresh})
    return Call(replace(sent, timeout_s=timeout_s), lambda wire, _: wire["state"])


def questions_of(given: str | Iterable[Messages]) -> Iterable[Messages]:
    """A text is one question, not as many as it has letters."""
    return (given,) if isinstance(given, str) else several("questions", "a text or a list of questions", given)


def warm_prefix(messages: Messages, model: str, options: Options, api_key: str | None) -> Call[JSON]:
    said = {name: options[name] for name in _OF_PREFIXES if name in options}
    body = {**chat_body(messages, model), "api_key": api_key or "", **said}
    return Call(_admin("POST", "/kv/warm", body), lambda wire, _: wire)


_OF_PREFIXES = ("tools", "namespace", "cache_salt", "pin")  # the others of a client's own say nothing to an engine


def any_admin(method: str, path: str, body: JSON | None, query: Options) -> Call[Any]:
    sent = replace(_admin(method, path, body, query=query), is_repeatable=method.upper() in ("GET", "PUT", "DELETE"))
    return Call(sent, lambda wire, _: wire)


def export(criteria: Options) -> StreamCall[JSON]:
    return StreamCall(_admin("GET", "/export", query=criteria), LineDecoder)


def import_lines(content: bytes, first: int, options: Options) -> Call[admin.Imported]:
    query = [("first", str(first)), *(pair for name, value in options.items() for pair in _pairs(name, value))]
    sent = Sent("POST", "/admin/api/import", content, LINES, query, is_admin=True)
    return Call(sent, lambda wire, _: admin.Imported.read(wire))


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [(name, f"{old}={new}") for old, new in value.items()]
    return [(name, str(value).lower() if isinstance(value, bool) else str(value))]


def id_of(answer: Any) -> str:
    """Of a response, or the id itself."""
    found = answer if isinstance(answer, str) else getattr(answer, "id", None)
    if not isinstance(found, str):
        raise TypeError(f"a response or its id is wanted, not {answer!r}")
    return found


def body_of(call: Call[Any]) -> Any:
    """What it sends, as JSON, for somebody else's client to send."""
    return json.loads(call.sent.body or b"null")


def text_of(answer: Any) -> Any:
    """What an answer says; what is no answer is its own value."""
    if isinstance(answer, str):
        return answer
    try:
        return ChatAnswer.read({"id": "", **_answered(answer)["response"]}, _OWN).text
    except (LookupError, TypeError, AttributeError):
        return answer


_OWN = CacheInfo("full", "made by the caller", None, None, None, None, None)


# -- parts -------------------------------------------------------------------------------------------------------------


def chat_body(messages: Messages, model: str) -> dict[str, Any]:
    """A text is one user's message."""
    if isinstance(messages, str):
        return {"model": model, "messages": [{"role": "user", "content": messages}]}
    given = listed("messages", "a text or a list of messages", messages)
    return {"model": model, "messages": [_message(message, at) for at, message in enumerate(given)]}


def _message(message: OneMessage, at: int) -> JSON:
    if isinstance(message, Message):
        return message.raw
    if not isinstance(message, Mapping):
        raise wanted(f"messages[{at}]", "a message in OpenAI's JSON, or of an answer,", message)
    return message


def respond_body(input_: str | Sequence[JSON], model: str) -> dict[str, Any]:
    items = input_ if isinstance(input_, str) else listed("input", "a text or a list of items", input_)
    return {"model": model, "input": items}


def _request(body: Mapping[str, Any], options: Options) -> tuple[dict[str, Any], dict[str, str], float | None]:
    """A body with its options, the headers they need, and its timeout."""
    said, others = controls.split(options)
    given = {name: value for name, value in others.items() if name not in _NOT_IN_BODY and value is not None}
    extra, timeout_s = others.get("extra_body") or {}, others.get("timeout")
    headers = {**controls.header_fields(said), **(others.get("extra_headers") or {})}
    return {**given, **controls.body_fields(said), **body, **extra}, headers, timeout_s


_NOT_IN_BODY = frozenset({"extra_body", "extra_headers", "timeout"})


def _generating(path: str, body: Mapping[str, Any], options: Options) -> Sent:
    whole, headers, timeout_s = _request(body, options)
    return Sent("POST", path, dump(whole), headers=headers, timeout_s=timeout_s)


def _answered(answer: Any) -> dict[str, Any]:
    """What a put may give: a text, a chat completion as JSON, an answer of ours, or a model of the openai package."""
    if isinstance(answer, str):
        return {"answer": answer}
    if isinstance(answer, ChatAnswer):
        return {"response": answer.raw}
    if isinstance(answer, Mapping):
        return {"response": answer}
    if isinstance(answer, Dumped):
        return {"response": answer.model_dump(mode="json", exclude_unset=True)}
    raise wanted("answer", "a text, or a chat completion as JSON or as a model of openai's,", answer)


def _admin(method: str, path: str, body: JSON | None = None, *, query: Options | None = None) -> Sent:
    said = [(name, str(value)) for name, value in (query or {}).items() if value is not None]
    return Sent(method, f"/admin/api{path}", None if body is None else dump(body), query=said, is_admin=True)
