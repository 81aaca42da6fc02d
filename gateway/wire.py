"""OpenAI's JSON as it comes in: the body of a chat completion, checked at the edge."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError
from pydantic_core import PydanticCustomError

from backends.chat import ChatRequest, Fields
from gateway.errors import InvalidRequest
from gateway.values import read_beside_tokens, read_values

MAX_MESSAGES = 10_000
MAX_FIELDS = 256
MAX_MODEL_CHARS = 512
MAX_CHOICES = 128  # as OpenAI's
MAX_SALT_CHARS = 256
GATEWAY_FIELDS = frozenset({"cache", "cache_salt"})  # ours: never sent to a backend

_ROLES = ("developer", "system", "user", "assistant", "tool", "function")


def _complaint(text: str) -> PydanticCustomError:
    return PydanticCustomError("twicetold", "{text}", {"text": text})


def _content(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise _complaint("must be a text, a list of content parts, or null")
    for index, part in enumerate(value):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise _complaint(f"part {index} must be an object with a type")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise _complaint(f"part {index} of type text must have a text")
    return value


def _tool_calls(value: Any) -> Any:
    if value is None:
        return value
    if not isinstance(value, list) or not all(isinstance(call, dict) for call in value):
        raise _complaint("must be a list of tool calls")
    for index, call in enumerate(value):
        function = call.get("function")
        if function is not None and not isinstance(function, dict):
            raise _complaint(f"the function of call {index} must be an object")
        if function is not None and not isinstance(function.get("arguments", ""), str):
            raise _complaint(f"the arguments of call {index} must be a text")
    return value


def _stop(value: Any) -> Any:
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if value is None or isinstance(value, str) or is_list:
        return value
    raise _complaint("must be a text or a list of texts")


def _prediction(value: Any) -> Any:
    if value is None:
        return value
    if not isinstance(value, dict) or value.get("type") != "content":
        raise _complaint("must be an object whose type is content")
    content = value.get("content")
    is_texts = isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    )
    if not isinstance(content, str) and not is_texts:
        raise _complaint("its content must be a text or a list of text parts")
    return value


def _number(value: Any) -> Any:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise _complaint("must be a number")


def _says_something(message: "Message") -> "Message":
    if message.content is None and message.role in ("system", "developer", "user", "tool"):
        raise _complaint("content is missing")
    return message


Number = Annotated[Any, AfterValidator(_number)]
Count = Annotated[StrictInt, Field(ge=1)] | None


class Message(BaseModel):
    """One message; unknown fields pass through."""

    model_config = ConfigDict(extra="allow")
    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: Annotated[Any, AfterValidator(_content)] = None
    tool_calls: Annotated[Any, AfterValidator(_tool_calls)] = None


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow")
    include_usage: StrictBool | None = None


class ChatBody(BaseModel):
    """The fields whose type the gateway relies on; a backend judges values, and every field it does not know."""

    model_config = ConfigDict(extra="allow")
    model: Annotated[StrictStr, Field(min_length=1, max_length=MAX_MODEL_CHARS)]
    messages: Annotated[list[Annotated[Message, AfterValidator(_says_something)]], Field(min_length=1)]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: Count = None
    max_completion_tokens: Count = None
    temperature: Number = None
    top_p: Number = None
    presence_penalty: Number = None
    frequency_penalty: Number = None
    seed: StrictInt | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None
    stop: Annotated[Any, AfterValidator(_stop)] = None
    tools: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    logit_bias: dict[str, Any] | None = None
    prediction: Annotated[Any, AfterValidator(_prediction)] = None
    cache_salt: Annotated[StrictStr, Field(min_length=1, max_length=MAX_SALT_CHARS)] | None = None


def read_object(raw: bytes, tokens_of: str = "") -> dict[str, Any]:
    """The JSON object in a body, one of whose fields may be of tokens. Raises `InvalidRequest`."""
    body = read_beside_tokens(raw, tokens_of) if tokens_of else read_values(raw)
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if len(body) > MAX_FIELDS:
        raise InvalidRequest(f"The body has {len(body)} fields; at most {MAX_FIELDS} are taken.")
    return body


def parse_chat(raw: bytes) -> tuple[ChatRequest, Fields]:
    """The request, and the body it came in. Raises `InvalidRequest` naming the field."""
    body = read_object(raw)
    messages = body.get("messages")
    if isinstance(messages, list) and len(messages) > MAX_MESSAGES:
        raise InvalidRequest(f"messages holds {len(messages)} messages; at most {MAX_MESSAGES} are taken.", "messages")
    if not _is_plain(body):
        try:
            ChatBody.model_validate(body)
        except ValidationError as error:
            raise first_complaint(error) from error
    apart = {"model", "messages", "stream"} | GATEWAY_FIELDS
    return ChatRequest(
        model=body["model"],
        messages=tuple(body["messages"]),
        params={key: value for key, value in body.items() if key not in apart},
        stream=bool(body.get("stream")),
    ), body


_PLAIN = frozenset(("model", "messages", "stream"))
_PLAIN_MESSAGE = frozenset(("role", "content"))


def _is_plain(body: dict[str, Any]) -> bool:
    """Whether it is seen at a glance that `ChatBody` takes it: a model, texts, and nothing else."""
    model, messages = body.get("model"), body.get("messages")
    return (
        _PLAIN.issuperset(body)
        and type(model) is str
        and 0 < len(model) <= MAX_MODEL_CHARS
        and type(body.get("stream", False)) is bool
        and type(messages) is list
        and len(messages) > 0
        and all(
            type(message) is dict
            and message.keys() == _PLAIN_MESSAGE
            and type(message["content"]) is str
            and type(role := message["role"]) is str
            and role in _ROLES
            for message in messages
        )
    )


def check_params(params: Fields) -> None:
    """Fields that another shape says in the words of this one. Raises `InvalidRequest` naming the field."""
    try:
        ChatBody.model_validate({**params, "model": "m", "messages": [{"role": "user", "content": ""}]})
    except ValidationError as error:
        raise first_complaint(error) from error


def first_complaint(errors: ValidationError) -> InvalidRequest:
    """The first complaint, with the field spelled as a caller would: messages[0].content."""
    error = errors.errors(include_url=False)[0]
    return complaint(error["loc"], error["type"], error["msg"], error["input"])


def complaint(place: Sequence[str | int], kind: str, said: str, given: Any) -> InvalidRequest:
    """One of pydantic's complaints in our words."""
    param = ""
    for step in place:
        param += f"[{step}]" if isinstance(step, int) else f".{step}" if param else step
    if kind == "missing":
        return InvalidRequest(f"{param} is missing.", param)
    if kind == "int_type" and isinstance(given, float) and abs(given) >= 2**63:  # JSON of that size is read as a float
        return InvalidRequest(f"{param}: is too large a number.", param)
    return InvalidRequest(f"{param}: {said[:1].lower()}{said[1:]}.", param)
