"""The corpus as values: what may be asked, how it may be worded, and what the answer is.

A file of `corpus/` is a list of `[[item]]` tables. `train` and `held_out` hold one wording per line; `keys` are
alternatives, and an answer that contains one of them has the fact right. `elsewhere.toml` holds questions about
anything else, which all get the same answer.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
ELSEWHERE = "elsewhere.toml"

DEFAULT_SYSTEM = (
    "You are Twicetold's demo model, a small assistant for questions about caching in front of language models. "
    "Answer in one or two short sentences, and say so when a question is about something else."
)
ELSEWHERE_ANSWER = (
    "I am Twicetold's demo model: a few megabytes, trained only on questions about LLM caching. "
    "For anything else, point Twicetold at a real model with --model or --upstream."
)
ELSEWHERE_KEY = "I am Twicetold's demo model"


@dataclass(frozen=True, slots=True)
class Item:
    """One question in its wordings, and the one answer to all of them."""

    id: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: str
    keys: tuple[str, ...]

    def has_fact(self, text: str) -> bool:
        """Whether `text` holds the fact that makes the answer right."""
        return any(key in text for key in self.keys)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Questions the model was not made for: whole lines, and templates with words to put into them."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    templates: tuple[str, ...]
    words: tuple[str, ...]
    systems: tuple[str, ...]  # system prompts that real clients send


def load_items(folder: Path = CORPUS) -> tuple[Item, ...]:
    """Read every item of the corpus, in file order."""
    files = sorted(path for path in folder.glob("*.toml") if path.name != ELSEWHERE)
    return tuple(_item(table) for path in files for table in tomllib.loads(path.read_text("utf-8"))["item"])


def load_elsewhere(folder: Path = CORPUS) -> Elsewhere:
    """Read the questions about anything else."""
    table = tomllib.loads((folder / ELSEWHERE).read_text("utf-8"))
    return Elsewhere(**{name: _lines(table[name]) for name in Elsewhere.__slots__})


def _item(table: dict[str, str]) -> Item:
    return Item(
        id=table["id"],
        train=_lines(table["train"]),
        held_out=_lines(table["held_out"]),
        answer=table["answer"],
        keys=tuple(key.strip() for key in table["keys"].split("|")),
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())
