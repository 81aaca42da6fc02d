"""Request headers as they are asked for on the road of every request: by name, the first of that name.

Starlette's `Headers` walks through all of them for each name, and thirty names are asked for: that was a tenth of what
an exact hit cost.
"""

from collections.abc import Iterable


class NamedHeaders(dict[str, str]):
    """The first header of each lower-case name."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        """`raw` is as ASGI has them: names in lower case."""
        self._raw = tuple(raw)
        super().__init__([(name.decode("latin-1"), value.decode("latin-1")) for name, value in reversed(self._raw)])

    def getlist(self, key: str) -> list[str]:
        """The values of all of this name, in the order they came."""
        if key not in self:
            return []
        wanted = key.encode("latin-1")
        return [value.decode("latin-1") for name, value in self._raw if name == wanted]
