"""The operator's own patterns, in RE2's syntax: time is linear in the text, whatever is written.

What a pattern matches is taken out, never replaced, and never more than 400 characters at once: a pattern that
swallows a prompt would make all prompts one.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from gateway.normalise.rules import Finds, Span
from gateway.settings.declared import SettingsError

MAX_PATTERNS = 32
MAX_PATTERN_CHARS = 1000
MAX_MATCH_CHARS = 400


def read_patterns(patterns: Sequence[str], key: str) -> dict[str, Finds]:
    """Patterns as rules, `pattern 1` and so on. Raises `SettingsError`, naming `key`."""
    compiled = _compiled(patterns, key)
    return {rule: partial(_found, compiled=one, rule=rule) for rule, one in compiled.items()}


def read_searches(patterns: Sequence[str], key: str) -> list[Callable[[str], bool]]:
    """Patterns as questions whether a text has them. Raises `SettingsError`, naming `key`."""
    return [partial(_has, compiled=one) for one in _compiled(patterns, key).values()]


def _compiled(patterns: Sequence[str], key: str) -> dict[str, Any]:
    if not patterns:
        return {}
    try:
        import re2
    except ImportError as error:
        raise SettingsError(f"{key} needs {error.name}: pip install 'twicetold-server[patterns]'") from error
    if len(patterns) > MAX_PATTERNS:
        raise SettingsError(f"{key} holds {len(patterns)} patterns; at most {MAX_PATTERNS} are taken")
    options = re2.Options()
    options.log_errors = False
    found: dict[str, Any] = {}
    for number, pattern in enumerate(patterns, start=1):
        if not 0 < len(pattern) <= MAX_PATTERN_CHARS:
            raise SettingsError(f"{key}: pattern {number} must have 1 to {MAX_PATTERN_CHARS} characters")
        try:
            compiled = re2.compile(pattern, options)
        except (re2.error, UnicodeEncodeError) as error:
            said = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
            raise SettingsError(f"{key}: pattern {number} is not one of RE2: {said}") from error
        if compiled.search("") is not None:
            raise SettingsError(f"{key}: pattern {number} matches the empty text")
        found[f"pattern {number}"] = compiled
    return found


def _has(text: str, compiled: Any) -> bool:
    return compiled.search(text.encode("utf-8", "replace").decode()) is not None


def _found(text: str, compiled: Any, rule: str) -> Iterator[Span]:
    try:
        for found in compiled.finditer(text):
            if 0 < found.end() - found.start() <= MAX_MATCH_CHARS:
                yield Span(found.start(), found.end(), "", rule)
    except UnicodeEncodeError:  # half a surrogate pair: RE2 reads UTF-8
        return
