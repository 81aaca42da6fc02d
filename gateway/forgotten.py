"""What memory was told to forget lately: whatever began before is not noted after it, however long it took.

A request takes the moment it begins (`now`), and whoever would note something of it asks that moment first. So nothing
that was read before an erasure, or said before it, comes back behind it.
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gateway.answers.selection import Selection

MOST = 1000  # that are remembered: what began before more of them is not noted


class Forgotten:
    """Belongs to one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._last: deque[Selection] = deque(maxlen=most)
        self._count = 0  # so far

    def note(self, selections: Iterable[Selection]) -> None:
        """These are forgotten now: a tenant's, what wears a tag, or what does of one tenant's."""
        for selection in selections:
            self._last.append(selection)
            self._count += 1

    def now(self) -> "Since":
        """Names this moment, for what begins."""
        return Since(self, self._count)

    def means(self, tenant: str, tags: Collection[str], began: int) -> bool:
        """Whether a tenant's words under these tags were forgotten after `began` others; so they were when nobody
        remembers."""
        num_since = self._count - began
        if num_since > len(self._last):
            return True
        return any(_is_meant(self._last[-number], tenant, tags) for number in range(1, num_since + 1))


@dataclass(frozen=True, slots=True)
class Since:
    """The moment in which something began."""

    _forgotten: Forgotten
    _began: int  # after so many

    def is_forgotten(self, tenant: str, tags: Collection[str] = ()) -> bool:
        """Whether what began then, of this tenant and under these tags, is not to be noted any more."""
        return self._forgotten.means(tenant, tags, self._began)


def _is_meant(selection: Selection, tenant: str, tags: Collection[str]) -> bool:
    return selection.tenant in (None, tenant) and (selection.tag is None or selection.tag in tags)
