"""What the edge lets in, what it has let in, and what it said no to. Values and counters, no I/O."""

from collections import Counter
from dataclasses import dataclass, field

KIB, MIB = 2**10, 2**20


@dataclass(frozen=True, slots=True)
class EdgeRules:
    """Bounds of the edge. A time of 0 is no limit, and so is a number of 0."""

    connections: int = 4096
    requests: int = 2048  # under way on /v1
    body_bytes: int = 512 * MIB  # of all requests under way together
    head_bytes: int = 64 * KIB  # request line and headers
    head_s: float = 10.0  # from the first byte of a request, or from the connection, to the end of its headers
    body_s: float = 30.0  # for a body, and a second more for every KiB of it
    idle_s: float = 30.0  # between two requests of a connection
    write_s: float = 60.0  # how long a caller may not read what is there for it


@dataclass(slots=True)
class EdgeCounts:
    """What is open now, and what was refused or cut since the start, by reason."""

    connections: int = 0
    requests: int = 0
    body_bytes: int = 0
    most_requests: int = 0  # at any one time
    refused: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)


def is_late(rules: EdgeRules, waited_s: float, num_bytes: int) -> bool:
    """Whether a body of which so much has come in so long is too slow in coming."""
    return 0 < rules.body_s < waited_s - num_bytes / KIB
