"""A client of the same kind that shares everything with the one it was made of, but its resources are ours."""

import copy
from functools import cached_property
from typing import Any, TypeVar

from twicetold.controls import CacheOptions

C = TypeVar("C")


def told(client: Any, kind: type[C], options: CacheOptions | None, admin_key: str | None) -> C:
    """`client` as a `kind`; a subclass (Azure's) stays one."""
    ours = copy.copy(client)
    for name in _resources(type(client)):
        ours.__dict__.pop(name, None)  # bound to the client it was copied from
    ours.__class__ = _joined(kind, type(client))
    ours.cache_options = dict(options or {})
    ours.admin_key = admin_key
    assert isinstance(ours, kind)
    return ours


def _joined(kind: type[Any], theirs: type[Any]) -> type[Any]:
    """Our methods before theirs."""
    if issubclass(kind, theirs):
        return kind
    return theirs if issubclass(theirs, kind) else type(f"Cached{theirs.__name__}", (kind, theirs), {})


def _resources(kind: type[Any]) -> frozenset[str]:
    found = (name for each in kind.__mro__ for name, value in vars(each).items() if isinstance(value, cached_property))
    return frozenset(found)
