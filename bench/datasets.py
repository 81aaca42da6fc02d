"""Conversations and prompt streams from disk, as the sequences of user turns that a client would send."""

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"  # beside the repository, not in it

Message = dict[str, Any]


class DataError(Exception):
    """A data file is missing or is not what it should be."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One user message, what stands before it, and what the data set answers to it (if it does)."""

    before: tuple[Message, ...]  # messages since the previous user turn that are not the assistant's
    user: Message
    recorded: Message | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """Turns that follow each other; a prompt of a stream is a talk of one turn."""

    turns: tuple[Turn, ...]
    class_id: str | None = None
    name: str = field(default="", compare=False)
    is_insert: bool = False  # fills the cache without asking it, as GPTCache's benchmark does


def find(name: str, folder: str) -> Path:
    """The file called `name`: a path, or a name below `folder` of the shared data. Raises `DataError`."""
    places = [Path(name), DATA / name, DATA / folder / name]
    tries = [place.with_name(place.name + end) for place in places for end in ("", ".jsonl.gz", ".jsonl", ".gz")]
    found = next((path for path in tries if path.is_file()), None)
    if found is None:
        raise DataError(f"there is no {name!r}, neither as a path nor below {folder}/ of the shared data")
    return found


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a .jsonl or .jsonl.gz file. Raises `DataError` naming the line."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path.name}, line {number}: {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path.name}, line {number}: not an object")
            yield row


def stream_of(rows: Iterable[dict[str, Any]]) -> list[Talk]:
    """The prompts of a stream in arrival order; `scope` becomes the system prompt, `phase: insert` an insert."""
    talks = []
    for row in rows:
        if not isinstance(row.get("prompt"), str):
            raise DataError("a row of a stream needs a prompt")
        before = ({"role": "system", "content": row["scope"]},) if row.get("scope") else ()
        turn = Turn(before, {"role": "user", "content": row["prompt"]})
        talks.append(Talk((turn,), row.get("class_id"), row["prompt"], is_insert=row.get("phase") == "insert"))
    return talks


def conversations_of(rows: Iterable[dict[str, Any]]) -> list[Talk]:
    """The conversations of a file in order, cut into user turns."""
    talks = []
    for row in rows:
        if not isinstance(row.get("messages"), list):
            raise DataError("a conversation needs messages")
        talks.append(Talk(tuple(turns_of(row["messages"])), name=str(row.get("id", ""))))
    return talks


def turns_of(messages: Sequence[Message]) -> Iterator[Turn]:
    """Cut a conversation at its user messages; the first assistant message after one is its recorded answer."""
    before: list[Message] = []
    for index, message in enumerate(messages):
        if message["role"] == "user":
            follower = messages[index + 1] if index + 1 < len(messages) else None
            recorded = follower if follower is not None and follower["role"] == "assistant" else None
            yield Turn(tuple(before), message, recorded)
            before = []
        elif message["role"] != "assistant":
            before.append(message)
