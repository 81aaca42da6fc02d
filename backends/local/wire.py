"""What the gateway and the engine process say to each other: length-prefixed JSON frames, each a list of messages.

    frame = 4 bytes length, little-endian | [[name of the message, its fields], ...]

Down go Load (once, first), Submit, Abort, Warm, Clear, Erase, Survey and Ping; up come Loading (often), Ready or Failed
(once), then the events of every step. Whatever comes up is a sign of life; a Ping is answered by Stats.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from backends.local.params import Sampling

LENGTH_BYTES = 4


FEW_SLABS_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Load:
    """What the engine process is to serve."""

    checkpoint: str
    fingerprint: str
    dtype: str
    threads: int
    context_tokens: int
    eos_token_ids: list[int]
    kv_budget_bytes: int
    slab_budget_bytes: int
    max_running: int
    max_waiting: int
    prefill_chunk: int
    exact: bool
    secret: str = field(repr=False)  # hex
    drafts: bool = False  # check guesses of the next tokens along with the last one
    memory_bytes: int = 0  # what the process may hold; 0: no limit
    idle_work: bool = True
    kv_dir: str = ""  # where kept prefixes outlive the process; empty: they do not
    kv_disk_bytes: int = 0
    kv_redis: str = field(default="", repr=False)  # may hold a password
    kv_codec: str = "raw"
    kv_policy: str = "adaptive"  # which prefixes go when RAM is full
    weights: str = ""  # of the products: 'int8' or 'int4'; empty: as the checkpoint has them
    device: str = "auto"
    model: str = ""  # what clients call it, for the log
    seal_keys: list[str] = field(default_factory=list, repr=False)  # hex; the first seals what leaves RAM

    @property
    def spare_budget_bytes(self) -> int:
        """What slabs may hold that wait for the next turn: no more than prefixes may, but for a few slabs."""
        return min(self.slab_budget_bytes // 2, max(self.kv_budget_bytes, FEW_SLABS_BYTES))


@dataclass(frozen=True, slots=True)
class Submit:
    """One request: `n` sequences over one prompt."""

    request: int
    prompt: list[int]
    max_tokens: int
    sampling: Sampling
    n: int = 1
    ignore_eos: bool = False
    salt: str = ""
    use_kv: bool = True
    publish_kv: bool = True
    owner: str = ""  # who shares the engine and its blocks fairly with others
    priority: int = 0  # lower goes first
    timeout_s: float | None = None  # from its arrival on; None: none
    drafts: list[int] = field(default_factory=list)  # tokens the answer may repeat
    grammar: str = ""  # what the answer must be, in the words of `grammar`; empty: anything


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop a request, or one choice of it; unknown ones are nothing to stop."""

    request: int
    index: int | None = None
    keep_tail: bool = False  # it ended at a stop string: what it has computed is as good as any answer's


@dataclass(frozen=True, slots=True)
class Warm:
    """Compute a prompt when nothing else is to do, and keep its blocks."""

    request: int
    prompt: list[int]
    salt: str = ""
    owner: str = ""
    pin: bool = False  # and keep them whatever comes
    is_awaited: bool = False  # somebody wants to hear of it: it is refused rather than dropped
    is_public: bool = False  # the operator's, for requests under every salt, whatever `salt` and `owner` say


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget every kept prefix."""


@dataclass(frozen=True, slots=True)
class Erase:
    """Forget what is kept for one owner, wherever it is; `Erased` answers."""

    request: int
    owner: str
    patience_s: float = 10.0  # for slower tiers; what they have not done by then they do later


@dataclass(frozen=True, slots=True)
class Survey:
    """Find out which prefixes are shared most, beside the steps; `Surveyed` answers."""

    request: int
    most_nodes: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Say something, as soon as the step under way is done."""


@dataclass(frozen=True, slots=True)
class Loading:
    """How far the start is: `done` of `total` parts of a stage; a total of 0 is not known."""

    stage: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The model cannot be loaded."""

    reason: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """A choice has its slab; `cached_tokens` of its prompt were copied into it, and from which tiers."""

    request: int
    index: int
    cached_tokens: int
    by_tier: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Token:
    """One more token of a choice; with a `finish_reason` its last."""

    request: int
    index: int
    token_id: int
    finish_reason: str | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Some more tokens of a choice, none of them its last, and nothing to say of them but what they are."""

    request: int
    index: int
    token_ids: list[int]


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine does not take a request now, or never will."""

    request: int
    reason: str = "the engine's queue is full"
    is_hopeless: bool = False  # it can never fit
    param: str = "messages"  # the field it is about, when it is hopeless


@dataclass(frozen=True, slots=True)
class Expired:
    """The time of a request is over; no more of its tokens follow."""

    request: int
    timeout_s: float
    num_tokens: int  # generated until then


@dataclass(frozen=True, slots=True)
class Warmed:
    """A prompt is computed: so many of its tokens are kept now, so many of them pinned."""

    request: int
    num_tokens: int
    pinned: int
    by_tier: dict[str, int] = field(default_factory=dict)  # what needed no computing


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The most shared prefixes, as `kvtier.survey.Survey` reports them."""

    request: int
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Erased:
    """What was kept for an owner is forgotten: blocks of RAM, segments of each tier that is done by now."""

    request: int
    blocks: int
    segments: dict[str, int] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)  # tiers that are not; each goes on trying


@dataclass(frozen=True, slots=True)
class Broken:
    """The engine gives a request up, and lives on."""

    request: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stats:
    """The state and counters of the engine."""

    running: int = 0
    waiting: int = 0
    slab_tokens: int = 0
    slab_tokens_total: int = 0
    prefill_tokens: int = 0  # prompt tokens computed
    prefill_s: float = 0.0  # for them: what is kept copied in, and the rows' share of their forwards
    decode_tokens: int = 0  # tokens generated
    preemptions: int = 0
    aborts: int = 0
    expired: int = 0
    idle_tasks: int = 0  # prompts computed while nothing else was to do
    idle_tokens: int = 0
    idle_s: float = 0.0
    idle_dropped: int = 0  # tasks that were outdated, or too many
    drafts_accepted: int = 0  # tokens
    drafts_rejected: int = 0
    kv: dict[str, int] = field(default_factory=dict)


Event = Admitted | Token | Tokens | Refused | Expired | Broken | Warmed | Surveyed | Erased
Message = Load | Submit | Abort | Warm | Clear | Erase | Survey | Ping | Loading | Ready | Failed | Event | Stats
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Load,
        Submit,
        Abort,
        Warm,
        Clear,
        Erase,
        Survey,
        Ping,
        Loading,
        Ready,
        Failed,
        Admitted,
        Token,
        Tokens,
        Refused,
        Expired,
        Broken,
        Warmed,
        Surveyed,
        Erased,
        Stats,
    )
}


def encode(messages: Iterable[Message]) -> bytes:
    """One frame."""
    body = orjson.dumps([(type(message).__name__, message) for message in messages])
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


class FrameDecoder:
    """Cuts a byte stream into messages; where it was cut into chunks does not matter."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Take the next bytes; yield the messages they complete. Exhaust it before the next call."""
        self._buffer += chunk
        while len(self._buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._buffer[:LENGTH_BYTES], "little")
            if len(self._buffer) < end:
                return
            body = orjson.loads(self._buffer[LENGTH_BYTES:end])
            del self._buffer[:end]
            for name, fields in body:
                yield _decode(name, fields)


def _decode(name: str, fields: dict[str, Any]) -> Message:
    if name == "Submit":
        fields["sampling"] = Sampling(**fields["sampling"])
    message: Message = _KINDS[name](**fields)
    return message
