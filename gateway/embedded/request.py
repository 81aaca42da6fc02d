"""The body of an embeddings request, checked at the edge, and the key of each of its items. Pure."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError
from pydantic_core import PydanticCustomError

from backends.chat import Fields
from gateway.errors import InvalidRequest
from gateway.values import are_tokens
from gateway.wire import GATEWAY_FIELDS, MAX_SALT_CHARS, first_complaint, read_object

Item = str | list[int]

MAX_ITEMS = 2048  # as OpenAI's
NOT_IDENTITY = frozenset({"user", "timeout", "safety_identifier"})


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """What is to be embedded, and how the vectors are wanted."""

    model: str
    items: tuple[Item, ...]
    params: Fields  # every other field as received, without those of the gateway
    encoding: str  # "float" or "base64"
    cache: Any = None
    cache_salt: str = ""

    @property
    def is_of_floats(self) -> bool:
        """Whether nothing else than a list of floats can have been asked for."""
        given = {key for key, value in self.params.items() if key not in NOT_IDENTITY and value is not None}
        return given <= {"dimensions", "encoding_format"}

    @property
    def kind(self) -> bytes:
        """What decides, beside an item, what its vector is. How it is spelled is ours, unless it is no list of
        floats that was asked for."""
        given = {key: value for key, value in self.params.items() if key not in NOT_IDENTITY and value is not None}
        if self.is_of_floats:
            given.pop("encoding_format", None)
        else:
            given["encoding_format"] = self.encoding
        return orjson.dumps(given, option=orjson.OPT_SORT_KEYS)


def _is_item(value: Any) -> bool:
    if isinstance(value, str):
        return value != ""
    return isinstance(value, list) and bool(value) and are_tokens(value, 2**32)


def _input(value: Any) -> Any:
    if _is_item(value):
        return value
    if value in ("", []):
        raise PydanticCustomError("twicetold", "is empty")
    if not isinstance(value, list):
        raise PydanticCustomError("twicetold", "must be a text, a list of texts, tokens, or a list of lists of tokens")
    for index, item in enumerate(value):
        if not _is_item(item):
            told = "is empty" if item in ("", []) else "must be a text or a list of tokens"
            raise PydanticCustomError("twicetold", "item {index} {told}", {"index": index, "told": told})
    if len(value) > MAX_ITEMS:
        raise PydanticCustomError(
            "twicetold", "holds {n} items; at most {most} are taken", {"n": len(value), "most": MAX_ITEMS}
        )
    return value


class EmbeddingsBody(BaseModel):
    """The fields whose type the gateway relies on; a backend judges the rest."""

    model_config = ConfigDict(extra="allow")
    model: Annotated[StrictStr, Field(min_length=1, max_length=512)]
    input: Annotated[Any, AfterValidator(_input)]
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    cache_salt: Annotated[StrictStr, Field(min_length=1, max_length=MAX_SALT_CHARS)] | None = None


def parse_embeddings(raw: bytes) -> EmbeddingRequest:
    """The request. Raises `InvalidRequest` naming the field."""
    body = read_object(raw, "input")
    try:
        EmbeddingsBody.model_validate(body)
    except ValidationError as error:
        raise first_complaint(error) from error
    given = body["input"]
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"The body cannot be written as JSON: {error}.") from error
    apart = {"model", "input"} | GATEWAY_FIELDS
    return EmbeddingRequest(
        body["model"],
        (given,) if _is_item(given) else tuple(given),
        {key: value for key, value in body.items() if key not in apart},
        body.get("encoding_format") or "float",
        body.get("cache"),
        body.get("cache_salt") or "",
    )


def item_key(secret: bytes, scope: bytes, kind: bytes, item: Item) -> bytes:
    """32 bytes, equal for two items exactly when they have one vector. A text counts as it is, letter for letter."""
    said = b"text\0" + item.encode("utf-8", "surrogatepass") if isinstance(item, str) else b"ids\0" + orjson.dumps(item)
    length = len(kind).to_bytes(8, "little")
    return blake2b(scope + length + kind + said, key=secret, digest_size=32, person=b"embedding").digest()
