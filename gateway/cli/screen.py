"""What commands print: text for people, JSON for programs. Colour only on a terminal, and never with NO_COLOR.

rich is loaded by what prints, not by what might: a gateway never does.
"""

import sys
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {
    "exact": "green",
    "semantic": "cyan",
    "kv": "blue",
    "full": "yellow",
    "active": "green",
    "expired": "yellow",
    "revoked": "red",
}


def console(*, is_error: bool = False) -> "Console":
    """The terminal, or the file or pipe in its place: then no line is broken and nothing is coloured."""
    from gateway.cli.terminal import Screen

    return Screen(stderr=is_error, highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(text: str) -> None:
    """Print text; words that say how it stands have their colour at the beginning of a line."""
    from rich.text import Text

    shown = Text(text)
    for word, style in STYLES.items():
        shown.highlight_regex(rf"(?m)^{word}\b", style)
    console().print(shown)


def dump(value: Any) -> None:
    """Print JSON."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def complain(message: str) -> None:
    """Say on the error output what is wrong."""
    from rich.text import Text

    console(is_error=True).print(Text.assemble(("twicetold:", "bold red"), f" {message}"))


def note(message: str) -> None:
    """Say beside the result what a person may want to know."""
    from rich.text import Text

    console(is_error=True).print(Text(message))


def counted(number: int, noun: str) -> str:
    """1 answer, 2,000 answers."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_watched() -> bool:
    """Whether a person looks at the error output, so that progress is worth showing."""
    return sys.stderr.isatty()
