"""The answer cache: [cache] and [[cache.routes]]."""

from dataclasses import dataclass


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
    replay_tokens_per_s: float | None = None
    share_tenants: int = 0  # an answer is shared when so many tenants asked the very same; 2 or more; 0: never

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
    replay_tokens_per_s: float = 0.0  # stored answers are streamed at this pace, as if typed; 0: at once
    memory_mb: int = 48
    express_mb: int = 12  # prepared answers to requests that are asked again byte for byte; 0: none
    disk_mb: int = 1024
    index_mb: int = 512  # vectors at hand; past it those found least go; 0: no limit
    embeddings_mb: int = 256  # vectors kept for /v1/embeddings, on disk and up to 32 of it in memory; 0: none
    tenant_mb: int = 0  # what one tenant may keep on disk, and as large a part of memory; 0: no limit of its own
    eviction: str = "cost"  # what goes first when a budget is full; "lru", "lfu", "fifo", "random"
    usage_on_hit: str = "original"  # or "zero"
    hit_details: bool = True  # tell callers which entry answers, and how alike the questions are
    pad_shared_hits: bool = False  # what tenants share comes as slowly as if it were made, and looks like it
