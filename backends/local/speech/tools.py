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
from backends.local.speech.grammar import OBJECT, Shape, check, embedded, of_schema

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
class Calls:
    """Calls that an answer may be, or has to be: of these functions, `(place in the request, function)`."""

    functions: tuple[tuple[int, Fields], ...]
    most: int = MOST_CALLS
    is_forced: bool = False

    @property
    def is_strict(self) -> bool:
        """Whether one of the functions asks that its parameters be kept to."""
        return any(function.get("strict") is True for _, function in self.functions)


def read_calls(tools: Sequence[Fields], tool_choice: Any, *, parallel: bool) -> Calls | None:
    """What `tools` and `tool_choice` say about calls; None: there are none. Raises `RequestRejected`."""
    most = MOST_CALLS if parallel else 1
    match tool_choice:
        case "none":
            return None
        case "auto":
            functions = tuple((place, tool["function"]) for place, tool in enumerate(tools) if _is_function(tool))
            return Calls(functions, most) if functions else None
        case "required":
            wanted = None
        case {"type": "function", "function": {"name": str(wanted)}}:
            most = 1
        case _:
            raise _refused("tool_choice must be auto, none, required, or name a function", "tool_choice")
    if not tools:
        raise _refused("tool_choice needs tools", "tool_choice")
    for place, tool in enumerate(tools):
        if not _is_function(tool):
            raise _refused("a tool that may be forced must be a function with a name", f"tools[{place}].function.name")
    named = [(place, tool["function"]) for place, tool in enumerate(tools)]
    named = [(place, function) for place, function in named if wanted in (None, function["name"])]
    if not named:
        raise _refused(f"tool_choice names {wanted!r}, which is none of the tools", "tool_choice")
    return Calls(tuple(named), most, is_forced=True)


def calls_shape(calls: Calls, dialect: Dialect, added: Mapping[str, int], answer: Shape | None = None) -> Shape:
    """The grammar of calls; of nothing else if they are forced, else also of an `answer`, or of text around them.

    `added` are the markers with a token of their own. Raises `RequestRejected` naming parameters that cannot be
    enforced and have to be.
    """
    spelling = _Spelling(dialect, added)
    rules = spelling.calls(1 if dialect.is_single else calls.most)
    rules.append("function: " + " | ".join(f"f{place}" for place, _ in calls.functions))
    for place, function in calls.functions:
        rules += spelling.function(place, function["name"], _parameters(calls, place, function))
    grammars: list[Fields] = []
    if calls.is_forced:
        rules.append("start: calls")
    elif answer is not None:
        rules.append("start: calls | @answer")
        grammars = [{"name": "answer", **json.loads(answer.grammar)["grammars"][0]}]
    else:
        rules += spelling.among_text()
    return Shape(json.dumps({"grammars": [{"name": "calls", "lark_grammar": "\n".join(rules)}, *grammars]}), "tools")


@dataclass(frozen=True, slots=True)
class _Spelling:
    """The rules of a dialect in the grammar library's variant of Lark."""

    dialect: Dialect
    added: Mapping[str, int]

    def text(self, text: str) -> str:
        """A text, or the token that is nothing but this text."""
        return f"<[{self.added[text]}]>" if text in self.added else json.dumps(text, ensure_ascii=False)

    def calls(self, most: int) -> list[str]:
        before, between, after = map(self.text, self.dialect.lists)
        more = f"({between} call){{0,{most - 1}}}" if most > 1 else ""
        opening = '""' if self.dialect.is_bare else self.text(self.dialect.opening)
        if self.dialect.closing:
            closing = self.text(self.dialect.closing)
            return [f"calls: call {more}", f'call: {opening} "\\n" function "\\n" {closing}']
        return [f"calls: {opening} {before} call {more} {after}", "call: function"]

    def function(self, place: int, name: str, parameters: Fields) -> list[str]:
        head = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "{self.dialect.arguments}": '
        return [f"f{place}: {self.text(head)} p{place} {self.text('}')}", f"p{place}: %json {json.dumps(parameters)}"]

    def among_text(self) -> list[str]:
        """Any text, and calls behind the opening wherever that comes up."""
        opening = self.dialect.opening
        said = r"SAID: /(.|\n)*/"
        if opening in self.added:
            return ["start: (SAID calls)* SAID", said]
        head = f"head[lazy]: SAID {self.text(opening)}"
        closing = self.text(self.dialect.closing) if self.dialect.closing else '""'
        before, between, after = map(self.text, self.dialect.lists)
        one = f'"\\n" function "\\n" {closing}'
        many = f"{before} function ({between} function){{0,{MOST_CALLS - 1}}} {after}"
        return ["start: (head rest)* SAID", head, f"rest: {one if self.dialect.closing else many}", said]


def _parameters(calls: Calls, place: int, function: Fields) -> Fields:
    """The schema of a function's parameters as it stands in a grammar; any object where no other can be enforced."""
    param = f"tools[{place}].function.parameters"
    parameters = function.get("parameters") or NO_PARAMETERS
    if isinstance(parameters, Mapping) and "type" not in parameters:
        parameters = {"type": "object", **parameters}
    try:
        check(of_schema(parameters, param))
    except RequestRejected:
        if calls.is_forced or function.get("strict") is True:
            raise
        parameters = OBJECT
    return embedded(parameters, param)


def _is_function(tool: Fields) -> bool:
    function = tool.get("function")
    return isinstance(function, Mapping) and isinstance(function.get("name"), str) and bool(function["name"])


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
