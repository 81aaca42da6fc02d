"""The chat vocabulary every layer shares: what is asked, and what comes back piece by piece.

A request travels down as one `ChatRequest`; an answer travels up as a stream of `Delta`. Messages and the new part
of a message keep OpenAI's own JSON spelling (`content`, `reasoning_content`, `tool_calls`, `refusal`, and whatever a
provider adds), so nothing a provider says is lost on the way through. Everything here is a value.

    stream of Delta --collect()--> Completion --replay()--> stream of Delta
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

JSON = Any
Fields = Mapping[str, JSON]
NOTHING: Fields = MappingProxyType({})
PROMPT = "prompt"  # the role of a lone message that is no message: a prompt as it stands, of no chat template

EMBEDDINGS, COUNT = "embeddings", "count"  # purposes of a request that asks for no answer


def nothing() -> Fields:
    """The default of a field; 3.11 cannot hash a mapping proxy, and so refuses one as a plain default."""
    return NOTHING


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat completion request, OpenAI's body split into what every layer reads and what it passes on."""

    model: str
    messages: tuple[Fields, ...]
    params: Fields = field(
        default_factory=nothing
    )  # every other body field as received, known to us or not, without `stream`
    stream: bool = False  # how the caller wants it; an upstream is asked the same way
    purpose: str = ""  # what is asked for instead of an answer: vectors of `params["input"]`, or the prompt's tokens
    dialect: str = ""  # "anthropic": messages and params may hold words that only its API knows (backends/plain.py)
    kv_salt: str = ""  # opaque root of prefix reuse, set by the gateway, never by a client
    use_kv: bool = True  # False: neither read nor leave KV blocks
    publish_kv: bool = True  # False: reuse what is there, leave nothing behind
    owner: str = ""  # opaque name of the tenant, for fair shares of an engine; set by the gateway
    native: Fields | None = None  # the body for a server of the Responses API; messages and params say what chat can
    needs: str = ""  # the field of it that only such a server can serve; empty: any will do
    near_answer: str = ""  # the stored answer to a question like this one: a draft, never an answer

    def body(self) -> dict[str, JSON]:
        """The OpenAI request body, without `stream`."""
        return {"model": self.model, "messages": list(self.messages), **self.params}

    @property
    def prompt(self) -> str | list[int] | None:
        """The text or the tokens to be continued as they stand; None for a conversation, which most requests are."""
        first = self.messages[0] if self.messages else NOTHING
        if first.get("role") != PROMPT:
            return None
        content = first.get("content")
        return content if isinstance(content, str) or content is None else list(content[0]["tokens"])

    @property
    def draft(self) -> str:
        """Text that the answer may repeat: the caller's own `prediction`, else the near answer."""
        prediction = self.params.get("prediction")
        return _text_of(prediction.get("content")) if isinstance(prediction, Mapping) else self.near_answer


def _text_of(content: JSON) -> str:
    """A text, or the text parts of a list joined."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


MOST_TOKENS = 10**9


def _count(number: JSON) -> int:
    """A provider's token count; what no request can have used counts as 0. Raises for what is no number."""
    count = int(number or 0)
    return count if 0 <= count <= MOST_TOKENS else 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one completion. `extra` keeps a provider's other usage fields as they came."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0  # of prompt_tokens, how many were not computed again
    extra: Fields = field(default_factory=nothing)

    @classmethod
    def from_wire(cls, wire: Fields) -> "Usage":
        """Read OpenAI's usage object; missing or null numbers count as 0, and no more is cached than there was."""
        details = wire.get("prompt_tokens_details") or {}
        prompt_tokens = _count(wire.get("prompt_tokens"))
        known = {"prompt_tokens", "completion_tokens", "total_tokens"}
        return cls(
            prompt_tokens=prompt_tokens,
            completion_tokens=_count(wire.get("completion_tokens")),
            cached_tokens=min(prompt_tokens, _count(details.get("cached_tokens"))),
            extra={key: value for key, value in wire.items() if key not in known},
        )

    def to_wire(self) -> dict[str, JSON]:
        """OpenAI's usage object; `prompt_tokens_details.cached_tokens` is always there."""
        details = {**(self.extra.get("prompt_tokens_details") or {}), "cached_tokens": self.cached_tokens}
        return {
            **self.extra,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": details,
        }


@dataclass(slots=True)  # a value as the others are; `frozen` would triple what it costs to make one, for each token
class Delta:
    """One piece of one choice. `fields` is the new part of the message, in OpenAI's streaming spelling.

    `usage` is a statement about the whole request so far, not an increment: the local engine says prompt and cached
    tokens with its first delta, everyone says the totals with the last one. A delta that carries usage alone has
    empty `fields`.
    """

    index: int = 0
    fields: Fields = field(default_factory=nothing)
    finish_reason: str | None = None
    logprobs: Fields | None = None
    usage: Usage | None = None
    extra: Fields = field(
        default_factory=nothing
    )  # envelope fields that are not the gateway's own: system_fingerprint, service_tier
    fallback: str = ""  # of a first delta: the model that answers instead of the one that was asked for

    @property
    def text(self) -> str:
        content = self.fields.get("content")
        return content if isinstance(content, str) else ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A finished choice: the whole message and how it ended."""

    message: Fields
    finish_reason: str | None
    logprobs: Fields | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, the value the answer cache keeps."""

    choices: tuple[Choice, ...]
    usage: Usage = field(default_factory=Usage)
    extra: Fields = field(default_factory=nothing)

    @property
    def text(self) -> str:
        """What the first choice says; empty when it is no text."""
        content = self.choices[0].message.get("content") if self.choices else None
        return content if isinstance(content, str) else ""

    @property
    def calls_tools(self) -> bool:
        """Whether it would have somebody's agent do something: then it is an answer to its own request alone."""
        return any(choice.message.get("tool_calls") or choice.message.get("function_call") for choice in self.choices)


class Collector:
    """Folds deltas, as they come, into the answer they spell: each is work of its own size, however many came before.

    What is put together in between is nobody's but the collector's; the pieces stay as they were.
    """

    __slots__ = ("_calls", "_extra", "_finish", "_logprobs", "_messages", "_usage")

    def __init__(self) -> None:
        self._messages: dict[int, dict[str, JSON]] = {}
        self._calls: dict[int, dict[int, dict[str, JSON]]] = {}  # of a choice: its tool calls by number
        self._finish: dict[int, str | None] = {}
        self._logprobs: dict[int, dict[str, JSON]] = {}
        self._usage = Usage()
        self._extra: dict[str, JSON] = {}

    def add(self, delta: Delta) -> None:
        """The next piece."""
        if delta.usage is not None:
            self._usage = delta.usage
        if delta.extra:
            self._extra.update(delta.extra)
        if not delta.fields and delta.finish_reason is None and delta.logprobs is None:
            return
        index, fields = delta.index, delta.fields
        message = self._messages.setdefault(index, {"role": "assistant"})
        if fields.get("tool_calls"):
            _merge_tool_calls(self._calls.setdefault(index, {}), fields["tool_calls"])
            fields = {key: value for key, value in fields.items() if key != "tool_calls"}
            message.setdefault("tool_calls", None)  # its place among the others
        _grow(message, fields)
        self._finish[index] = delta.finish_reason or self._finish.get(index)
        if delta.logprobs is not None:
            _grow(self._logprobs.setdefault(index, {}), delta.logprobs)

    def completion(self) -> Completion:
        """The answer so far."""
        choices = tuple(
            Choice(
                _finished(message, self._calls.get(index)),
                self._finish[index],
                _settled(self._logprobs[index]) if index in self._logprobs else None,
            )
            for index, message in sorted(self._messages.items())
        )
        return Completion(choices, self._usage, dict(self._extra))


def collect(deltas: Iterable[Delta]) -> Completion:
    """Fold a stream of deltas into the answer it spells."""
    collector = Collector()
    for delta in deltas:
        collector.add(delta)
    return collector.completion()


def replay(completion: Completion) -> Iterator[Delta]:
    """Spell a whole answer as deltas: per choice one with the message, one with how it ended; usage first and last."""
    for index, choice in enumerate(completion.choices):
        usage = completion.usage if index == 0 else None  # known already, so whoever reads the first delta may know
        yield Delta(index, _numbered(choice.message), logprobs=choice.logprobs, usage=usage, extra=completion.extra)
        yield Delta(index, finish_reason=choice.finish_reason, extra=completion.extra)
    yield Delta(usage=completion.usage, extra=completion.extra)


# What a piece states anew instead of adding to it; some servers repeat these in every piece.
_STATED_ONCE = frozenset({"role", "id", "type", "name"})


class _Text:
    """A text in its pieces: joined once, as joining them one by one copies what was said for each that follows."""

    __slots__ = ("pieces",)

    def __init__(self, *pieces: str) -> None:
        self.pieces = list(pieces)


def _grow(whole: dict[str, JSON], piece: Fields) -> None:
    """Add a piece: text and lists are continued, objects grow inside, null says nothing once something was said."""
    for key, value in piece.items():
        old = whole.get(key)
        if isinstance(value, str):
            if isinstance(old, _Text):
                old.pieces.append(value)
            elif isinstance(old, str) and key not in _STATED_ONCE:
                whole[key] = _Text(old, value)
            else:
                whole[key] = value
        elif value is None:
            whole.setdefault(key, None)
        elif isinstance(value, dict):
            whole[key] = old if isinstance(old, dict) else {}
            _grow(whole[key], value)
        elif isinstance(value, list):
            whole[key] = old if isinstance(old, list) else []
            whole[key].extend(value)
        else:
            whole[key] = value


def _merge_tool_calls(calls: dict[int, dict[str, JSON]], pieces: Iterable[Fields]) -> None:
    """Tool calls arrive in numbered pieces; one without a number is a call of its own."""
    for piece in pieces:
        number = piece.get("index")
        _grow(calls.setdefault(len(calls) if number is None else number, {}), piece)


def _settled(whole: Mapping[str, JSON]) -> dict[str, JSON]:
    """What has grown, its texts joined. Objects in it are the collector's; those in lists came whole."""
    return {key: _settled_value(value) for key, value in whole.items()}


def _settled_value(value: JSON) -> JSON:
    if isinstance(value, _Text):
        return "".join(value.pieces)
    return _settled(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value


def _finished(message: Mapping[str, JSON], calls: Mapping[int, Mapping[str, JSON]] | None) -> Fields:
    """A whole message: tool calls in order and without stream numbers, `content` always there."""
    whole = _settled(message)
    if calls:
        in_order = [_settled(calls[number]) for number in sorted(calls)]
        whole["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in in_order]
    whole.setdefault("content", None)
    return whole


def _numbered(message: Fields) -> Fields:
    if not message.get("tool_calls"):
        return message
    return {**message, "tool_calls": [{**call, "index": i} for i, call in enumerate(message["tool_calls"])]}
