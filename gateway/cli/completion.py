"""`twicetold completion`: a script for the shell, made from the parser."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NOTES = """Where it goes:

    source <(twicetold completion bash)                                      # in ~/.bashrc
    twicetold completion zsh > "${fpath[1]}/_twicetold"
    twicetold completion fish > ~/.config/fish/completions/twicetold.fish
"""


@dataclass(frozen=True, slots=True)
class Flag:
    """An option, and what may stand behind it: words, a file (True), anything (None), nothing (False)."""

    names: tuple[str, ...]
    help: str
    takes: tuple[str, ...] | bool | None


@dataclass(frozen=True, slots=True)
class Verb:
    """A command, or an action of one: `keys create` has both words."""

    words: tuple[str, ...]
    help: str
    flags: tuple[Flag, ...]
    takes_file: bool
    choices: tuple[str, ...]  # of its argument, or its actions


def add_completion(verbs: Any) -> None:
    verb = verbs.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    verb.set_defaults(run=_completion)


def _completion(args: argparse.Namespace) -> int:
    from gateway.cli import make_parser

    verbs = list(verbs_of(make_parser()))
    print({"bash": bash, "zsh": zsh, "fish": fish}[args.shell](verbs))
    return 0


def verbs_of(parser: argparse.ArgumentParser, words: tuple[str, ...] = (), about: str = "") -> Iterator[Verb]:
    """The command line as values: `parser` first, then everything below it."""
    flags, choices, takes_file, below = [], list[str](), False, None
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = action
            choices += list(action.choices)
        elif action.option_strings:
            flags.append(Flag(tuple(action.option_strings), action.help or "", _takes(action)))
        else:
            choices += [str(choice) for choice in action.choices or ()]
            takes_file = takes_file or _is_file(action)
    yield Verb(words, about, tuple(flags), takes_file, tuple(choices))
    if below is not None:
        helps = {choice.dest: choice.help or "" for choice in below._choices_actions}
        for name, child in below.choices.items():
            yield from verbs_of(child, (*words, name), helps.get(name, ""))


def _takes(action: argparse.Action) -> tuple[str, ...] | bool | None:
    if action.nargs == 0:
        return False
    if action.choices is not None:
        return tuple(str(choice) for choice in action.choices)
    return True if _is_file(action) else None


def _is_file(action: argparse.Action) -> bool:
    names = f"{action.metavar} {action.dest}".lower()
    return any(word in names for word in ("file", "dir", "log", "pairs", "trace"))


def bash(verbs: list[Verb]) -> str:
    """For bash 3.2 and later."""
    cases = []
    for verb in verbs:
        flags = " ".join(name for flag in verb.flags for name in flag.names)
        cases.append(f"    {_key(verb)}) flags={_quoted(flags)}; words={_quoted(' '.join(verb.choices))} ;;")
    values = sorted({(name, flag.takes) for verb in verbs for flag in verb.flags for name in flag.names}, key=str)
    words = {name: takes for name, takes in values if isinstance(takes, tuple)}
    files = sorted({name for name, takes in values if takes is True})
    others = sorted({name for name, takes in values if takes is None})
    value_cases = [
        f'    {name}) COMPREPLY=($(compgen -W {_quoted(" ".join(takes))} -- "$current")); return ;;'
        for name, takes in words.items()
    ]
    depth = max(len(verb.words) for verb in verbs)
    known = " ".join(sorted(_key(verb) for verb in verbs if verb.words))
    return "\n".join(
        [
            "# bash completion for twicetold",
            "_twicetold() {",
            "  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb='' flags='' words='' n",
            f"  local known={_quoted(f' {known} ')}",
            "  COMPREPLY=()",
            "  case $before in",
            *value_cases,
            f'    {"|".join(files)}) COMPREPLY=($(compgen -f -- "$current")); return ;;',
            f"    {'|'.join(others)}) return ;;",
            "  esac",
            "  for ((n = 1; n < COMP_CWORD; n++)); do",
            f"    ((n > {depth})) && break",
            '    case $known in *" ${verb:+$verb/}${COMP_WORDS[n]} "*) verb=${verb:+$verb/}${COMP_WORDS[n]} ;; esac',
            "  done",
            "  case ${verb:-/} in",
            *cases,
            "  esac",
            '  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$current"))',
            '  elif [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$current"))',
            '  else COMPREPLY=($(compgen -f -- "$current")); fi',
            "}",
            "complete -o filenames -F _twicetold twicetold",
        ]
    )


def zsh(verbs: list[Verb]) -> str:
    """For zsh, as a function of the name _twicetold."""
    cases = []
    for verb in verbs:
        specs = [spec for flag in verb.flags for spec in _zsh_flag(flag)]
        if verb.choices:
            specs.append(f"'1:argument:({' '.join(verb.choices)})'")
        specs.append("'*:file:_files'")
        cases.append(f"    {_key(verb)}) _arguments {' '.join(specs)} ;;")
    known = " ".join(_key(verb) for verb in verbs if verb.words)
    return "\n".join(
        [
            "#compdef twicetold",
            "_twicetold() {",
            "  local verb='' n=2",
            f"  local -a known=({known})",
            "  while ((n < CURRENT)) && (( ${known[(Ie)${verb:+$verb/}$words[n]]} )); do",
            "    verb=${verb:+$verb/}$words[n]; ((n++))",
            "  done",
            '  ((CURRENT -= n - 2)); words=(twicetold "${(@)words[n,-1]}")',
            "  case ${verb:-/} in",
            *cases,
            "  esac",
            "}",
            '_twicetold "$@"',
        ]
    )


def _zsh_flag(flag: Flag) -> Iterator[str]:
    about = flag.help.replace("'", "").replace("[", "(").replace("]", ")").replace(":", "\\:")
    behind = ""
    if isinstance(flag.takes, tuple):
        behind = f":value:({' '.join(flag.takes)})"
    elif flag.takes is not False:
        behind = ":file:_files" if flag.takes else ":value:"
    for name in flag.names:
        yield f"'*{name}[{about}]{behind}'"


def fish(verbs: list[Verb]) -> str:
    """For fish."""
    lines = ["# fish completion for twicetold"]
    tops = " ".join(verb.words[0] for verb in verbs if len(verb.words) == 1)
    for verb in verbs:
        if not verb.words:
            when = "__fish_use_subcommand"
        elif verb.choices and len(verb.words) == 1:
            when = f"__fish_seen_subcommand_from {verb.words[0]}"
        else:
            when = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in verb.words)
        start = f"complete -c twicetold -n {_quoted(when)}"
        if len(verb.words) == 1:
            lines.append(
                f"complete -c twicetold -f -n __fish_use_subcommand -a {verb.words[0]} -d {_quoted(verb.help)}"
            )
        if verb.words and verb.choices:
            lines.append(f"{start} -f -a {_quoted(' '.join(verb.choices))}")
        lines += [f"{start} {_fish_flag(flag)}" for flag in verb.flags]
    lines.insert(1, f"# commands: {tops}")
    return "\n".join(lines)


def _fish_flag(flag: Flag) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    behind = ""
    if isinstance(flag.takes, tuple):
        behind = f" -x -a {_quoted(' '.join(flag.takes))}"
    elif flag.takes is not False:
        behind = " -r" if flag.takes else " -x"
    return f"{names}{behind} -d {_quoted(flag.help)}"


def _key(verb: Verb) -> str:
    return "/".join(verb.words) or "/"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
