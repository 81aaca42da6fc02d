"""Who may do what, and how much of it: [keys]."""

from dataclasses import dataclass, field

from gateway.settings.declared import NOT_SET


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Keys that the gateway gives out: `twicetold keys`."""

    required: bool = False  # whoever shows none of them, or one that ended, is refused
    open_metrics: bool = True  # /metrics needs no key; false: the admin key, or a key with admin:read


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Tokens of an identity provider as credentials: [oidc]. Whoever shows none, and no key of ours, is refused."""

    issuer: str = ""  # as it stands in tokens; empty: none are taken
    audience: str = ""  # what a token has to be meant for
    jwks_url: str = ""  # the issuer's public keys; empty: as its /.well-known/openid-configuration says
    tenant_claim: str = "sub"  # whose is a tenant of its own
    scope_claim: str = ""  # what a token opens, as keys' scopes; empty: chat and feedback
    scope_prefix: str = ""  # what stands before a scope's name there
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    leeway_s: float = 30.0  # by which clocks may differ
    jwks_s: float = 600.0  # keys are read anew so often
    refetch_s: float = 30.0  # and at most so often for a key that is not among them
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """HTTPS: [tls]. Renewed files are taken up while serving."""

    cert: str = ""  # file with the certificate and those between it and a root, PEM; empty: plain HTTP
    key: str = ""  # file with its key; empty: in the file of the certificate
    key_password_env: str = ""  # name of the variable with the key's password
    key_password: str = field(default="", repr=False, metadata=NOT_SET)
    client_ca: str = ""  # file with the roots of certificates that every caller has to show; empty: none has to


COSTLY = frozenset({"no-cache", "max-age", "stale", "ttl", "tags"})  # controls that a policy may take from callers


@dataclass(frozen=True, slots=True)
class Limits:
    """How much: of one tenant, or of one key. None: no limit. Days and months are those of UTC."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None  # requests under way
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    money_per_month: float | None = None  # in the currency of the price list
    count_hits: bool = False  # stored answers count as tokens too, and as money

    @property
    def any(self) -> bool:
        return self != Limits(count_hits=self.count_hits)


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """What one tenant may do: [[tenants]]. It only narrows what [cache] and its routes allow."""

    tenant: str = ""  # the name that the admin API shows, "anonymous", or "*": every tenant that is not named
    name: str = ""  # what the operator calls it
    models: tuple[str, ...] = ("*",)  # may hold * and ?
    semantic_mode: str = "on"
    max_ttl_s: float | None = None
    min_similarity: float = 0.0
    hit_details: bool = True
    controls: tuple[str, ...] = ("*",)  # of no-cache, max-age, stale, ttl, tags; "*": all of them
    refuse_controls: bool = False  # answer 403 to a control that is not allowed, instead of leaving it out
    share: bool = True  # part of routes with share_tenants
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class SealSettings:
    """Encryption of what is kept, on disk and in Redis: [seal]. The key must not lie beside the data."""

    key_env: str = ""  # name of the variable with the key, or @FILE; empty: what is kept is not encrypted
    key: str = field(default="", repr=False, metadata=NOT_SET)
    old_keys_env: str = ""  # the same, of keys that were used before, commas between them: they still open
    old_keys: tuple[str, ...] = field(default=(), repr=False, metadata=NOT_SET)


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long anything is kept at most, in seconds, whatever a ttl says: [retention]. 0: no such limit."""

    answers_s: float = 0.0  # answers and vectors of /v1/embeddings, from when they were made
    labels_s: float = 0.0  # what lanes learn from
    kv_s: float = 0.0  # kept prefixes: all are cleared this often
    conversations_s: float = 0.0  # what previous_response_id goes on from
    requests_s: float = 0.0  # words of the last requests, as the dashboard shows them


@dataclass(frozen=True, slots=True)
class RedactSettings:
    """What must not be kept: [redact]. A request or answer that holds any of it is answered, and not kept."""

    patterns: tuple[str, ...] = ()  # RE2
    hook: str = ""  # "module:function": text -> whether it must not be kept


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """How much is let in, and how slow it may be: [edge]. 0: no limit."""

    connections: int = 4096  # open at once; fewer where the system allows fewer descriptors
    requests: int = 2048  # under way on /v1; more get 503 with Retry-After
    bodies_mb: int = 512  # of bodies of requests under way, together
    head_kb: int = 64  # request line and headers of one request
    head_s: float = 10.0  # for these to come in
    body_s: float = 30.0  # for a body to come in, and a second more for every KiB of it
    idle_s: float = 30.0  # a connection stays open between two requests
    write_s: float = 60.0  # a caller may leave unread what is there for it; then it is cut off
    memory_mb: int = 0  # of this process, without engines; 0: what the container may have, if that is limited
    flush_s: float = 10.0  # for what is owed to the store when the server stops
