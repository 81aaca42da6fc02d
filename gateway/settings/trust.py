"""Who may do what, and how much of it: [keys]."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Keys that the gateway gives out: `twicetold keys`."""

    required: bool = False  # whoever shows none of them, or one that ended, is refused
