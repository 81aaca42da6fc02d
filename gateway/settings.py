"""All configuration: one TOML file, `TWICETOLD_*` variables, command-line flags; checked at start.

The only reader of the environment. A later source wins: file, environment, flags. Nested keys are written with a
table in the file and with two underscores in the environment: `TWICETOLD_CACHE__MIN_SIMILARITY=0.97`.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

PREFIX = "TWICETOLD_"
EVICTION = ("cost", "lru", "lfu", "fifo", "random")
KV_POLICIES = ("adaptive", "cost-aware", "lru", "lfu", "random")
DEMO = "demo"  # the name of the bundled model
MODES = ("off", "shadow", "on")  # of the semantic tier; shadow: decide and measure, never serve


class SettingsError(Exception):
    """A setting cannot be used; the message names its key."""


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
    tenant_mb: int = 0  # what one tenant may keep on disk, and as large a part of memory; 0: no limit of its own
    eviction: str = "cost"  # what goes first when a budget is full; "lru", "lfu", "fifo", "random"
    usage_on_hit: str = "original"  # or "zero"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The local engine. 0 threads or tokens stand for "choose by the machine" or "the model's own"."""

    kv_mb: int = 1024
    kv_disk_mb: int = 4096  # kept prefixes on disk, under data_dir/kv; 0: none, and a restart forgets them
    kv_redis: str = field(default="", repr=False)  # redis:// URL of a server that keeps prefixes too; empty: none
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
class Settings:
    """Everything an operator can set."""

    host: str = "127.0.0.1"
    port: int = 8420
    data_dir: Path = field(default_factory=lambda: Path(".twicetold"))
    model: str = ""  # local model: "demo", a directory, or ORG/NAME; empty: the demo unless there is an upstream
    models: tuple[ModelSettings, ...] = ()  # more local models: [[models]] with a source, a name, settings of [engine]
    upstream: str = ""
    api_key_env: str = ""  # name of the variable that holds the upstream's key
    upstream_models: tuple[str, ...] = ()
    upstream_prediction: bool = False  # send near answers as OpenAI's prediction: faster, and what is wrong is billed
    upstream_key: str = field(default="", repr=False)  # read from the variable api_key_env names
    admin_key_env: str = ""  # name of the variable that holds the key of the admin API
    admin_key: str = field(default="", repr=False)  # read from the variable admin_key_env names
    allow_no_keys: bool = False  # serve beyond loopback without keys
    max_body_mb: float = 16.0
    drain_s: float = 10.0  # what runs when the server is told to stop may go on so long; then it is told and ended
    log_level: str = "info"
    cache: CacheSettings = field(default_factory=CacheSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    timeouts: UpstreamSettings = field(default_factory=UpstreamSettings)

    @property
    def local_model(self) -> str:
        """The local model to serve; empty for none."""
        return self.model or ("" if self.upstream or self.models else DEMO)

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
    for key, text in _from_environment(environ):
        _put(merged, key.split("__"), text, f"{PREFIX}{key.upper()}")
    merged.update({key: value for key, value in flags.items() if value is not None})
    models = merged.pop("models", [])
    settings: Settings = _build(Settings, merged, "")
    return _checked(replace(settings, models=_models(models, settings.engine)), environ)


def read_model(source: str, name: str, own: Mapping[str, Any], defaults: EngineSettings, prefix: str) -> ModelSettings:
    """A model, named by its source unless told, with what of [engine] is its `own`. Raises `SettingsError`."""
    read: EngineSettings = _build(EngineSettings, own, prefix)
    engine = replace(defaults, **{key: getattr(read, key) for key in own})
    _check_engine(engine, prefix)
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
    source, name = (_scalar(own.pop(key, ""), str, prefix + key) for key in ("source", "name"))
    if not source:
        raise SettingsError(f"{prefix}source is missing: demo, a directory, or ORG/NAME")
    return read_model(source, name, own, defaults, prefix)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the configuration file {path}: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted((name[len(PREFIX) :].lower(), text) for name, text in environ.items() if name.startswith(PREFIX))


def _put(tree: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{name}: {step} is not a group of settings")
    tree[path[-1]] = value


def _build(cls: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    hints = get_type_hints(cls)
    known = {item.name for item in fields(cls)} - {"upstream_key", "admin_key"}
    for key in values:
        if key not in known:
            raise SettingsError(f"{prefix}{key} is not a setting; there are: {', '.join(sorted(known))}")
    return cls(**{key: _convert(value, hints[key], prefix + key) for key, value in values.items()})


def _convert(value: Any, kind: Any, key: str) -> Any:
    """`value`, a TOML value or a text from the environment, as the type the field declares."""
    if isinstance(kind, UnionType):
        inner = next(arm for arm in get_args(kind) if arm is not NoneType)
        return None if value in (None, "") else _convert(value, inner, key)
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise SettingsError(f"{key} is a group of settings, got {value!r}")
        return _build(kind, value, f"{key}.")  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        items = value.split(",") if isinstance(value, str) and inner is str else value
        if not isinstance(items, list):
            raise SettingsError(f"{key} must be a list of {_listed(inner)}, got {value!r}")
        return tuple(
            _convert(item, inner, key if inner is str else f"{key}[{number}]") for number, item in enumerate(items)
        )
    return _scalar(value, kind, key)


def _scalar(value: Any, kind: type[Any], key: str) -> Any:
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        known = value if isinstance(value, bool) else words.get(str(value).lower())
        if known is None:
            raise SettingsError(f"{key} must be true or false, got {value!r}")
        return known
    is_cut = kind is int and isinstance(value, float)
    if isinstance(value, bool) or is_cut or (kind in (str, Path) and not isinstance(value, str | Path)):
        raise SettingsError(f"{key} must be {_said(kind)}, got {value!r}")
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{key} must be {_said(kind)}, got {value!r}") from error


def _listed(kind: Any) -> str:
    return "texts" if kind is str else "tables"


def _said(kind: type[Any]) -> str:
    return {int: "a whole number", float: "a number", str: "a text", Path: "a path"}[kind]


def _checked(settings: Settings, environ: Mapping[str, str]) -> Settings:
    _check_ranges(_ranges(settings))
    _check_engine(settings.engine, "engine.")
    _check_routes(settings.cache)
    if settings.cache.judge == "local" and not settings.local_model:
        raise SettingsError("cache.judge is local, and there is no local model: name one, or a model of the upstream")
    _check_names(settings)
    _one_of("cache.usage_on_hit", settings.cache.usage_on_hit, ("original", "zero"))
    _one_of("cache.eviction", settings.cache.eviction, EVICTION)
    _one_of("log_level", settings.log_level, ("debug", "info", "warning", "error"))
    if settings.upstream and not settings.upstream.startswith(("http://", "https://")):
        raise SettingsError(f"upstream must be an http:// or https:// address, got {settings.upstream!r}")
    if not settings.allow_no_keys and not is_loopback(settings.host):
        raise SettingsError(
            f"host {settings.host} can be reached by others and no keys are configured; "
            "serve on 127.0.0.1, or set allow_no_keys (--allow-no-keys) to accept everybody"
        )
    return replace(
        settings,
        upstream_key=read_key("api_key_env", settings.api_key_env, environ),
        admin_key=read_key("admin_key_env", settings.admin_key_env, environ),
    )


def _check_ranges(ranges: Mapping[str, tuple[float, float, float]]) -> None:
    for key, (value, low, high) in ranges.items():
        if not low <= value <= high:  # also refuses NaN
            raise SettingsError(f"{key} must be from {low} to {high}, got {value}")


def _check_engine(engine: EngineSettings, prefix: str) -> None:
    ranges = {
        "kv_mb": (engine.kv_mb, 0, 100_000_000),
        "kv_disk_mb": (engine.kv_disk_mb, 0, 100_000_000),
        "max_running": (engine.max_running, 1, 4096),
        "max_waiting": (engine.max_waiting, 0, 1_000_000),
        "threads": (engine.threads, 0, 1024),
        "max_new_tokens": (engine.max_new_tokens, 0, 10_000_000),
        "context_tokens": (engine.context_tokens, 0, 10_000_000),
        "ready_wait_s": (engine.ready_wait_s, 0, 86400),
        "load_s": (engine.load_s, 1, 86400),
        "hang_s": (engine.hang_s, 1, 86400),
        "memory_mb": (engine.memory_mb, 0, 100_000_000),
    }
    _check_ranges({prefix + key: limits for key, limits in ranges.items()})
    _one_of(f"{prefix}dtype", engine.dtype, ("auto", "float32", "bfloat16"))
    _one_of(f"{prefix}weights", engine.weights, ("auto", "int8", "int4"))
    _one_of(f"{prefix}device", engine.device, ("auto", "cpu", "cuda"))
    _one_of(f"{prefix}kv_policy", engine.kv_policy, KV_POLICIES)
    _one_of(f"{prefix}kv_codec", engine.kv_codec, ("raw", "int8"))
    if engine.exact and engine.kv_codec != "raw":
        raise SettingsError(f"{prefix}kv_codec {engine.kv_codec} changes bits, which {prefix}exact promises not to")
    if engine.kv_redis and not _is_redis(engine.kv_redis):
        raise SettingsError(f"{prefix}kv_redis must be a redis://, rediss:// or unix:// address")  # not said: passwords


def _check_routes(cache: CacheSettings) -> None:
    _one_of("cache.semantic_mode", cache.semantic_mode, MODES)
    _one_of("cache.embedder_precision", cache.embedder_precision, ("auto", "float32", "bfloat16"))
    names = set()
    for number, route in enumerate(cache.routes):
        prefix = f"cache.routes[{number}]."
        if route.semantic_mode is not None:
            _one_of(f"{prefix}semantic_mode", route.semantic_mode, MODES)
        shares = {"max_wrong_hit_rate": (0.0001, 0.5), "shadow_rate": (0, 1), "min_similarity": (0, 1)}
        given = ((key, getattr(route, key), *limits) for key, limits in shares.items())
        _check_ranges({prefix + key: (value, low, high) for key, value, low, high in given if value is not None})
        if route.name in names:
            raise SettingsError(f"{prefix}model, namespace and tenant are those of a route before it: {route.name}")
        names.add(route.name)


def _check_names(settings: Settings) -> None:
    names = [model.name for model in settings.local_models]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"models: {name!r} is the name of two models; give each a name of its own")


def _ranges(settings: Settings) -> dict[str, tuple[float, float, float]]:
    """Every bounded number: its value, the least and the most it may be."""
    timeouts = settings.timeouts
    return {
        "timeouts.connect_s": (timeouts.connect_s, 0.001, 86400),
        "timeouts.first_token_s": (timeouts.first_token_s, 0.001, 86400),
        "timeouts.idle_s": (timeouts.idle_s, 0.001, 86400),
        "timeouts.total_s": (timeouts.total_s, 0.001, 86400),
        "cache.default_ttl_s": (settings.cache.default_ttl_s or 0, 0, 10**10),
        "cache.max_ttl_s": (settings.cache.max_ttl_s or 0, 0, 10**10),
        "port": (settings.port, 0, 65535),
        "max_body_mb": (settings.max_body_mb, 0.001, 1024),
        "drain_s": (settings.drain_s, 0, 86400),
        "cache.min_similarity": (settings.cache.min_similarity, 0, 1),
        "cache.max_wrong_hit_rate": (settings.cache.max_wrong_hit_rate, 0.0001, 0.5),
        "cache.shadow_rate": (settings.cache.shadow_rate, 0, 1),
        "cache.judge_per_hour": (settings.cache.judge_per_hour, 0, 1_000_000),
        "cache.labels_per_tenant": (settings.cache.labels_per_tenant, 1, 10_000_000),
        "cache.max_temperature": (settings.cache.max_temperature, 0, 2),
        "cache.memory_mb": (settings.cache.memory_mb, 0, 1_000_000),
        "cache.disk_mb": (settings.cache.disk_mb, 1, 100_000_000),
        "cache.index_mb": (settings.cache.index_mb, 0, 100_000_000),
        "cache.tenant_mb": (settings.cache.tenant_mb, 0, 100_000_000),
        "cache.embedder_threads": (settings.cache.embedder_threads, 1, 1024),
        "cache.embedder_timeout_s": (settings.cache.embedder_timeout_s, 0.001, 3600),
    }


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{key} must be one of {', '.join(known)}; got {value!r}")


def _is_redis(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("redis", "rediss", "unix") and parts.port != 0
    except ValueError:  # a port that is none, or half an address
        return False


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, for itself only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_key(setting: str, variable: str, environ: Mapping[str, str] | None = None) -> str:
    """The key in the variable a setting names; empty when it names none. Raises `SettingsError`."""
    environ = os.environ if environ is None else environ
    if not variable:
        return ""
    key = environ.get(variable, "")
    if not key:
        raise SettingsError(f"{setting} names the variable {variable}, which is not set")
    return key
