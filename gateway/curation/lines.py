"""The lines of an export: what each may hold, and how far a reader is. `portable.py` makes entries of them.

    {"kind": "header", "format": "twicetold-answers", "version": 1, "home": "...", "made_s": ...}
    {"kind": "entry", "cursor": "...", "home": "...", "id": "e_...", "tenant": ..., "request": {}, "answer": {}, ...}
    {"kind": "end", "entries": 2, "skipped": 0}

`home` tells gateways of one secret.
"""

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from gateway.controls import MAX_NAME_CHARS, MAX_TAGS
from gateway.errors import InvalidRequest
from gateway.values import check_values
from gateway.wire import first_complaint

MAX_KEPT_TAGS = 1 + 3 * MAX_TAGS  # of a copy of a shared answer: its own, and whose that was, and marks of its tags
FORMAT, VERSION = "twicetold-answers", 1
MAX_LINE_VALUES = 1_000_000  # a long answer has as many, with log probabilities of others for each token

Name = Annotated[StrictStr, Field(max_length=512)]
Moment = Annotated[float, Field(strict=True, ge=0, le=10**11)]
Count = Annotated[StrictInt, Field(ge=0, le=10**12)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChoiceLine(_Strict):
    message: dict[str, Any]
    finish_reason: StrictStr | None
    logprobs: dict[str, Any] | None = None


class UsageLine(_Strict):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    cached_tokens: Count = 0
    extra: dict[str, Any] = {}


class AnswerLine(_Strict):
    v: Literal[1] = 1
    choices: Annotated[list[ChoiceLine], Field(min_length=1, max_length=1024)]
    usage: UsageLine = UsageLine()
    extra: dict[str, Any] = {}


class SaltedLine(_Strict):
    """Where what was asked under a cache_salt lies: good at home only, and only if we wrote it."""

    scope: Annotated[StrictStr, Field(pattern="^[0-9a-f]{64}$")]
    mark: StrictStr


class EntryLine(_Strict):
    """One entry."""

    kind: Literal["entry"]
    cursor: StrictStr = ""
    home: StrictStr
    id: Name = ""
    tenant: Name
    namespace: Name = ""
    model: Annotated[StrictStr, Field(min_length=1, max_length=512)]
    revision: Name = ""
    salted: SaltedLine | None = None
    request: dict[str, Any]
    question: StrictStr | None = None
    answer: AnswerLine
    created_s: Moment
    expires_s: Moment | None = None
    elapsed_s: Annotated[float, Field(strict=True, ge=0, le=10**7)] = 0.0
    sliding_s: Annotated[float, Field(strict=True, gt=0, le=10**10)] | None = None
    tags: Annotated[
        list[Annotated[StrictStr, Field(min_length=1, max_length=MAX_NAME_CHARS)]], Field(max_length=MAX_KEPT_TAGS)
    ] = []
    original: dict[str, Any] | None = None  # of an alias: the request whose answer this is
    hits: Count = 0
    good: Count = 0
    bad: Count = 0
    schema_: Annotated[StrictInt, Field(alias="schema")]


def home_of(secret: bytes) -> str:
    """What tells gateways of one secret from all others, and tells nothing of it."""
    return blake2b(key=secret, digest_size=8, person=b"home").hexdigest()


def header_line(secret: bytes) -> bytes:
    head = {"kind": "header", "format": FORMAT, "version": VERSION, "home": home_of(secret), "made_s": time.time()}
    return orjson.dumps(head) + b"\n"


def end_line(entries: int, skipped: int) -> bytes:
    return orjson.dumps({"kind": "end", "entries": entries, "skipped": skipped}) + b"\n"


def parsed(raw: bytes) -> EntryLine | None:
    """What a line says of an entry; None for the first and the last line. Raises `InvalidRequest` naming the field."""
    check_values(raw, MAX_LINE_VALUES)
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"not JSON: {error}") from error
    kind = values.get("kind") if isinstance(values, dict) else None
    if kind in ("header", "end"):
        _check_header(values)
        return None
    if kind != "entry":
        raise InvalidRequest("not a line of an export: kind must be entry, header or end.", "kind")
    try:
        return EntryLine.model_validate(values)
    except ValidationError as error:
        raise first_complaint(error) from error


def cursor_of(place: tuple[float | int, ...]) -> str:
    return urlsafe_b64encode(orjson.dumps(place)).decode()


def place_of(cursor: str, length: int) -> tuple[float, ...]:
    """What `cursor_of` made. Raises `InvalidRequest`."""
    try:
        place = orjson.loads(urlsafe_b64decode(cursor))
        if isinstance(place, list) and len(place) == length and all(type(one) in (int, float) for one in place):
            return tuple(place)
    except ValueError:
        pass
    raise InvalidRequest("after must be the cursor of a line of an earlier export.", "after")


def _check_header(values: dict[str, Any]) -> None:
    if values["kind"] != "header":
        return
    if values.get("format") != FORMAT or values.get("version") != VERSION:
        said = f"{values.get('format')} version {values.get('version')}"
        raise InvalidRequest(f"the file is {said}; this gateway reads {FORMAT} version {VERSION}.", "version")
