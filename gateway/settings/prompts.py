"""What is done to prompts, and told of them: [[normalise]] and [prefixes]."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NormaliseSettings:
    """Volatile text taken out of prompts before their keys are made: [[normalise]], the first that matches.

    What matches a route is said as in [[cache.routes]]. Never looks into the last message of the user.
    """

    model: str = "*"
    namespace: str = "*"
    tenant: str = ""
    rules: tuple[str, ...] = ("agent_nonces", "clock", "request_ids")  # or session_ids, uuids, timestamps, dates
    patterns: tuple[str, ...] = ()  # RE2; what they match is taken out
    roles: tuple[str, ...] = ("system", "developer")
    clock_to: str = "minute"  # how coarse a time of day becomes; with `send` also "hour", "day"
    send: bool = False  # the backend is sent what is left, too


@dataclass(frozen=True, slots=True)
class PrefixSettings:
    """The report on where prompts first differ: [prefixes]."""

    mb: int = 32  # of prompts held in memory to compare new ones with; 0: no report
    words: bool = False  # show words of prompts in it
    price_per_million: float = 0.0  # of prompt tokens read anew instead of reused, in any money
