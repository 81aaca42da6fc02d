"""Values out of a file, a variable or a request, as the types that a dataclass declares. A bad one names its key."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

NOT_SET = {"is_set": False}  # metadata of a field that nobody sets: it is read from elsewhere
PATTERNS = "patterns"  # a list by this name is not cut at commas: they are part of a pattern


class SettingsError(Exception):
    """A setting cannot be used; the message names its key."""


def put(tree: dict[str, Any], path: list[str], value: str, name: str) -> None:
    """Put `value` into a tree of tables. Raises `SettingsError`, and says `name`."""
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{name}: {step} is not a group of settings")
    tree[path[-1]] = value


def build(cls: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    """A `cls` of `values`, whatever they were written as. Raises `SettingsError`."""
    hints = get_type_hints(cls)
    known = {item.name for item in fields(cls) if item.metadata.get("is_set", True)}
    for key in values:
        if key not in known:
            raise SettingsError(f"{prefix}{key} is not a setting; there are: {', '.join(sorted(known))}")
    return cls(**{key: _convert(value, hints[key], prefix + key) for key, value in values.items()})


def _convert(value: Any, kind: Any, key: str) -> Any:
    """`value`, a TOML value or a text from the environment, as the type the field declares."""
    if isinstance(kind, UnionType):
        inner = next(arm for arm in get_args(kind) if arm is not NoneType)
        return None if value in (None, "") else _convert(value, inner, key)
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise SettingsError(f"{key} is a group of settings, got {_kind(value)}")
        return build(kind, value, f"{key}.")  # type: ignore[arg-type]
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise SettingsError(f"{key} is a table of texts, got {_kind(value)}")
        return {name: scalar(text, str, f"{key}.{name}") for name, text in value.items()}
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        items = _texts(value, key) if isinstance(value, str) and inner is str else value
        if not isinstance(items, list):
            raise SettingsError(f"{key} must be a list of {_listed(inner)}, got {_kind(value)}")
        return tuple(
            _convert(item, inner, key if inner is str else f"{key}[{number}]") for number, item in enumerate(items)
        )
    return scalar(value, kind, key)


def _texts(value: str, key: str) -> list[Any]:
    """The items of a list that was written as one text: between commas, but for patterns, which are a list of JSON or
    TOML, or one pattern."""
    if key.rpartition(".")[2] != PATTERNS:
        return value.split(",")
    if not value.lstrip().startswith("["):
        return [value] if value else []
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        try:
            read = tomllib.loads(f"{PATTERNS} = {value}")[PATTERNS]
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise SettingsError(
                f"{key} begins with [ and is no list: write a pattern that does as ['[0-9]+'], between quotation marks"
            ) from error
    if any(isinstance(item, str) and "\b" in item for item in read):
        raise SettingsError(f'{key} holds a backspace, which is what "\\b" means in a list: write "\\\\b", or \'\\b\'')
    return read  # type: ignore[no-any-return]  # it began as a list does


def scalar(value: Any, kind: type[Any], key: str) -> Any:
    """`value` as a text, a number, a path or a truth. Raises `SettingsError`."""
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        known = value if isinstance(value, bool) else words.get(str(value).lower())
        if known is None:
            raise SettingsError(f"{key} must be true or false, got {value!r}")
        return known
    is_cut = kind is int and isinstance(value, float)
    if kind in (str, Path) and not isinstance(value, str | Path):
        raise SettingsError(f"{key} must be {_said(kind)}, got {_kind(value)}")
    if isinstance(value, bool) or is_cut:
        raise SettingsError(f"{key} must be {_said(kind)}, got {value!r}")
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{key} must be {_said(kind)}, got {value!r}") from error


def _listed(kind: Any) -> str:
    return "texts" if kind is str else "tables"


def _said(kind: type[Any]) -> str:
    return {int: "a whole number", float: "a number", str: "a text", Path: "a path"}[kind]


def _kind(value: Any) -> str:
    """What it is instead of what it says, which may be a secret."""
    kinds = {str: "a text", dict: "a table", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "something else")
