"""docs/cli.md, made from the parser: `python -m gateway.cli.reference > docs/cli.md`."""

import argparse
from collections.abc import Iterator

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
"""


def markdown(parser: argparse.ArgumentParser) -> str:
    """The page."""
    return "\n".join([HEAD, *_verbs(parser)]).rstrip() + "\n"


def _verbs(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, verb in action.choices.items():
                yield from _verb(verb, helps.get(name, ""))
                yield from _verbs(verb)


def _verb(verb: argparse.ArgumentParser, about: str) -> Iterator[str]:
    level = "##" if verb.prog.count(" ") == 1 else "###"
    yield f"{level} {verb.prog}\n\n{about[:1].upper()}{about[1:]}.\n"
    rows = [_row(action) for action in verb._actions if not isinstance(action, argparse._HelpAction)]
    rows = [row for row in rows if row]
    if rows:
        yield "\n".join(["| | |", "|---|---|", *rows]) + "\n"
    if verb.epilog:
        yield f"{verb.epilog.strip()}\n"


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
