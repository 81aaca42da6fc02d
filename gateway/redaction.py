"""What must not be kept: patterns of the operator's, or a function of its own, asked before anything is stored.

A request or an answer that holds any of it is answered as ever and leaves nothing behind: no answer, no vector, no
label, no prefix of the prompt, no conversation, no words among the last requests. Nothing is replaced: an exact hit
compares the request that is stored with the one that is asked, so two that differ in what was replaced would be one.
"""

import importlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.chat import ChatRequest, Completion
from gateway.controls import Controls
from gateway.normalise.patterns import read_searches
from gateway.settings.declared import SettingsError

REASON = "redacted"

Search = Callable[[str], bool]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Redactor:
    """Says what must not be kept."""

    searches: Sequence[Search] = ()

    def over(self, request: ChatRequest, controls: Controls) -> Controls:
        """What a request may leave behind."""
        if not self.searches or controls.is_redacted or not self.holds(texts_of(request)):
            return controls
        return replace(controls, is_redacted=True, no_store=True)

    def refuses(self, completion: Completion) -> bool:
        """Whether an answer must not be kept."""
        return bool(self.searches) and self.holds(_strings([choice.message for choice in completion.choices]))

    def holds(self, texts: Iterable[str]) -> bool:
        """Whether any of these texts has what must not be kept."""
        return bool(self.searches) and any(search(text) for text in texts for search in self.searches)


KEEPS_ALL = Redactor()


def redactor_of(patterns: Sequence[str], hook: str) -> Redactor:
    """Raises `SettingsError`, naming the key."""
    searches: list[Search] = read_searches(patterns, "redact.patterns")
    if hook:
        searches.append(_careful(_hook(hook)))
    return Redactor(tuple(searches))


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


def texts_of(request: ChatRequest) -> Iterator[str]:
    """Everything a request says."""
    yield from _strings(request.messages)
    yield from _strings(request.prompt)
    yield from _strings(request.params.get("tools"))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)
