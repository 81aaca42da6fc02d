"""Tool calls in the words of a model: found in its text however that is cut, and required of it by a grammar.

    dialect   begins with       a call                                          between calls
    hermes    <tool_call>       {"name": ..., "arguments": {...}} </tool_call>  white space          (Qwen 2.5, Qwen 3)
    mistral   [TOOL_CALLS]      [{"name": ..., "arguments": {...}}, ...]        commas
    llama     <|python_tag|>    {"name": ..., "parameters": {...}}              semicolons           (Llama 3)
              or nothing

The chat template says which one a model was taught. What looks like a call and is none stays text.
"""

import json
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.chat import Fields
from backends.errors import RequestRejected
from backends.local.grammar import Shape, check, embedded, of_lark, of_schema

MOST_CALLS = 16  # that are required at once
NO_PARAMETERS: Fields = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a family of models spells tool calls."""

    opening: str
    closing: str  # after each call
    glue: str  # characters that may stand between the opening, the calls and the end
    lists: tuple[str, str, str]  # before the first call, between two, after the last: how we have them written
    arguments: str = "arguments"
    is_bare: bool = False  # an answer may begin with a call without the opening
    is_single: bool = False  # the model was taught one call per answer
    id_prefix: str = "call_"
    id_chars: int = 24

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that a tokenizer may have tokens of their own for."""
        return tuple(marker for marker in (self.opening, self.closing) if marker)

    def new_id(self) -> str:
        alphabet = string.ascii_letters + string.digits
        return self.id_prefix + "".join(secrets.choice(alphabet) for _ in range(self.id_chars))


SPACE = " \t\r\n"
HERMES = Dialect("<tool_call>", "</tool_call>", SPACE, ("", "\n", ""))
MISTRAL = Dialect("[TOOL_CALLS]", "", SPACE + "[,]", ("[", ", ", "]"), id_prefix="", id_chars=9)  # its template counts
LLAMA = Dialect("<|python_tag|>", "", SPACE + ";", ("", "; ", ""), arguments="parameters", is_bare=True, is_single=True)


def dialect_of(template: str) -> Dialect | None:
    """The dialect a chat template renders tool calls in; None when it is none of ours."""
    if MISTRAL.opening in template and "[ARGS]" not in template:  # newer ones spell them without JSON around the name
        return MISTRAL
    if HERMES.opening in template and "<function=" not in template:  # nor do the coder models of Qwen
        return HERMES
    is_llama = LLAMA.opening in template or ("ipython" in template and '"parameters"' in template)
    return LLAMA if is_llama else None


@dataclass(frozen=True, slots=True)
class Forced:
    """Calls that the answer must be: of some of these functions, `(place in the request, function)`, at least one."""

    functions: tuple[tuple[int, Fields], ...]
    most: int = MOST_CALLS


def read_forced(tools: Sequence[Fields], tool_choice: Any, *, parallel: bool) -> Forced | None:
    """What `tool_choice` forces; None: nothing. Raises `RequestRejected`."""
    match tool_choice:
        case "auto" | "none":
            return None
        case "required":
            wanted = None
        case {"type": "function", "function": {"name": str(wanted)}}:
            pass
        case _:
            raise _refused("tool_choice must be auto, none, required, or name a function", "tool_choice")
    if not tools:
        raise _refused("tool_choice needs tools", "tool_choice")
    functions = [(place, _function(tool, place)) for place, tool in enumerate(tools)]
    named = tuple((place, each) for place, each in functions if wanted in (None, each["name"]))
    if not named:
        raise _refused(f"tool_choice names {wanted!r}, which is none of the tools", "tool_choice")
    return Forced(named, MOST_CALLS if wanted is None and parallel else 1)


def forced_shape(forced: Forced, dialect: Dialect, added: Mapping[str, int]) -> Shape:
    """The grammar of forced calls, and nothing around them; `added` are the markers with a token of their own.

    Compiles the parameters of every function. Raises `RequestRejected` naming those that cannot be enforced.
    """

    def spelled(text: str) -> str:
        if text in added:
            return f"<[{added[text]}]>"
        return json.dumps(text, ensure_ascii=False) if text else '""'

    before, between, after = map(spelled, dialect.lists)
    line = '"\\n"' if dialect.closing else '""'
    most = 1 if dialect.is_single else forced.most
    opening = "" if dialect.is_bare else spelled(dialect.opening)
    each = opening if dialect.closing else ""
    once = "" if dialect.closing else opening
    rules = [
        f"start: {once} {before} call ({between} call){{0,{most - 1}}} {after}" if most > 1
        else f"start: {once} {before} call {after}",
        f"call: {each} {line} function {line} {spelled(dialect.closing)}",
        "function: " + " | ".join(f"f{place}" for place, _ in forced.functions),
    ]  # fmt: skip
    for place, function in forced.functions:
        param = f"tools[{place}].function.parameters"
        parameters = function.get("parameters") or NO_PARAMETERS
        if isinstance(parameters, Mapping) and "type" not in parameters:
            parameters = {"type": "object", **parameters}
        check(of_schema(parameters, param))
        head = f'{{"name": {json.dumps(function["name"], ensure_ascii=False)}, "{dialect.arguments}": '
        rules.append(f"f{place}: {spelled(head)} p{place} {spelled('}')}")
        rules.append(f"p{place}: %json {json.dumps(embedded(parameters, param))}")
    return of_lark("\n".join(rules), "tools")


def _function(tool: Fields, place: int) -> Fields:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
        raise _refused("a tool that may be forced must be a function with a name", f"tools[{place}].function.name")
    return function


def _refused(why: str, param: str) -> RequestRejected:
    return RequestRejected(f"{why}.", param=param, code="invalid_value")


class CallObject:
    """One call as it comes: a JSON object, and where in it its members are."""

    def __init__(self, arguments: str) -> None:
        self.text = ""
        self.is_closed = False
        self._arguments = arguments
        self._depth = 0
        self._string_at: int | None = None  # inside a string since
        self._is_escaped = False
        self._last_string = ""
        self._key: str | None = None  # the member that is being read
        self._starts: dict[str, int] = {}  # of the values of members
        self._ends: dict[str, int] = {}

    def push(self, text: str) -> int:
        """Take text, of which the first begins with a brace, up to the end of the object; returns how much of it."""
        start = at = len(self.text)
        self.text += text
        while at < len(self.text) and not self.is_closed:
            self._step(self.text[at], at)
            at += 1
        self.text = self.text[:at]
        return at - start

    @property
    def call(self) -> tuple[str, str] | None:
        """Name and arguments of a closed object, the arguments as the model wrote them; None when it is no call."""
        try:
            whole = json.loads(self.text)
        except (ValueError, RecursionError):
            return None
        name, arguments = whole.get("name"), whole.get(self._arguments)
        is_call = isinstance(name, str) and name and isinstance(arguments, Mapping)
        return (name, self.arguments_from(0)) if is_call else None

    @property
    def name(self) -> str | None:
        """The name, once it is written whole."""
        if "name" not in self._ends:
            return None
        try:
            name = json.loads(self.text[self._starts["name"] : self._ends["name"]])
        except ValueError:
            return None
        return name if isinstance(name, str) else None

    def arguments_from(self, told: int) -> str:
        """The arguments written so far, without the first `told` characters."""
        if self._arguments not in self._starts:
            return ""
        return self.text[self._starts[self._arguments] + told : self._ends.get(self._arguments)]

    def _step(self, character: str, at: int) -> None:
        if self._string_at is not None:
            self._in_string(character, at)
            return
        if self._key is not None and self._depth == 1 and character not in SPACE and character not in ",}":
            self._starts.setdefault(self._key, at)
        if character == '"':
            self._string_at = at
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self._value_ends(at + 1 if self._depth == 1 else at)
            self.is_closed = self._depth == 0
        elif self._depth == 1 and character == ":" and self._key is None:
            self._key = self._last_string
        elif self._depth == 1 and character == ",":
            self._value_ends(at)
            self._key = None

    def _in_string(self, character: str, at: int) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif character == "\\":
            self._is_escaped = True
        elif character == '"':
            self._last_string = self.text[(self._string_at or 0) + 1 : at]
            self._string_at = None
            self._value_ends(at + 1)

    def _value_ends(self, at: int) -> None:
        if self._depth <= 1 and self._key in self._starts and self._key is not None:
            self._ends.setdefault(self._key, at)


class CallParser:
    """Turns the text of an answer into parts of a message: content, and tool calls in numbered pieces.

    A call is let out when it is whole and sound; or as it is written, if a grammar sees to it that it will be.
    """

    def __init__(self, dialect: Dialect, *, is_sure: bool = False) -> None:
        self.num_calls = 0
        self._dialect = dialect
        self._is_sure = is_sure
        self._state = self._at_start if dialect.is_bare else self._in_text
        self._held = ""  # text that may yet begin, or belong to, a call
        self._object: CallObject | None = None
        self._num_told = -1  # characters of the open call's arguments; -1: not even its name
        self._has_call = False  # since the opening
        self._is_after_call = False  # and nothing but white space since
        self._space = ""  # white space that content ends in, so far
        self._parts: list[Fields] = []

    @property
    def has_calls(self) -> bool:
        """Whether there are calls, all of them whole."""
        return self.num_calls > 0 and self._num_told < 0

    def push(self, text: str) -> list[Fields]:
        """What can be told now."""
        at = 0
        while at < len(text):
            if self._object is not None:
                at += self._in_object(self._object, text[at:])
            else:
                self._state(text[at])
                at += 1
        return self._take()

    def flush(self) -> list[Fields]:
        """What is left at the end: a call that was cut is text, unless it has been told already."""
        if self._num_told < 0 and not (self._has_call and self._state == self._in_calls):
            self._give_up()
        if not self.num_calls:
            self._tell(self._space)
        return self._take()

    def _take(self) -> list[Fields]:
        parts, self._parts = self._parts, []
        return parts

    def _at_start(self, character: str) -> None:
        if character in SPACE:
            self._held += character
        elif character == "{":
            self._object = CallObject(self._dialect.arguments)
            self._in_object(self._object, character)
        else:
            self._give_up()
            self._in_text(character)

    def _in_text(self, character: str) -> None:
        held = self._held + character
        while held and not self._dialect.opening.startswith(held):
            self._say(held[0])
            held = held[1:]
        self._held = held
        if held == self._dialect.opening:
            self._has_call = False
            self._state = self._in_calls

    def _in_calls(self, character: str) -> None:
        """Behind the opening, or behind a call."""
        closing = self._dialect.closing if self._has_call else ""
        end = self._held.lstrip(SPACE) if closing else ""
        if closing and closing.startswith(end + character):
            self._held += character
            if end + character == closing:
                self._held, self._has_call = "", False
                self._state = self._in_text
        elif character == "{" and not end:
            self._object = CallObject(self._dialect.arguments)
            self._in_object(self._object, character)
        elif character in self._dialect.glue and not end:
            self._held += character
        else:
            self._give_up()
            self._in_text(character)

    def _in_object(self, call: CallObject, text: str) -> int:
        used = call.push(text)
        if self._is_sure and call.name is not None:
            self._tell_arguments(call.name, call)
        if call.is_closed:
            self._end_object(call)
        return used

    def _end_object(self, call: CallObject) -> None:
        found = call.call
        if found is None and self._num_told < 0:
            self._give_up()
            return
        if found is not None:
            self._tell_arguments(found[0], call)
        self._num_told, self._object, self._held = -1, None, ""
        self._has_call = True
        self._state = self._in_calls

    def _tell_arguments(self, name: str, call: CallObject) -> None:
        """Tell what is new in a call, and first its name."""
        piece = call.arguments_from(max(0, self._num_told))
        if not piece:
            return
        if self._num_told < 0:
            self._num_told = 0
            self._space = ""
            self._is_after_call = True
            function = {"name": name, "arguments": ""}
            head = {"index": self.num_calls, "id": self._dialect.new_id(), "type": "function", "function": function}
            self._parts.append({"tool_calls": [head]})
            self.num_calls += 1
        self._num_told += len(piece)
        self._parts.append({"tool_calls": [{"index": self.num_calls - 1, "function": {"arguments": piece}}]})

    def _give_up(self) -> None:
        """What was held is text after all."""
        held = self._held.lstrip(self._dialect.glue) if self._has_call else self._held
        said = held + (self._object.text if self._object is not None else "")
        self._object, self._held, self._has_call = None, "", False
        self._state = self._in_text
        self._say(said)

    def _say(self, text: str) -> None:
        """Content; white space around calls is none."""
        if self._is_after_call:
            text = text.lstrip(SPACE)
            self._is_after_call = not text
        text = self._space + text
        said = text.rstrip(SPACE)
        self._space = text[len(said) :]
        self._tell(said)

    def _tell(self, content: str) -> None:
        """Add to the content; pieces that follow each other become one."""
        if content and self._parts and "content" in self._parts[-1]:
            content = self._parts.pop()["content"] + content
        if content:
            self._parts.append({"content": content})
