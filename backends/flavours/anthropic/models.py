"""What a Claude's name tells of what it takes. Names that are no Claude's belong to servers that borrow the API."""

import re

_FAMILY_FIRST = re.compile(
    r"claude-(?:opus|sonnet|haiku)-(\d+)(?:[-.](\d{1,2})(?!\d))?(?!\d)"
)  # claude-sonnet-4-5-20250929
_NUMBER_FIRST = re.compile(r"claude-(?:instant-)?(\d+)(?:[-.](\d{1,2})(?!\d))?(?!\d)")  # claude-3-5-haiku-latest
_LAST_SAMPLED = (4, 6)
_NEWEST = (99, 0)


def takes_sampling(model: str) -> bool:
    """Whether temperature, top_p and top_k may be sent: from 4.7 on, any of them is an error."""
    return _version(model) <= _LAST_SAMPLED


def usual_max_tokens(model: str) -> int:
    """A limit the model takes, for a caller who names none. The newer ones think unasked, and it counts."""
    version = _version(model)
    if version < (3, 5):
        return 4096
    return 8192 if version <= _LAST_SAMPLED else 16384


def _version(model: str) -> tuple[int, int]:
    """A Claude without a number is new; of what is no Claude, nothing is known, and nothing is kept from it."""
    if "claude" not in model:
        return _LAST_SAMPLED
    found = _FAMILY_FIRST.search(model) or _NUMBER_FIRST.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST
