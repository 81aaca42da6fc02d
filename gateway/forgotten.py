"""What memory was told to forget lately: whatever began before is not noted after it, however long it took.

A request takes the moment it begins (`now`), and whoever would note something of it asks that moment first. So nothing
that was read before an erasure, or said before it, comes back behind it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gateway.answers.removals import MOST, Removals
from gateway.answers.selection import Selection


class Forgotten:
    """Belongs to one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._removals = Removals(most)

    def note(self, selections: Iterable[Selection]) -> None:
        """These are forgotten now: a tenant's, what wears a tag, or what does of one tenant's."""
        for selection in selections:
            self._removals.note(selection)

    def now(self) -> "Since":
        """Names this moment, for what begins."""
        return Since(self._removals, self._removals.count)


@dataclass(frozen=True, slots=True)
class Since:
    """The moment in which something began."""

    _removals: Removals
    _began: int  # after so many

    def is_forgotten(self, tenant: str, tags: Collection[str] = ()) -> bool:
        """Whether what began then, of this tenant and under these tags, is not to be noted any more."""
        return any(_is_meant(one, tenant, tags) for one in self._removals.since(self._began))


def _is_meant(selection: Selection, tenant: str, tags: Collection[str]) -> bool:
    return selection.tenant in (None, tenant) and (selection.tag is None or selection.tag in tags)
