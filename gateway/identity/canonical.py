"""One request, three hashes. Pure.

    canonical   the request as sorted JSON: NFC text, 1.0 written 1, defaults filled in, fields that are null dropped
    exact       scope + canonical                              the same request
    compat      scope + canonical, last user text left blank   may differ only in the wording of the last question

`stream` and everything else in `NOT_IDENTITY` changes how an answer is delivered or billed, not what it says, and
is no part of any hash. Any field not known here is part of the identity: an unknown knob may change the answer.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any
from unicodedata import combining, is_normalized, normalize

import orjson

from backends.chat import NOTHING, ChatRequest, Fields
from gateway.errors import InvalidRequest

NOT_IDENTITY = frozenset(
    {
        "cache",
        "cache_salt",  # in the scope
        "metadata",
        "priority",  # when an answer comes, not what it says
        "prediction",  # a draft, which the model checks: it cannot change the answer
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "timeout",
        "user",
    }
)

# What an absent field means on OpenAI's API. A backend's own defaults, when it has them, come first.
OPENAI_DEFAULTS: Fields = {
    "frequency_penalty": 0,
    "logprobs": False,
    "n": 1,
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "temperature": 1,
    "top_p": 1,
}

MAX_DEPTH = 64
MAX_MARKS = 64
_MARKS = re.compile(rb"[^\0]{%d}" % (MAX_MARKS + 1))  # over combining classes: 0 starts a character

_SPELLED = frozenset((int, bool, type(None)))  # of one spelling each
_OF_BYTES = ("url", "data", "file_data")
_NAMES_OF_BYTES = frozenset(_OF_BYTES)
_HASHED = "blake2b:"
_BLANK = {"text": "of the last user message"}  # a mapping: no text a user writes can be equal to it


class Fingerprints:
    """The identity of one request inside one scope. All digests are 32 bytes.

    Two of them take a third of the work, and are made when they are asked for: where no exact answer is found.
    """

    __slots__ = ("_body", "_compat", "_entry_id", "_secret", "canonical", "exact", "scope")

    def __init__(self, secret: bytes, scope: bytes, exact: bytes, canonical: bytes, body: Mapping[str, Any]) -> None:
        self.scope = scope
        self.exact = exact
        self.canonical = canonical
        self._secret = secret
        self._body: Mapping[str, Any] | None = body  # canonical, until `compat` is made of it
        self._compat = b""
        self._entry_id = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprints) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[bytes, bytes, bytes]:
        return self.scope, self.exact, self.canonical

    @property
    def compat(self) -> bytes:
        if (body := self._body) is not None:
            blanked = {**body, "messages": _blank_last_user(body["messages"])}
            blank = orjson.dumps(blanked, option=orjson.OPT_SORT_KEYS)
            self._compat, self._body = _keyed(self._secret, b"compat", self.scope + blank), None
        return self._compat

    @property
    def entry_id(self) -> str:
        """Public name of the entry this request would make."""
        self._entry_id = self._entry_id or entry_id_of(self._secret, self.exact)
        return self._entry_id

    @property
    def partition(self) -> bytes:
        """Name of the vector partition: other wordings of the same question in the same setting."""
        return self.scope + self.compat


def fingerprints(secret: bytes, scope: bytes, request: ChatRequest, defaults: Fields) -> Fingerprints:
    """Hash `request` inside `scope`; `defaults` is what the backend assumes for absent fields."""
    body = _canonical_body(request, {**OPENAI_DEFAULTS, **defaults})
    return _fingerprints(secret, scope, body, orjson.dumps(body, option=orjson.OPT_SORT_KEYS))


def fingerprints_of(secret: bytes, scope: bytes, body: dict[str, Any]) -> Fingerprints:
    """The same of a canonical request that was kept. Raises `InvalidRequest` when no request is canonical like this.

    Bytes that were hashed cannot be hashed again, so what stands in their place is believed.
    """
    params = {key: value for key, value in body.items() if key != "messages"}
    request = ChatRequest("", tuple(_without_bytes(body["messages"])), _without_bytes(params))
    canonical, spelled = (
        orjson.dumps(each, option=orjson.OPT_SORT_KEYS)
        for each in (_canonical_body(request, OPENAI_DEFAULTS), _without_bytes(body))
    )
    if canonical != spelled:
        raise InvalidRequest("request is not spelled as it is kept; was it written by hand?", "request")
    return _fingerprints(secret, scope, body, orjson.dumps(body, option=orjson.OPT_SORT_KEYS))


def fingerprints_in(secret: bytes, scope: bytes, canonical: bytes) -> Fingerprints:
    """The same request inside another scope."""
    return _fingerprints(secret, scope, orjson.loads(canonical), canonical)


def _fingerprints(secret: bytes, scope: bytes, body: dict[str, Any], canonical: bytes) -> Fingerprints:
    return Fingerprints(secret, scope, _keyed(secret, b"exact", scope + canonical), canonical, body)


def _without_bytes(value: Any) -> Any:
    """Without the hashes that stand for pictures, sounds and files."""
    if isinstance(value, Mapping):
        kept = ((key, item) for key, item in value.items() if not _is_hashed(key, item, (_HASHED,)))
        return {key: _without_bytes(item) for key, item in kept}
    return [_without_bytes(item) for item in value] if isinstance(value, list | tuple) else value


def entry_id_of(secret: bytes, exact: bytes) -> str:
    """The public name of the entry under a fingerprint; says nothing about it without the secret."""
    return "e_" + _keyed(secret, b"entry", exact).hex()[:24]


def question_of(request: ChatRequest) -> str | None:
    """The text of the last message if it is a user's and has any."""
    last = request.messages[-1] if request.messages else NOTHING
    if last.get("role") != "user":
        return None
    content = last.get("content")
    if isinstance(content, str):
        return content.strip() or None
    if isinstance(content, list):
        texts = [part["text"] for part in content if part.get("type") == "text"]
        return "\n".join(texts).strip() or None
    return None


def asked_of(request: ChatRequest) -> str | None:
    """What was asked, to be shown: a raw prompt, too, which has no question that other words could ask."""
    return request.prompt if isinstance(request.prompt, str) else question_of(request)


def _canonical_body(request: ChatRequest, defaults: Fields) -> dict[str, Any]:
    given = {key: value for key, value in _given(request.params).items() if key not in NOT_IDENTITY}
    body = {**defaults, **given, "messages": [_given(message) for message in request.messages]}
    if request.native is not None:
        native = {key: value for key, value in request.native.items() if key == "store" or key not in NOT_IDENTITY}
        body["responses"] = {"store": True, **_given(native)}
    if isinstance(body.get("stop"), str):
        body["stop"] = [body["stop"]]
    return {key: value if type(value) in _SPELLED else _normal(value, key) for key, value in body.items()}


def _given(fields: Fields) -> dict[str, Any]:
    """Without nulls: a null field of a request or a message was not given. Deeper, in a schema, null means null."""
    return {key: value for key, value in fields.items() if value is not None}


def _normal(value: Any, field: str, depth: int = 0) -> Any:
    """The same JSON value in its one spelling. `field` is named when it is nested too deeply."""
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"{field} is nested deeper than {MAX_DEPTH} levels.", field)
    if isinstance(value, str):
        return value if is_normalized("NFC", value) else _composed(value, field)
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        return _normal_mapping(value, field, depth + 1)
    if isinstance(value, list | tuple):
        if type(value[0] if value else None) is int and set(map(type, value)) <= {
            int
        }:  # a prompt's tokens, of which there are many
            return list(value)
        return [_normal(item, field, depth + 1) for item in value]
    return value


def _composed(text: str, field: str) -> str:
    """NFC. Sorting marks takes time quadratic in their number, so a run no language has is refused (UAX 15: 30)."""
    if _MARKS.search(bytes(map(combining, text))):
        raise InvalidRequest(f"{field} has more than {MAX_MARKS} combining marks on one character.", field)
    return normalize("NFC", text)


def _normal_mapping(value: Mapping[str, Any], field: str, depth: int) -> dict[str, Any]:
    normal = {  # most is plain, and of that there may be much
        key if key.isascii() else _normal(key, field): item
        if (type(item) is str and item.isascii()) or type(item) in _SPELLED
        else _normal(item, field, depth)
        for key, item in value.items()
    }
    for key in () if _NAMES_OF_BYTES.isdisjoint(normal) else _OF_BYTES:  # pictures, sounds, files: the bytes' hash
        inline = normal.get(key)
        if isinstance(inline, str) and _is_hashed(key, inline, ("data:", _HASHED)):  # or it could be spelled out
            normal[key] = _HASHED + blake2b(inline.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
    return normal


def _is_hashed(key: str, value: Any, beginnings: tuple[str, ...]) -> bool:
    """Whether bytes stand here, or their hash; an address stands for itself."""
    return key in _OF_BYTES and (key != "url" or (isinstance(value, str) and value.startswith(beginnings)))


def _blank_last_user(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = messages[-1] if messages else NOTHING  # what only a server of the Responses API can read is no message
    if last.get("role") != "user":
        return messages
    content = last.get("content")
    if isinstance(content, list):
        blank: Any = [{**part, "text": _BLANK} if part.get("type") == "text" else part for part in content]
    else:
        blank = _BLANK
    return [*messages[:-1], {**last, "content": blank}]


def _keyed(secret: bytes, purpose: bytes, data: bytes) -> bytes:
    return blake2b(data, key=secret, digest_size=32, person=purpose).digest()
