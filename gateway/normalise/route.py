"""What an operator wants taken out of which traffic, read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

from gateway.normalise.clock import Coarse, clock_rules
from gateway.normalise.patterns import read_patterns
from gateway.normalise.rules import Finds, agent_nonces, request_ids, session_ids, uuids
from gateway.settings.declared import SettingsError

if TYPE_CHECKING:
    from gateway.settings import NormaliseSettings

COARSE = ("day", "hour", "minute")
ONLY_SENT = ("timestamps", "dates")  # rules that change what the right answer is: the model must read what the key says
ROLES = ("system", "developer", "user", "assistant")
PLAIN: Mapping[str, Finds] = {
    "agent_nonces": agent_nonces,
    "request_ids": request_ids,
    "session_ids": session_ids,
    "uuids": uuids,
}


@dataclass(frozen=True, slots=True)
class NormaliseRoute:
    """What is taken out of some of the traffic. `model` and `namespace` are patterns; an empty tenant is everybody."""

    model: str
    namespace: str
    tenant: str
    roles: frozenset[str]
    rules: Mapping[str, Finds]
    is_sent: bool  # the backend is sent what is left, too
    clock_to: Coarse = "minute"

    def matches(self, tenant: str, model: str, namespace: str) -> bool:
        """Whether a request is of this route."""
        if self.tenant not in ("", tenant):
            return False
        return fnmatchcase(model, self.model) and fnmatchcase(namespace, self.namespace)


def every_rule(to: Coarse = "minute") -> dict[str, Finds]:
    """All named rules."""
    return {**PLAIN, **clock_rules(to)}


def route_of(settings: "NormaliseSettings", key: str) -> NormaliseRoute:
    """One [[normalise]] of the configuration. Raises `SettingsError`, naming what is under `key`."""
    if settings.clock_to not in COARSE:
        raise SettingsError(f"{key}.clock_to must be one of {', '.join(COARSE)}; got {settings.clock_to!r}")
    losing = [f"rule {name!r}" for name in ONLY_SENT if name in settings.rules]
    losing += [f"clock_to = {settings.clock_to!r}"] if settings.clock_to != "minute" else []
    if losing and not settings.send:
        raise SettingsError(
            f"{key}: {losing[0]} needs send = true: an answer may lean on what its key would be without"
        )
    named = every_rule(cast("Coarse", settings.clock_to))
    for what, said, known in (("rules", settings.rules, named), ("roles", settings.roles, ROLES)):
        for name in said:
            if name not in known:
                raise SettingsError(f"{key}.{what}: {name!r} is none; there are: {', '.join(sorted(known))}")
    rules = {name: named[name] for name in settings.rules}
    patterns = read_patterns(settings.patterns, f"{key}.patterns")
    return NormaliseRoute(
        settings.model,
        settings.namespace,
        settings.tenant,
        frozenset(settings.roles),
        rules | patterns,
        settings.send,
        cast("Coarse", settings.clock_to),
    )
