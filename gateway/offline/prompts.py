"""A log of prompts: JSON lines, gzipped or not, in order of arrival.

Each line has a `prompt`, or `messages` whose last one is the user's, and says which answers are one: by `class_id`
(equal: one answer serves both), or by the `answer` that was given, which is compared as a shadow's is. `scope` keeps
questions apart, as a system prompt does.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.offline.rows import FileError, objects


@dataclass(frozen=True, slots=True)
class Prompt:
    """One line of a log."""

    text: str
    scope: str
    class_id: str | None
    answer: str | None


def read_log(path: Path, limit: int | None = None) -> Iterator[Prompt]:
    """The prompts of a log. Raises `FileError`."""
    for number, (where, row) in enumerate(objects(path)):
        if limit is not None and number >= limit:
            return
        yield _prompt(row, where)


def _prompt(row: dict[str, Any], where: str) -> Prompt:
    text = row.get("prompt")
    if text is None and isinstance(row.get("messages"), list) and row["messages"]:
        last = row["messages"][-1]
        text = last.get("content") if isinstance(last, dict) and last.get("role") == "user" else None
    if not isinstance(text, str) or not text.strip():
        raise FileError(f"{where}: prompt must be a text, or messages must end with a user's")
    class_id, answer, scope = row.get("class_id"), row.get("answer"), row.get("scope")
    if class_id is None and answer is None:
        raise FileError(f"{where}: class_id or answer is missing: nothing says which prompts share an answer")
    for name, value in (("class_id", class_id), ("answer", answer), ("scope", scope)):
        if value is not None and not isinstance(value, str | int):
            raise FileError(f"{where}: {name} must be a text, got {value!r}")
    before = row["messages"][:-1] if row.get("prompt") is None else []
    walls = json.dumps([scope, before]) if before else str(scope or "")
    return Prompt(text, walls, None if class_id is None else str(class_id), None if answer is None else str(answer))
