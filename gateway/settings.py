"""All configuration: one TOML file, `TWICETOLD_*` variables, command-line flags; checked at start (`limits.py`).

The only reader of the environment. A later source wins: file, environment, flags. Nested keys are written with a
table in the file and with two underscores in the environment: `TWICETOLD_CACHE__MIN_SIMILARITY=0.97`.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from gateway.backend_settings import AliasSettings, BackendSettings, RoutingSettings
from gateway.declared import NOT_SET, SettingsError, build, put, scalar
from gateway.limits import check, check_engine, is_loopback
from gateway.normalise.route import route_of

__all__ = [
    "DEMO",
    "AccessLogSettings",
    "CacheSettings",
    "EngineSettings",
    "KeySettings",
    "ModelSettings",
    "NormaliseSettings",
    "PrefixSettings",
    "RouteSettings",
    "Settings",
    "SettingsError",
    "SharedSettings",
    "TracingSettings",
    "UpstreamSettings",
    "load_settings",
    "read_key",
    "read_model",
    "served_name",
]

PREFIX = "TWICETOLD_"
COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
DEMO = "demo"  # the name of the bundled model
SECRET_CHARS, SECRET_VARIETY = 32, 8  # the least length of a shared secret, and the least number of its characters


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """What [cache] says otherwise for some of the traffic: [[cache.routes]], the first that matches. None: as [cache].

    `model` and `namespace` may hold * and ?; `tenant` is the name that the admin API shows, empty for everybody.
    """

    model: str = "*"
    namespace: str = "*"
    tenant: str = ""
    semantic_mode: str | None = None
    max_wrong_hit_rate: float | None = None
    shadow_rate: float | None = None
    min_similarity: float | None = None
    semantic_history: str | None = None
    hit_details: bool | None = None

    @property
    def name(self) -> str:
        """What it matches, in one word: what is learned on a route is found again under it."""
        said = (("model", self.model, "*"), ("namespace", self.namespace, "*"), ("tenant", self.tenant, ""))
        return ",".join(f"{key}={value}" for key, value, every in said if value != every) or "*"


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The answer cache."""

    enabled: bool = True
    semantic: bool = True  # load an embedder at all
    semantic_mode: str = "on"  # or "shadow", "off"
    max_wrong_hit_rate: float = 0.01  # wrong semantic hits, of all semantic hits
    shadow_rate: float = 0.05  # of the would-be hits, answered anew all the same and compared
    semantic_history: str = "strict"  # or "loose": a last turn that stands alone may be answered for another history
    rewriter: str = ""  # for "loose": a model that makes last turns stand alone; "local": the local engine; "rules"
    rewriter_timeout_s: float = 2.0
    judge: str = ""  # a model that is asked whether two answers say the same; "local": the local engine, when idle
    judge_per_hour: int = 120  # questions to the judge, for each tenant
    promotion: bool = True  # a question the judge finds answered becomes another name of the stored answer
    labels_per_tenant: int = 20_000  # comparisons remembered; the oldest go
    second_look: str = ""  # a cross-encoder, by name or directory, for pairs the verifier is unsure about; empty: none
    routes: tuple[RouteSettings, ...] = ()
    embedder: str = ""  # empty: the bundled all-MiniLM-L6-v2; else a sentence-transformers name or directory
    embedder_threads: int = 1
    embedder_precision: str = "auto"  # or "float32", "bfloat16"; another one embeds what is stored anew
    embedder_timeout_s: float = 2.0  # for reading a question, and for a verdict on it; then it goes on without
    min_similarity: float = 0.0  # no semantic hit under this cosine, whatever else speaks for it
    max_temperature: float = 1.0
    default_ttl_s: float | None = None
    max_ttl_s: float | None = None
    sliding_ttl: bool = False  # every use of an answer prolongs its life, up to max_ttl_s after it was made
    memory_mb: int = 64
    disk_mb: int = 1024
    index_mb: int = 512  # vectors at hand; past it rows take half, then those found least go; 0: no limit
    embeddings_mb: int = 256  # vectors kept for /v1/embeddings, on disk and up to 32 of it in memory; 0: none
    tenant_mb: int = 0  # what one tenant may keep on disk, and as large a part of memory; 0: no limit of its own
    eviction: str = "cost"  # what goes first when a budget is full; "lru", "lfu", "fifo", "random"
    usage_on_hit: str = "original"  # or "zero"
    hit_details: bool = True  # tell callers which entry answers, and how alike the questions are


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The local engine. 0 threads or tokens stand for "choose by the machine" or "the model's own"."""

    kv_mb: int = 1024
    kv_disk_mb: int = 4096  # kept prefixes on disk, under data_dir/kv; 0: none, and a restart forgets them
    kv_redis: str = field(default="", repr=False)  # URL of a Redis that keeps prefixes too; empty: as `redis`; or "off"
    kv_policy: str = "adaptive"  # which prefixes go when RAM is full; "cost-aware", "lru", "lfu", "random"
    kv_codec: str = "raw"  # of what leaves RAM; "int8": half the bytes, and not quite the same numbers
    max_running: int = 16
    max_waiting: int = 128
    threads: int = 0
    dtype: str = "auto"
    weights: str = "auto"  # as the checkpoint has them; "int8" or "int4": faster on a processor, not quite the model
    device: str = "auto"  # CUDA where there is one; "cpu" or "cuda"
    exact: bool = False  # a hit changes no bit of an answer; costs partial-block hits and batched decode
    drafts: bool = True  # check guesses of the next tokens where that is faster; not with exact
    idle_work: bool = True  # compute what the next turn of a conversation begins with, while nothing else is to do
    warm_prompts: tuple[str, ...] = ()  # system prompts to compute and pin at the start; @FILE for the text of a file
    max_new_tokens: int = 0
    context_tokens: int = 0
    ready_wait_s: float = 30.0  # a request waits so long for an engine that is loading
    load_s: float = 300.0  # an engine may load so long without a sign of progress
    hang_s: float = 60.0  # and take so long for one step; then it is ended and started anew
    memory_mb: int = 0  # what an engine process may hold; 0: no limit


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """A local model with an engine of its own."""

    source: str  # "demo", a directory, or ORG/NAME
    name: str  # what clients call it
    engine: EngineSettings = field(default_factory=EngineSettings)


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Limits on a remote backend, in seconds."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


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


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """One JSON line per request: [access_log]."""

    path: str = ""  # a file, or "-" for standard output; empty: no access log
    questions: bool = False  # with the beginning of what was asked


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Spans for OpenTelemetry: [tracing]. Needs the extra `otel`."""

    endpoint: str = ""  # of a collector that speaks OTLP over HTTP; empty: OTEL_EXPORTER_OTLP_ENDPOINT, else no spans
    service: str = "twicetold"  # the name of this service in them
    sample: float = 1.0  # the share of traces that are begun here and kept; a caller's decision is followed
    questions: bool = False  # with the beginning of what was asked
    is_from_environment: bool = field(default=False, metadata=NOT_SET)


@dataclass(frozen=True, slots=True)
class SharedSettings:
    """What gateways on one Redis share; with `redis` alone."""

    answers_mb: int = 1024  # what answers may weigh in Redis; a sixteenth of it for each of sixteen shelves
    tenant_mb: int = 0  # what one tenant may keep of it; 0: no limit of its own
    queue_mb: int = 16  # writes that wait while Redis is away
    vectors: bool = True  # what cache.index_mb has no room for is searched in Redis, where it can (Redis 8)
    lease_s: float = 3.0  # how long a gateway that fell silent holds up those that wait for its generation
    timeout_s: float = 0.5  # for one word with Redis; then the request goes on without


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Keys that the gateway gives out: `twicetold keys`."""

    required: bool = False  # whoever shows none of them, or one that ended, is refused


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can set."""

    host: str = "127.0.0.1"
    port: int = 8420
    data_dir: Path = field(default_factory=lambda: Path(".twicetold"))
    model: str = ""  # local model: "demo", a directory, or ORG/NAME; empty: the demo unless there is an upstream
    models: tuple[ModelSettings, ...] = ()  # more local models: [[models]] with a source, a name, settings of [engine]
    upstream: str = ""
    backends: tuple[BackendSettings, ...] = ()  # servers, as many as there are: [[backends]]
    aliases: tuple[AliasSettings, ...] = ()  # names that stand for other models: [[aliases]]
    api_key_env: str = ""  # name of the variable that holds the upstream's key
    upstream_flavour: str = "openai"  # what kind of server it is: docs/backends.md
    upstream_models: tuple[str, ...] = ()
    upstream_prediction: bool = False  # send near answers as OpenAI's prediction: faster, and what is wrong is billed
    upstream_key: str = field(default="", repr=False, metadata=NOT_SET)  # read from the variable api_key_env names
    admin_key_env: str = ""  # name of the variable that holds the key of the admin API
    admin_key: str = field(default="", repr=False, metadata=NOT_SET)  # read from the variable admin_key_env names
    secret_env: str = ""  # name of the variable with the secret that replicas share; empty: one of its own, on disk
    secret: str = field(default="", repr=False, metadata=NOT_SET)  # read from the variable secret_env names
    redis: str = field(default="", repr=False)  # URL of a Redis that many gateways keep answers in; empty: a file
    redis_password_env: str = ""  # name of the variable with its password, where the URL has none: arguments are seen
    allow_no_keys: bool = False  # serve beyond loopback without keys
    max_body_mb: float = 16.0
    drain_s: float = 10.0  # what runs when the server is told to stop may go on so long; then it is told and ended
    log_level: str = "info"
    cache: CacheSettings = field(default_factory=CacheSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    timeouts: UpstreamSettings = field(default_factory=UpstreamSettings)
    normalise: tuple[NormaliseSettings, ...] = ()
    prefixes: PrefixSettings = field(default_factory=PrefixSettings)
    access_log: AccessLogSettings = field(default_factory=AccessLogSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    shared: SharedSettings = field(default_factory=SharedSettings)
    keys: KeySettings = field(default_factory=KeySettings)

    @property
    def local_model(self) -> str:
        """The local model to serve; empty for none."""
        return self.model or ("" if self.upstream or self.models or self.backends else DEMO)

    @property
    def local_models(self) -> tuple[ModelSettings, ...]:
        """Every local model to serve, the one of `model` first."""
        first = self.local_model
        return (*((ModelSettings(first, served_name(first), self.engine),) if first else ()), *self.models)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def served_name(source: str) -> str:
    """What clients call a local model unless told: a folder by its last part, `demo` and ORG/NAME as they are."""
    return Path(source).resolve().name if source != DEMO and Path(source).is_dir() else source


def load_settings(
    flags: Mapping[str, Any], config: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Merge file, environment and flags. Raises `SettingsError` naming the key."""
    environ = os.environ if environ is None else environ
    merged = _from_file(config) if config is not None else {}
    for key, text in _from_environment(environ, {*_places(merged), *_places(flags)}):
        put(merged, key.split("__"), text, f"{PREFIX}{key.upper()}")
    merged.update({key: value for key, value in flags.items() if value is not None})
    models = merged.pop("models", [])
    settings: Settings = build(Settings, merged, "")
    settings = replace(settings, models=_models(models, settings.engine))
    check(settings)
    for number, route in enumerate(settings.normalise):
        route_of(route, f"normalise[{number}]")  # a bad one stops the start
    return replace(
        settings,
        upstream_key=read_key("api_key_env", settings.api_key_env, environ),
        admin_key=read_key("admin_key_env", settings.admin_key_env, environ),
        secret=_read_secret(settings.secret_env, environ),
        tracing=_tracing(settings.tracing, environ),
        redis=_with_password(settings.redis, read_key("redis_password_env", settings.redis_password_env, environ)),
        backends=tuple(
            replace(backend, api_key=read_key(f"backends[{number}].api_key_env", backend.api_key_env, environ))
            for number, backend in enumerate(settings.backends)
        ),
    )


def read_model(source: str, name: str, own: Mapping[str, Any], defaults: EngineSettings, prefix: str) -> ModelSettings:
    """A model, named by its source unless told, with what of [engine] is its `own`. Raises `SettingsError`."""
    read: EngineSettings = build(EngineSettings, own, prefix)
    engine = replace(defaults, **{key: getattr(read, key) for key in own})
    check_engine(engine, prefix)
    return ModelSettings(source, name or served_name(source), engine)


def _models(values: Any, defaults: EngineSettings) -> tuple[ModelSettings, ...]:
    """What [[models]] says, or a text of sources between commas."""
    items = (
        [{"source": name} for item in values.split(",") if (name := item.strip())]
        if isinstance(values, str)
        else values
    )
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise SettingsError(f"models must be a list of tables, got {values!r}")
    return tuple(_model(item, defaults, f"models[{number}].") for number, item in enumerate(items))


def _model(item: Mapping[str, Any], defaults: EngineSettings, prefix: str) -> ModelSettings:
    own = dict(item)
    source, name = (scalar(own.pop(key, ""), str, prefix + key) for key in ("source", "name"))
    if not source:
        raise SettingsError(f"{prefix}source is missing: demo, a directory, or ORG/NAME")
    return read_model(source, name, own, defaults, prefix)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the configuration file {path}: {error}") from error


def _places(said: Any) -> Iterator[str]:
    """The variables that are said to hold a key, wherever it is said."""
    items = said.items() if isinstance(said, Mapping) else enumerate(said) if isinstance(said, list) else ()
    for name, value in items:
        if isinstance(value, str) and str(name).lower().endswith("_env"):
            yield value
        yield from _places(value)


def _from_environment(environ: Mapping[str, str], places: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Settings among the variables; one that is named as the place of a key is none, whatever it is called."""
    ours = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    named = {*places, *_places(ours)}
    return sorted((name[len(PREFIX) :].lower(), text) for name, text in ours.items() if name not in named)


def read_key(setting: str, variable: str, environ: Mapping[str, str] | None = None) -> str:
    """The key in the variable a setting names; empty when it names none. Raises `SettingsError`."""
    environ = os.environ if environ is None else environ
    if not variable:
        return ""
    key = environ.get(variable, "").strip()  # a line end behind it is none of it
    if not key:
        raise SettingsError(f"{setting} names the variable {variable}, which is not set")
    if not key.isprintable():
        raise SettingsError(
            f"{setting} names the variable {variable}, which holds what no key has: a line break or such"
        )
    return key


def _tracing(settings: TracingSettings, environ: Mapping[str, str]) -> TracingSettings:
    """Where spans go by the variable that every program with OpenTelemetry knows, unless we were told."""
    named = environ.get(COLLECTOR, "").strip()
    if settings.endpoint or not named or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return settings
    return replace(settings, endpoint=named, is_from_environment=True)


def _with_password(url: str, password: str) -> str:
    """The URL of a Redis with a password that may be of any characters. Raises `SettingsError`."""
    if not url or not password:
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if ":" in user:
        raise SettingsError("redis holds a password, and redis_password_env names another: leave one of them out")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def _read_secret(variable: str, environ: Mapping[str, str]) -> str:
    """The text that replicas share; a line end behind it is none of it. Raises `SettingsError`, and never says it."""
    text = read_key("secret_env", variable, environ).strip()
    if variable and (len(text) < SECRET_CHARS or len(set(text)) < SECRET_VARIETY):
        raise SettingsError(
            f"secret_env names the variable {variable}, which holds {len(text)} characters, {len(set(text))} of them"
            f" different; it takes {SECRET_CHARS} and {SECRET_VARIETY} (openssl rand -hex 32)"
        )
    return text
