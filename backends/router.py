"""Where the router was; see `backends.routing.router`."""

from backends.base import AnyModelBackend
from backends.routing.router import Route, Router, UnknownModel

__all__ = ["AnyModelBackend", "Route", "Router", "UnknownModel"]
