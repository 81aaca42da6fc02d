"""What an operator may choose about the local engine."""

from dataclasses import dataclass, field
from pathlib import Path

from kvtier.eviction import POLICIES


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Limits and numerics of one engine. `secret` keys the block hashes: without it nobody can name a prefix."""

    secret: bytes = field(repr=False)
    seal_keys: tuple[bytes, ...] = field(default=(), repr=False)  # the first seals what leaves RAM, all open it
    kv_budget_bytes: int = 1 << 30  # kept prefixes; 0 keeps none
    slab_budget_bytes: int = 1 << 30  # keys and values of the running sequences; at least one full context
    max_running: int = 8
    max_waiting: int = 256
    prefill_chunk: int = 128  # tokens; chunks end at absolute multiples of it
    threads: int | None = None  # None: one on two cores or fewer, else all but one
    exact: bool = False  # hits change no bit of an answer; gives up partial blocks, answers' blocks and batched decode
    drafts: bool = True  # check guesses of the next tokens where that is faster; never in exact mode
    dtype: str = "auto"  # 'auto', 'float32' or 'bfloat16'
    weights: str = ""  # of the products: 'int8' or 'int4', faster and not quite the model; empty: as the checkpoint has
    device: str = "auto"  # 'auto' (CUDA where there is one), 'cpu' or 'cuda'
    idle_work: bool = (
        True  # compute the next turn of a conversation, and what is to be warm, while nothing else is to do
    )
    warm_prompts: tuple[str, ...] = ()  # system prompts to compute and pin at the start
    public_prompts: tuple[str, ...] = ()  # likewise, and found by requests under every salt
    warm_salt: str = ""  # whose they are
    warm_owner: str = ""
    max_new_tokens: int | None = None  # when the caller names no limit; None: the rest of the context
    context_tokens: int | None = None  # shorter than the checkpoint's own; None: the checkpoint's
    ready_wait_s: float = 30.0  # how long a request waits for an engine that is still loading
    load_s: float = 300.0  # loading without a sign of progress; then the process is ended and started anew
    hang_s: float = 60.0  # the same for one step
    memory_bytes: int = 0  # what the process may hold; 0: no limit
    num_engines: int = 1  # that share the cores of this machine
    kv_dir: Path | None = None  # where kept prefixes outlive the process; None: they do not
    kv_disk_bytes: int = 4 << 30  # 0: no disk tier
    kv_redis: str = field(default="", repr=False)  # URL of a Redis that keeps prefixes too; empty: none
    kv_codec: str = "raw"  # of what leaves RAM: 'raw', or 'int8' for half the bytes and not quite the same numbers

    kv_policy: str = "adaptive"  # which prefixes go when RAM is full; of POLICIES

    def __post_init__(self) -> None:
        if self.kv_policy not in POLICIES:
            raise ValueError(f"kv_policy {self.kv_policy!r} is none of {', '.join(POLICIES)}")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"dtype {self.dtype!r} is none of auto, float32, bfloat16")
        if self.weights not in ("", "int8", "int4"):
            raise ValueError(f"weights {self.weights!r} are none of int8, int4, or empty")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device {self.device!r} is none of auto, cpu, cuda")
        if self.kv_codec not in ("raw", "int8"):
            raise ValueError(f"kv_codec {self.kv_codec!r} is none of raw, int8")
        if self.exact and self.kv_codec != "raw":
            raise ValueError(f"kv_codec {self.kv_codec} changes bits, which exact=True promises not to")
        for name in ("max_running", "prefill_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is less than 1")
