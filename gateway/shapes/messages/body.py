"""The body of a message request, checked at the edge: what the gateway relies on; a backend judges the rest."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

from gateway.wire import MAX_SALT_CHARS

Blocks = list[dict[str, Any]]


def _complaint(text: str) -> PydanticCustomError:
    return PydanticCustomError("twicetold", "{text}", {"text": text})


def _text(block: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(block.get(name), str):
            raise _complaint(f"must have a text as its {name}")


def _source(block: Mapping[str, Any]) -> None:
    source = block.get("source")
    if not isinstance(source, Mapping) or not isinstance(source.get("type"), str):
        raise _complaint("must have a source with a type")
    for name in {"base64": ("media_type", "data"), "url": ("url",)}.get(source["type"], ()):
        if not isinstance(source.get(name), str):
            raise _complaint(f"must have a source with a text as its {name}")


def _tool_use(block: Mapping[str, Any]) -> None:
    _text(block, "id", "name")
    if not isinstance(block.get("input"), Mapping):
        raise _complaint("must have an object as its input")


def _tool_result(block: Mapping[str, Any]) -> None:
    _text(block, "tool_use_id")
    content = block.get("content")
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _complaint("must have a text or a list of blocks as its content")
    for index, inner in enumerate(content):
        _check(inner, f"block {index} of its content ")


_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "text": lambda block: _text(block, "text"),
    "image": _source,
    "document": _source,
    "thinking": lambda block: _text(block, "thinking"),
    "redacted_thinking": lambda block: _text(block, "data"),
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}


def _check(block: Any, where: str) -> None:
    if not isinstance(block, Mapping) or not isinstance(block.get("type"), str):
        raise _complaint(f"{where}must be an object with a type")
    try:
        if check := _CHECKS.get(block["type"]):
            check(block)
    except PydanticCustomError as error:
        raise _complaint(f"{where}of type {block['type']} {(error.context or {}).get('text')}") from error


def _content(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise _complaint("must be a text or a list of blocks")
    for index, block in enumerate(value):
        _check(block, f"block {index} ")
    return value


def _system(value: Any) -> Any:
    for block in value if isinstance(value, list) else ():
        if isinstance(block, Mapping) and block.get("type") != "text":
            raise _complaint("must be a text or a list of blocks of type text")
    return None if value is None else _content(value)


_ONLY_FOR = {
    "user": frozenset({"tool_use", "thinking", "redacted_thinking"}),
    "assistant": frozenset({"tool_result"}),
    "system": frozenset({"tool_use", "tool_result", "thinking", "redacted_thinking"}),
}


class Turn(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["user", "assistant", "system"]
    content: Annotated[Any, AfterValidator(_content)]


def _is_whose(turn: Turn) -> Turn:
    for block in turn.content if isinstance(turn.content, list) else ():
        if block["type"] in _ONLY_FOR[turn.role]:
            raise _complaint(f"a turn of the {turn.role} cannot have blocks of type {block['type']}")
    return turn


def _choice(value: Any) -> Any:
    if value is not None and value.get("type") == "tool" and not isinstance(value.get("name"), str):
        raise _complaint("must have a name")
    return value


def _tools(value: Any) -> Any:
    for index, tool in enumerate(value or ()):
        if tool.get("type") not in (None, "custom"):
            continue  # one of the API's own
        if not isinstance(tool.get("name"), str) or not isinstance(tool.get("input_schema"), Mapping):
            raise _complaint(f"tool {index} must have a name and an input_schema")
    return value


Number = StrictInt | StrictFloat | None


class MessagesBody(BaseModel):
    """`max_tokens` may be left out: the backend's own limit holds then."""

    model_config = ConfigDict(extra="allow")
    model: Annotated[StrictStr, Field(min_length=1, max_length=512)]
    messages: Annotated[list[Annotated[Turn, AfterValidator(_is_whose)]], Field(min_length=1)]
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    system: Annotated[Any, AfterValidator(_system)] = None
    stream: StrictBool | None = None
    stop_sequences: list[StrictStr] | None = None
    temperature: Number = None
    top_p: Number = None
    top_k: StrictInt | None = None
    tools: Annotated[list[dict[str, Any]] | None, AfterValidator(_tools)] = None
    tool_choice: Annotated[dict[str, Any] | None, AfterValidator(_choice)] = None
    thinking: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    cache_salt: Annotated[StrictStr, Field(min_length=1, max_length=MAX_SALT_CHARS)] | None = None
