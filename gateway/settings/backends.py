"""The servers behind the gateway, names that stand for others, and how one is chosen: [[backends]], [[aliases]],
[routing]. A bad value names its key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from backends.remote import FLAVOURS
from backends.routing.policies import POLICIES
from gateway.settings.declared import NOT_SET, SettingsError

if TYPE_CHECKING:
    from gateway.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_TO_SET = frozenset(  # what the client writes itself, of each request or connection
    {"accept-encoding", "connection", "content-encoding", "content-length", "expect", "host", "keep-alive"}
    | {"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_OURS = ("local", "upstream")  # what the gateway itself calls backends


@dataclass(frozen=True, slots=True)
class BackendTimeouts:
    """Limits on one backend, in seconds. None: as [timeouts]."""

    connect_s: float | None = None
    first_token_s: float | None = None
    idle_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """A server. All that serve one model name are its replicas."""

    name: str = ""
    url: str = ""
    flavour: str = "openai"
    api_key_env: str = ""  # name of the variable that holds its key
    api_key: str = field(default="", repr=False, metadata=NOT_SET)  # read from the variable api_key_env names
    models: tuple[str, ...] = ()  # what it serves; "*": any name that nobody lists; empty: it is asked
    weight: float = 1.0  # how much it can do, against other replicas
    max_concurrency: int = 0  # requests at once; 0: no limit
    max_queue: int = 64  # requests that may wait for their turn
    queue_s: float = 30.0  # and how long
    timeouts: BackendTimeouts = field(default_factory=BackendTimeouts)
    revision: str = ""  # of its weights; replicas of one model must have the same. Empty: the model's name says it all
    prediction: bool = False  # send near answers as OpenAI's prediction
    max_tokens: int = 0  # for a caller who names none, where an API wants a limit; 0: the flavour's own
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    kv_events: str = ""  # ZeroMQ address of a vLLM engine's KV events; needs the extra kv-events
    kv_replay: str = ""  # and where it repeats those that were missed


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """A model that answers for an alias."""

    model: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class AliasSettings:
    """A name clients may ask for. Without targets it is the name of a model, which gets a fallback."""

    name: str = ""
    targets: tuple[TargetSettings, ...] = ()
    fallback: tuple[str, ...] = ()  # models that answer, in this order, when the one asked for cannot


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """How a backend is chosen, tried again, and left alone."""

    policy: str = "affinity"  # among replicas; or "least_load", "round_robin", "random"
    retries: int = 1  # of a backend that did not take the request; other replicas are tried besides
    retry_first_s: float = 0.2  # the first pause is anything up to this; each next one up to twice as long
    retry_wait_s: float = 2.0  # the longest Retry-After that is waited for
    retry_share: float = 0.2  # second tries, of all requests: more an outage does not cost
    breaker_failures: int = 5  # in a row, and a backend is left alone; 0: never
    breaker_share: float = 0.5  # or this share of its last breaker_window requests
    breaker_window: int = 20
    breaker_open_s: float = 5.0  # so long; twice as long each time it fails again
    breaker_max_open_s: float = 60.0
    health_s: float = 10.0  # between two looks at a backend's health; 0: none
    health_down_after: int = 2  # bad looks in a row
    health_up_after: int = 1  # good looks in a row


def check_backends(settings: "Settings") -> None:
    """Raises `SettingsError`."""
    _check_servers(settings.backends)
    _check_aliases(settings.aliases)
    _check_routing(settings.routing)


def _check_servers(backends: tuple[BackendSettings, ...]) -> None:
    names: set[str] = set()
    for number, backend in enumerate(backends):
        prefix = f"backends[{number}]."
        if not _NAME.fullmatch(backend.name) or backend.name in _OURS:
            raise SettingsError(
                f"{prefix}name must be 1 to 64 letters, digits, dots, lines or underscores, and not "
                f"{' or '.join(_OURS)}; got {backend.name!r}"
            )
        if backend.name in names:
            raise SettingsError(f"{prefix}name {backend.name!r} is that of a backend before it")
        names.add(backend.name)
        if backend.flavour not in FLAVOURS:
            raise SettingsError(f"{prefix}flavour must be one of {', '.join(FLAVOURS)}; got {backend.flavour!r}")
        check_url(f"{prefix}url", backend.url, backend.flavour)
        if not all(map(str.strip, backend.models)):
            raise SettingsError(f"{prefix}models has an empty name")
        _in_range(f"{prefix}weight", backend.weight, 0.001, 1000)
        _in_range(f"{prefix}max_concurrency", backend.max_concurrency, 0, 100_000)
        _in_range(f"{prefix}max_queue", backend.max_queue, 0, 1_000_000)
        _in_range(f"{prefix}queue_s", backend.queue_s, 0.001, 86400)
        _in_range(f"{prefix}max_tokens", backend.max_tokens, 0, 10_000_000)
        for key in ("connect_s", "first_token_s", "idle_s", "total_s"):
            if (value := getattr(backend.timeouts, key)) is not None:
                _in_range(f"{prefix}timeouts.{key}", value, 0.001, 86400)
        for header, value in backend.headers.items():
            _check_header(f"{prefix}headers.{header}", header, value)


def check_url(key: str, url: str, flavour: str) -> None:
    """Raises `SettingsError`, and does not repeat the address: a key may stand in it."""
    if not _is_http(url):
        raise SettingsError(f"{key} must be an http:// or https:// address")
    parts = urlsplit(url.strip())
    if "@" in parts.netloc:
        raise SettingsError(f"{key} has a user or a password in it: use api_key_env, or a header")
    asked = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if parts.fragment or asked - ({"api-version"} if flavour == "azure" else set()):
        raise SettingsError(f"{key} has a query or a fragment in it: use api_key_env for a key, or a header")


def _check_header(key: str, header: str, value: str) -> None:
    if not _HEADER.fullmatch(header) or not value.isascii() or not value.isprintable() or value != value.strip():
        raise SettingsError(f"{key} is no HTTP header of printable ASCII without spaces around it")
    if header.lower() in _NOT_TO_SET:
        raise SettingsError(f"{key} is not to be set: it belongs to the connection, and is written for every request")


def _check_aliases(aliases: tuple[AliasSettings, ...]) -> None:
    names = [alias.name for alias in aliases]
    stand_ins = [alias.name for alias in aliases if alias.targets]  # the others are models, with a fallback
    for number, alias in enumerate(aliases):
        prefix = f"aliases[{number}]."
        if not alias.name.strip() or names.index(alias.name) != number:
            raise SettingsError(f"{prefix}name must be a name of its own, got {alias.name!r}")
        if not alias.targets and not alias.fallback:
            raise SettingsError(f"{prefix}targets and fallback are both empty: it stands for nothing")
        for which, target in enumerate(alias.targets):
            key = f"{prefix}targets[{which}]"
            _check_model(f"{key}.model", target.model, alias.name, stand_ins)
            _in_range(f"{key}.weight", target.weight, 0, 1_000_000)
        if alias.targets and not any(target.weight for target in alias.targets):
            raise SettingsError(f"{prefix}targets weigh nothing, all of them")
        for which, model in enumerate(alias.fallback):
            _check_model(f"{prefix}fallback[{which}]", model, alias.name, stand_ins)


def _check_model(key: str, model: str, alias: str, stand_ins: list[str]) -> None:
    """An alias names models; its own name may be that of one."""
    if not model.strip():
        raise SettingsError(f"{key} must be the name of a model, got {model!r}")
    if model != alias and model in stand_ins:
        raise SettingsError(f"{key} is an alias itself; name a model, got {model!r}")


def _check_routing(routing: RoutingSettings) -> None:
    if routing.policy not in POLICIES:
        raise SettingsError(f"routing.policy must be one of {', '.join(POLICIES)}; got {routing.policy!r}")
    ranges = {
        "retries": (0, 10),
        "retry_first_s": (0.001, 60),
        "retry_wait_s": (0, 600),
        "retry_share": (0, 1),
        "breaker_failures": (0, 1000),
        "breaker_share": (0.01, 1),
        "breaker_window": (1, 10_000),
        "breaker_open_s": (0.01, 3600),
        "breaker_max_open_s": (routing.breaker_open_s, 86400),
        "health_s": (0, 3600),
        "health_down_after": (1, 100),
        "health_up_after": (1, 100),
    }
    for key, (low, high) in ranges.items():
        _in_range(f"routing.{key}", getattr(routing, key), low, high)


def _in_range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also refuses NaN
        raise SettingsError(f"{key} must be from {low} to {high}, got {value}")


def _is_http(url: str) -> bool:
    if not url.isascii() or not url.strip().isprintable() or " " in url.strip():
        return False  # urlsplit drops line breaks and tabs, and who connects does not
    try:
        parts = urlsplit(url.strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, or half an address
        return False
