"""A body of the Responses API as a chat request. Pure.

The two APIs say most things in other words, so a question asked in either is one question: the same key, the same
stored answer. What chat has no word for is noted, not dropped: `needs` names a field that only a server of this API can
serve, `prefers` one that such a server would serve better.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from backends.chat import ChatRequest, Fields
from gateway.errors import InvalidRequest
from gateway.native import FOLLOWS
from gateway.shapes.responses.content import text_of, wrong
from gateway.shapes.responses.input import messages_of
from gateway.wire import MAX_SALT_CHARS, Count, Number, check_params, first_complaint, read_object

LOGPROBS = "message.output_text.logprobs"


class ResponsesBody(BaseModel):
    """The fields whose type the gateway relies on, but for `input`."""

    model_config = ConfigDict(extra="allow")
    model: Annotated[StrictStr, Field(min_length=1, max_length=512)]
    instructions: StrictStr | None = None
    stream: StrictBool | None = None
    store: StrictBool | None = None
    background: StrictBool | None = None
    previous_response_id: StrictStr | None = None
    max_output_tokens: Count = None
    temperature: Number = None
    top_p: Number = None
    top_logprobs: StrictInt | None = None
    parallel_tool_calls: StrictBool | None = None
    include: list[StrictStr] | None = None
    tools: list[dict[str, Any]] | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    cache_salt: Annotated[StrictStr, Field(min_length=1, max_length=MAX_SALT_CHARS)] | None = None


@dataclass(slots=True)
class Wanted:
    """What a body asks for. `needs` and `prefers` name fields, the first of each."""

    body: Fields
    model: str
    stream: bool
    system: tuple[Fields, ...] = ()
    messages: tuple[Fields, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    needs: str = ""
    prefers: str = ""

    def note_need(self, param: str) -> None:
        self.needs = self.needs or param

    @property
    def is_kept(self) -> bool:
        """Whether a later request may go on from its response, as OpenAI has it unless told otherwise."""
        return self.body.get("store") is not False

    def request(self) -> ChatRequest:
        """As a chat request, with the body as it came where chat cannot say all of it."""
        native = {key: value for key, value in self.body.items() if key not in _NOT_NATIVE and value is not None}
        needs = self.needs or (FOLLOWS if self.body.get(FOLLOWS) else "")  # unless we know what it follows
        return ChatRequest(
            self.model,
            (*self.system, *self.messages),
            self.params,
            self.stream,
            native=native if needs or self.prefers else None,
            needs=needs,
        )


def read_body(raw: bytes) -> Wanted:
    """Raises `InvalidRequest` naming the field."""
    body = read_object(raw)
    given = body.get("input")
    try:
        ResponsesBody.model_validate(body)
    except ValidationError as error:
        raise first_complaint(error) from error
    wanted = Wanted(body, body["model"], bool(body.get("stream")))
    if body.get("instructions"):
        wanted.system = ({"role": "system", "content": body["instructions"]},)
    wanted.messages = tuple(messages_of(given, wanted))
    _refuse_nothing(wanted)
    for name, value in body.items():
        if value is not None and name not in _ELSEWHERE:
            _FIELDS.get(name, _as_it_is)(wanted, name, value)
    check_params(wanted.params)
    return wanted


def _refuse_nothing(wanted: Wanted) -> None:
    goes_on = wanted.needs or any(wanted.body.get(name) for name in ("previous_response_id", "conversation", "prompt"))
    if wanted.messages or goes_on:
        return
    given = wanted.body.get("input")
    thought = "holds only what the model thought, and nothing to answer"
    told = "is missing" if given is None else thought if given else "is empty"
    raise InvalidRequest(f"input {told}.", "input")


# -- the other fields ------------------------------------------------------------------------------------------------


def _as_it_is(wanted: Wanted, name: str, value: Any) -> None:
    wanted.params[name] = value


def _is_of_chat(_: Wanted, name: str, __: Any) -> None:
    raise InvalidRequest(f"{name} is a field of chat completions; a response is asked with input.", name)


def _needs(wanted: Wanted, name: str, value: Any) -> None:
    if value not in (False, "", [], {}):
        wanted.note_need(name)


def _not_in_background(_: Wanted, name: str, value: Any) -> None:
    if value:
        raise InvalidRequest(f"{name}: an answer is waited for here; it cannot be asked for later.", name)


def _prefers(wanted: Wanted, name: str, value: Any) -> None:
    if value not in (False, "", [], {}, "disabled"):
        wanted.prefers = wanted.prefers or name


def _max_output_tokens(wanted: Wanted, _: str, value: Any) -> None:
    wanted.params["max_completion_tokens"] = value


def _include(wanted: Wanted, name: str, value: Any) -> None:
    if LOGPROBS in value:
        wanted.params["logprobs"] = True
    _prefers(wanted, name, [one for one in value if one != LOGPROBS])


def _top_logprobs(wanted: Wanted, name: str, value: Any) -> None:
    if value:
        wanted.params |= {"logprobs": True, name: value}


def _text(wanted: Wanted, _: str, value: Any) -> None:
    if value.get("verbosity") is not None:
        wanted.params["verbosity"] = value["verbosity"]
    form = value.get("format")
    if form is None:
        return
    if not isinstance(form, Mapping) or not isinstance(form.get("type"), str):
        raise wrong("text.format", "an object with a type")
    if form["type"] == "json_schema":
        schema = {name: item for name, item in form.items() if name != "type" and item is not None}
        wanted.params["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form["type"] != "text":
        wanted.params["response_format"] = dict(form)


def _reasons(wanted: Wanted, name: str, value: Any) -> None:
    if value.get("effort") is not None:
        wanted.params["reasoning_effort"] = value["effort"]
    if any(item is not None for key, item in value.items() if key != "effort"):
        wanted.prefers = wanted.prefers or name


def _tools(wanted: Wanted, _: str, value: Any) -> None:
    tools = [_tool(tool, f"tools[{index}]", wanted) for index, tool in enumerate(value)]
    if tools:
        wanted.params["tools"] = tools


def _tool(tool: Fields, at: str, wanted: Wanted) -> Fields:
    kind = tool.get("type")
    if kind == "function" and not isinstance(tool.get("function"), Mapping):
        text_of(tool, "name", at)
        return {"type": kind, "function": {k: v for k, v in tool.items() if k != "type" and v is not None}}
    if kind == "custom" and not isinstance(tool.get("custom"), Mapping):
        text_of(tool, "name", at)
        custom = {k: v for k, v in tool.items() if k != "type" and v is not None}
        form = custom.get("format")
        if isinstance(form, Mapping) and form.get("type") == "grammar":
            custom["format"] = {"type": "grammar", "grammar": {k: v for k, v in form.items() if k != "type"}}
        return {"type": kind, "custom": custom}
    if kind not in ("function", "custom"):  # what the server runs itself
        if not isinstance(kind, str):
            raise wrong(f"{at}.type", "a text")
        wanted.note_need(f"{at}.type")
    return tool


def _tool_choice(wanted: Wanted, name: str, value: Any) -> None:
    if isinstance(value, str):
        wanted.params[name] = value
        return
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        raise wrong(name, "a text or an object with a type")
    kind = value["type"]
    if kind in ("function", "custom"):
        wanted.params[name] = _named(value)
    elif kind == "allowed_tools":
        tools = value.get("tools")
        if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
            raise wrong(f"{name}.tools", "a list of objects")
        allowed = {"mode": value.get("mode"), "tools": [_named(tool) for tool in tools]}
        wanted.params[name] = {"type": kind, "allowed_tools": allowed}
    else:
        wanted.note_need(f"{name}.type")


def _named(tool: Fields) -> Fields:
    kind = tool.get("type")
    is_flat = kind in ("function", "custom") and "name" in tool
    return {"type": kind, kind: {"name": tool["name"]}} if is_flat and isinstance(kind, str) else tool


def _one_answer(_: Wanted, name: str, value: Any) -> None:
    if value != 1:
        raise InvalidRequest(f"{name}: a response is one answer.", name)


_NOT_NATIVE = frozenset({"model", "stream", "cache", "cache_salt"})
_ELSEWHERE = frozenset(
    {
        "model", "input", "instructions", "stream", "stream_options", "cache", "cache_salt",
        "store", "previous_response_id", "max_tool_calls",  # the last is of tools that the server runs
    }
)  # fmt: skip

_FIELDS = {
    "max_output_tokens": _max_output_tokens,
    "include": _include,
    "top_logprobs": _top_logprobs,
    "text": _text,
    "reasoning": _reasons,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "n": _one_answer,
    "messages": _is_of_chat,
    "conversation": _needs,
    "background": _not_in_background,
    "prompt": _needs,
    "moderation": _needs,
    "context_management": _prefers,
    "truncation": _prefers,
    "image": _prefers,
    "access_programs": _prefers,
}
