"""Everything an operator can set, as one value."""

from dataclasses import dataclass, field
from pathlib import Path

from gateway.settings.backends import AliasSettings, BackendSettings, RoutingSettings
from gateway.settings.cache import CacheSettings
from gateway.settings.declared import NOT_SET
from gateway.settings.doors import is_loopback
from gateway.settings.engine import EngineSettings, ModelSettings
from gateway.settings.observing import AccessLogSettings, TracingSettings
from gateway.settings.prompts import NormaliseSettings, PrefixSettings
from gateway.settings.trust import (
    EdgeSettings,
    KeySettings,
    OidcSettings,
    RedactSettings,
    RetentionSettings,
    SealSettings,
    TenantSettings,
    TlsSettings,
)

DEMO = "demo"  # the name of the bundled model


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Limits on a remote backend, in seconds."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


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
    hosts: tuple[str, ...] = ()  # names by which pages may speak to a server that asks for no key; its own always may
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
    tenants: tuple[TenantSettings, ...] = ()  # what each may do, and how much of it: [[tenants]]
    oidc: OidcSettings = field(default_factory=OidcSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    edge: EdgeSettings = field(default_factory=EdgeSettings)
    seal: SealSettings = field(default_factory=SealSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    redact: RedactSettings = field(default_factory=RedactSettings)

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
    def needs_keys(self) -> bool:
        """Whether only who is known is served."""
        return self.keys.required or bool(self.oidc.issuer)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def served_name(source: str) -> str:
    """What clients call a local model unless told: a folder by its last part, `demo` and ORG/NAME as they are, without
    the revision that was pinned."""
    return Path(source).resolve().name if source != DEMO and Path(source).is_dir() else source.partition("@")[0]
