"""What must not be kept: patterns of the operator's, or a function of its own, asked before anything is stored.

A request or an answer that holds any of it is answered as ever and leaves nothing behind: no answer, no vector, no
label, no prefix of the prompt, no conversation, no words among the last requests. Nothing is replaced: an exact hit
compares the request that is stored with the one that is asked, so two that differ in what was replaced would be one.
"""

import importlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.chat import ChatRequest, Completion
from gateway.controls import Controls
from gateway.identity.canonical import NOT_IDENTITY
from gateway.normalise.patterns import read_searches
from gateway.settings.declared import SettingsError

REASON = "redacted"

MAX_ESCAPED = 8  # JSON in a text in JSON in a text: so often is a text read as what it is written in
_SHORT = {'\\"': '"', "\\/": "/", "\\n": "\n", "\\t": "\t", "\\r": "\r", "\\b": "\b", "\\f": "\f"}
_BACKSLASH = "\ue0ff"  # stands for one that is meant while others are read; of nobody's alphabet

Search = Callable[[str], bool]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Redactor:
    """Says what must not be kept."""

    searches: Sequence[Search] = ()
    asks_hooks: bool = False  # a function of the operator's is among them: it may say another thing every time

    def over(self, request: ChatRequest, controls: Controls) -> Controls:
        """What a request may leave behind."""
        if not self.searches or controls.is_redacted or not self.holds(texts_of(request, controls)):
            return controls
        return replace(controls, is_redacted=True, no_store=True)

    def refuses(self, completion: Completion) -> bool:
        """Whether an answer must not be kept."""
        return bool(self.searches) and self.holds(strings_of([choice.message for choice in completion.choices]))

    def holds(self, texts: Iterable[str]) -> bool:
        """Whether any of these texts has what must not be kept."""
        return bool(self.searches) and any(search(text) for text in texts for search in self.searches)


KEEPS_ALL = Redactor()


def redactor_of(patterns: Sequence[str], hook: str) -> Redactor:
    """Raises `SettingsError`, naming the key."""
    searches: list[Search] = read_searches(patterns, "redact.patterns")
    if hook:
        searches.append(_careful(_hook(hook)))
    return Redactor(tuple(searches), asks_hooks=bool(hook))


def _hook(name: str) -> Callable[[str], Any]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"redact.hook: {name} cannot be found: {error}") from error
    if not callable(found):
        raise SettingsError(f"redact.hook: {name} is no function")
    return found  # type: ignore[no-any-return]  # whatever it says is asked for its truth


def _careful(hook: Callable[[str], Any]) -> Search:
    """A hook that fails says nothing of a text, so the text is not kept."""

    def search(text: str) -> bool:
        try:
            return bool(hook(text))
        except Exception as error:  # the operator's own code; what it says may hold the text
            log.error("redact.hook failed, and what it was asked about is not kept: %s", type(error).__name__)
            return True

    return search


def texts_of(request: ChatRequest, controls: Controls) -> Iterator[str]:
    """Every text of a request that would be kept: what it says, what it asks for, where it is put. What is no part of
    its identity, such as `user`, is kept nowhere."""
    yield from strings_of((request.model, request.messages, request.prompt, controls.namespace, controls.tags))
    for fields in (request.params, request.native or {}):
        yield from strings_of({key: value for key, value in fields.items() if key not in NOT_IDENTITY})


def strings_of(value: Any) -> Iterator[str]:
    """Every text of a JSON value, names as well, as it is and as it reads without the escapes of JSON in it."""
    left = [value]
    while left:  # a caller says how deep it is
        one = left.pop()
        if isinstance(one, str):
            yield one
            yield from _unescaped(one)
        elif isinstance(one, Mapping):
            left += one.keys()
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one


def _unescaped(text: str) -> Iterator[str]:
    """What is said in JSON that stands in a text, as in a tool's arguments, also where it is not whole. Each step is
    one call for all of the text: a body may be 16 MB of escapes."""
    for _ in range(MAX_ESCAPED):
        if "\\" not in text:
            return
        plain = text.replace("\\\\", _BACKSLASH)
        for escape, meant in _SHORT.items():
            plain = plain.replace(escape, meant)
        if "\\u" in plain:
            plain = plain.encode("raw_unicode_escape").decode("raw_unicode_escape", "replace")
        plain = plain.replace(_BACKSLASH, "\\")
        if plain == text:
            return
        text = plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")  # halves become one
        yield text
