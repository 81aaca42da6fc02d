"""docs/cli.md, made from the parser: `python -m gateway.cli.reference > docs/cli.md`."""

import argparse
from collections.abc import Iterator, Sequence

from gateway.cli import make_parser

HEAD = """# Command line

<!-- made by `python -m gateway.cli.reference > docs/cli.md`; a test compares -->

What a command says goes to standard output: text for people, with `--json` one JSON value for programs.
Progress, warnings and what is wrong go to the error output. Colours and progress bars are for terminals alone;
`NO_COLOR` switches colours off. Commands that ask a running gateway take `--url` and, where it has an admin
key, the name of the variable that holds it (`--admin-key-env`): no key is ever an argument, where others see
it.

| exit status | |
|---|---|
| 0 | done |
| 1 | failed: no gateway answers, or it says no; `doctor` found something bad |
| 2 | the command line, a setting or a file is wrong: nothing was done |
| 3 | done in part (`warm`, `import`): what could not be done is told line by line, the rest is done |
| 130 | interrupted; `export`, `import` and `warm` go on where they were when the same command is given again |
| 141 | whoever read what it says has closed the pipe |
"""


def markdown(parser: argparse.ArgumentParser) -> str:
    """The page."""
    return "\n".join([HEAD, *_verbs(parser)]).rstrip() + "\n"


def _verbs(parser: argparse.ArgumentParser, known: Sequence[str] = ()) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, verb in action.choices.items():
                yield from _verb(verb, helps.get(name, ""), known)
                yield from _verbs(verb, _shared(verb))


def _shared(verb: argparse.ArgumentParser) -> list[str]:
    """The flags that all actions of a command take: told once, above them."""
    below = next((action for action in verb._actions if isinstance(action, argparse._SubParsersAction)), None)
    rows = [_rows(action) for action in below.choices.values()] if below is not None else []
    return [row for row in rows[0] if all(row in others for others in rows)] if rows else []


def _verb(verb: argparse.ArgumentParser, about: str, known: Sequence[str]) -> Iterator[str]:
    level = "##" if verb.prog.count(" ") == 1 else "###"
    yield f"{level} {verb.prog}\n\n{about[:1].upper()}{about[1:]}.\n"
    if rows := [row for row in _rows(verb) if row not in known]:
        yield _table(rows)
    if verb.epilog:
        yield f"{verb.epilog.strip()}\n"
    if shared := _shared(verb):
        yield f"All of them take:\n\n{_table(shared)}"


def _table(rows: Sequence[str]) -> str:
    return "\n".join(["| | |", "|---|---|", *rows]) + "\n"


def _rows(verb: argparse.ArgumentParser) -> list[str]:
    rows = (_row(action) for action in verb._actions if not isinstance(action, argparse._HelpAction))
    return [row for row in rows if row]


def _row(action: argparse.Action) -> str:
    if isinstance(action, argparse._SubParsersAction):
        return ""
    value = _value(action)
    if action.option_strings:
        spelled = ", ".join(f"`{name}{' ' + value if value else ''}`" for name in action.option_strings)
    else:
        spelled = f"`[{value}]`" if action.nargs == "?" else f"`{value}`"
    return f"| {spelled} | {(action.help or '').replace('|', chr(92) + '|')} |"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return "{" + ",".join(str(choice) for choice in action.choices) + "}"
    return str(action.metavar or action.dest.upper())


if __name__ == "__main__":
    print(markdown(make_parser()), end="")
