"""Local models, each with an engine of its own: [engine] and [[models]]."""

from dataclasses import dataclass, field


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
    public_prompts: tuple[str, ...] = ()  # likewise, and every tenant's requests begin from them
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
