"""What an engine holds, told block by block in vLLM's KV events: prefixes of token ids under our own keys.

An event names blocks by the engine's hashes, which depend on its process; their token ids do not, so our keys are made
from those, and the engine's hash is only what a later event refers to. Events come from the engine's own network and
are read as data: what is not understood is skipped. Where prompts are keyed by text and not by token ids, no block can
be told from another, and what is passed on is that an engine has begun anew and how much room it has.

    Stored    hashes, their parent's hash, the token ids of all, tokens of a block, extra keys (the first: cache salt)
    Removed   hashes
    Cleared
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from backends.routing.prompt import Prompt, token_key, token_root

MOST_BLOCKS = 500_000  # remembered of an engine
BlockHash = int | bytes


class Listener(Protocol):
    """Who is told; `Affinity` is one."""

    def held(self, replica: str, prompt: Prompt) -> None: ...

    def lost(self, replica: str, prompt: Prompt, num_chunks: int) -> None: ...

    def room(self, num_tokens: int) -> None: ...

    def reset(self, replica: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Stored:
    hashes: Sequence[BlockHash]
    parent: BlockHash | None
    token_ids: Sequence[int]
    block_tokens: int
    salt: str  # of the first block; only one without a parent has it


@dataclass(frozen=True, slots=True)
class Removed:
    hashes: Sequence[BlockHash]


@dataclass(frozen=True, slots=True)
class Cleared:
    pass


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one moment, on the engine's clock."""

    at: float
    events: tuple[Stored | Removed | Cleared, ...]


def read_batch(payload: bytes) -> Batch:
    """The events of a message. Raises ValueError for what is none."""
    try:
        body = msgspec.msgpack.decode(payload)
        at, events = (body["ts"], body["events"]) if isinstance(body, dict) else (body[0], body[1])
        return Batch(float(at), tuple(event for raw in events if (event := _event(raw)) is not None))
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no batch of KV events: {error}") from error


FIELDS: Mapping[str, tuple[str, ...]] = {
    "BlockStored": (
        "block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name",
        "extra_keys", "group_idx",
    ),
    "BlockRemoved": ("block_hashes", "medium", "group_idx"),
    "AllBlocksCleared": (),
}  # fmt: skip


def _event(raw: Any) -> Stored | Removed | Cleared | None:
    """An event, written as an object (newer engines) or as a list (older ones); None for one that is not for us."""
    kind = raw.get("type") if isinstance(raw, dict) else raw[0]
    told = raw if isinstance(raw, dict) else dict(zip(FIELDS.get(str(kind), ()), raw[1:], strict=False))
    if told.get("medium") not in (None, "GPU") or told.get("group_idx") not in (None, 0) or told.get("lora_name"):
        return None
    if kind == "BlockStored":
        size, hashes, ids = int(told["block_size"]), list(told["block_hashes"]), list(told["token_ids"])
        if size < 1 or len(ids) != size * len(hashes):
            return None
        return Stored(hashes, told["parent_block_hash"], ids, size, _salt(told.get("extra_keys")))
    if kind == "BlockRemoved":
        return Removed(list(told["block_hashes"]))
    return Cleared() if kind == "AllBlocksCleared" else None


def _salt(extra_keys: Any) -> str:
    """The salt of the first block: the last text among what it was hashed with besides its tokens."""
    texts = [key for key in (extra_keys[0] if extra_keys else None) or () if isinstance(key, str)]
    return texts[-1] if texts else ""


@dataclass(frozen=True, slots=True)
class _Block:
    parent: BlockHash | None
    root: bytes
    key: int
    tokens: int


class EngineBlocks:
    """The blocks of one engine; passes on what changes. `by_tokens`: prompts are made by `prompt_of_tokens`."""

    def __init__(self, replica: str, listener: Listener, *, by_tokens: bool) -> None:
        self.replica, self._listener, self._by_tokens = replica, listener, by_tokens
        self._blocks: dict[BlockHash, _Block] = {}
        self._was_full = False

    def __len__(self) -> int:
        return len(self._blocks)

    def apply(self, batch: Batch) -> None:
        """Take in what happened."""
        for event in batch.events:
            if isinstance(event, Stored):
                self._store(event)
            elif isinstance(event, Removed):
                self._remove(event)
            else:
                self.clear()

    def clear(self) -> None:
        """The engine holds nothing any more."""
        self._blocks.clear()
        self._listener.reset(self.replica)

    def _store(self, event: Stored) -> None:
        before = self._blocks.get(event.parent) if event.parent is not None else None
        if event.parent is not None and before is None:
            return  # its beginning was stored before we listened
        if len(self._blocks) + len(event.hashes) > MOST_BLOCKS:
            self._blocks.clear()  # what we told stays told; reports correct it
            return
        root = before.root if before else token_root(event.salt)
        key, parent, size = before.key if before else 0, event.parent, event.block_tokens
        for place, name in enumerate(event.hashes):
            key = token_key(root, key, event.token_ids[place * size : (place + 1) * size])
            self._blocks[name] = _Block(parent, root, key, size)
            parent = name
        if event.hashes and self._by_tokens:
            self._listener.held(self.replica, self._prompt(event.hashes[-1]))

    def _remove(self, event: Removed) -> None:
        if not self._was_full:
            self._was_full = True
            self._listener.room(sum(block.tokens for block in self._blocks.values()))
        for name in event.hashes:
            if self._by_tokens and name in self._blocks:
                prompt = self._prompt(name)
                self._listener.lost(self.replica, prompt, len(prompt.chunks) - 1)
            self._blocks.pop(name, None)

    def _prompt(self, name: BlockHash) -> Prompt:
        """The prefix that ends with a block."""
        keys = tuple(block.key for block in self._up(name))[::-1]
        size = self._blocks[name].tokens
        return Prompt(keys, len(keys) * size, size)

    def _up(self, name: BlockHash | None) -> Iterator[_Block]:
        while name is not None and (block := self._blocks.get(name)) is not None:
            yield block
            name = block.parent
