"""What is asked in every shape, and what a backend says to it, piece by piece."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.chat import Delta, Usage

Body = dict[str, Any]

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
PNG = "data:image/png;base64,iVBORw0KGgo="
USAGE = Usage(
    7, 5, 3, {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}}
)


def delta(index: int = 0, finish: str | None = None, logprobs: Any = None, **fields: Any) -> Delta:
    return Delta(index, fields, finish, logprobs, extra={"system_fingerprint": "fp_1", "service_tier": "default"})


def spelled(*pieces: str, name: str = "content", index: int = 0, logprobs: bool = False) -> list[Delta]:
    return [delta(index, logprobs=_logprobs(piece) if logprobs else None, **{name: piece}) for piece in pieces]


def _logprobs(token: str) -> Any:
    likeliest = [{"token": token, "logprob": -0.25, "bytes": list(token.encode())}]
    return {"content": [{**likeliest[0], "top_logprobs": likeliest}], "refusal": None}


def call(number: int, *pieces: str, **start: Any) -> list[Delta]:
    """A call of a tool: its start, and then its arguments in pieces."""
    first = {"index": number, "id": f"call_{number}", "type": "function", "function": {**start, "arguments": ""}}
    more = [{"index": number, "function": {"arguments": piece}} for piece in pieces]
    return [delta(tool_calls=[one]) for one in (first, *more)]


def said(*pieces: Delta, finish: str = "stop", choices: int = 1) -> list[Delta]:
    ends = [delta(index, finish=finish) for index in range(choices)]
    return [delta(role="assistant", content=""), *pieces, *ends, Delta(usage=USAGE, extra=ends[0].extra)]


@dataclass(frozen=True)
class Case:
    """One thing to be faithful in. `asks` writes the body of each shape that can say it."""

    says: Sequence[Delta]
    asks: dict[str, Body] = field(default_factory=dict)
    is_kept: bool = True


def question(text: str = "Where?") -> dict[str, Body]:
    """The same question in every shape."""
    return {
        "chat": {"messages": [{"role": "user", "content": text}]},
        "responses": {"input": text},
        "messages": {"max_tokens": 64, "messages": [{"role": "user", "content": text}]},
        "completions": {"prompt": text},
    }


def with_fields(*shapes: str, **fields: Body) -> dict[str, Body]:
    """The question with fields that are spelled differently in each of the shapes."""
    asked = question()
    return {shape: {**asked[shape], **fields.get(shape, {})} for shape in (*shapes, *fields)}


def with_content(make: Callable[[str], Any]) -> dict[str, Body]:
    """The question with a picture, in the shapes that take one."""
    asked = question()
    asked["chat"]["messages"][0]["content"] = make("chat")
    asked["responses"]["input"] = [{"role": "user", "content": make("responses")}]
    asked["messages"]["messages"][0]["content"] = make("messages")
    del asked["completions"]
    return asked


def _picture(url: str, source: Body) -> Callable[[str], Any]:
    text = "What is this?"
    said = {
        "chat": [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}],
        "responses": [
            {"type": "input_text", "text": text},
            {"type": "input_image", "image_url": url, "detail": "auto"},
        ],
        "messages": [{"type": "text", "text": text}, {"type": "image", "source": source}],
    }
    return said.__getitem__


_FUNCTION = {"name": "weather", "description": "Says the weather.", "parameters": PARAMETERS}
_TOOLS: dict[str, Body] = {
    "chat": {"tools": [{"type": "function", "function": _FUNCTION}]},
    "responses": {"tools": [{"type": "function", **_FUNCTION}]},
    "messages": {
        "tools": [{"name": "weather", "description": "Says the weather.", "input_schema": PARAMETERS}],
    },
}
_CALLS = [
    *call(0, '{"city": ', '"Zürich"}', name="weather"),
    *call(1, '{"city":', ' "北京"}', name="weather"),
]
_THREE = ("chat", "responses", "messages")

CASES = {
    "text": Case(said(*spelled("Am ", "Zürich", "see, ", "你好", " \U0001f30a.")), question()),
    "length": Case(said(*spelled("As far ", "as"), finish="length"), with_fields(*_THREE), is_kept=False),
    "length-of-prompt": Case(said(*spelled("As far ", "as"), finish="length"), with_fields("completions")),
    "calls": Case(said(*_CALLS, finish="tool_calls"), with_fields(**_TOOLS)),
    "calls-in-turns": Case(said(*(_CALLS[i] for i in (0, 1, 3, 4, 2, 5)), finish="tool_calls"), with_fields(**_TOOLS)),
    "words-and-call": Case(said(*spelled("I will ", "look."), *_CALLS[:3], finish="tool_calls"), with_fields(**_TOOLS)),
    "json": Case(
        said(*spelled('{"city":', ' "Genf"}')),
        with_fields(
            chat={"response_format": {"type": "json_object"}}, responses={"text": {"format": {"type": "json_object"}}}
        ),
    ),
    "schema": Case(
        said(*spelled('{"city":', ' "Genf"}')),
        with_fields(
            chat={
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
                }
            },
            responses={"text": {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}},
            messages={"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        ),
    ),
    "refusal": Case(said(*spelled("I can", "not.", name="refusal")), with_fields(*_THREE), is_kept=False),
    "reasoning": Case(
        said(*spelled("Well, ", "lakes...", name="reasoning_content"), *spelled("By the ", "lake.")),
        with_fields(*_THREE),
    ),
    "reasoning-and-call": Case(
        said(*spelled("Look ", "first.", name="reasoning_content"), *_CALLS[:3], finish="tool_calls"),
        with_fields(**_TOOLS),
    ),
    "logprobs": Case(
        said(*spelled("By", " the", " lake", logprobs=True)),
        with_fields(
            chat={"logprobs": True, "top_logprobs": 1},
            responses={"include": ["message.output_text.logprobs"], "top_logprobs": 1},
            completions={"logprobs": 1},
        ),
    ),
    "several": Case(
        said(*spelled("One ", "lake"), delta(1, role="assistant"), *spelled("Two ", "lakes", index=1), choices=2),
        with_fields(chat={"n": 2}, completions={"n": 2}),
    ),
    "picture-by-url": Case(
        said(*spelled("A ", "lake.")),
        with_content(_picture("https://pictures.test/a.png", {"type": "url", "url": "https://pictures.test/a.png"})),
    ),
    "picture-in-bytes": Case(
        said(*spelled("A ", "lake.")),
        with_content(_picture(PNG, {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="})),
    ),
}
