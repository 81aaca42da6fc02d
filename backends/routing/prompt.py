"""What a prompt is to a router: a chain of keys, one for every 64 bytes of it.

    root                       the tenant's salt
    key 0 = H(root; chunk 0)   H(k; m) is BLAKE2b keyed with k
    key 1 = H(root; key 0 | chunk 1)

A key names a whole prefix, so two prompts begin alike exactly as far as their chains are equal, and two tenants share
no key. A chunk is 64 bytes of UTF-8, about 16 tokens in most languages; where token ids are known a chunk is a block
of them. Keys are 64 bits: one that collides costs a wrong guess of where a prefix lies, never a wrong answer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

import orjson

from backends.chat import JSON, ChatRequest

CHUNK_BYTES = 64
CHUNK_TOKENS = 16  # four bytes a token, near enough for English, Chinese and code
MOST_CHUNKS = 8192  # 128k tokens: what lies behind is known to be there, and told from nothing
HOME_TOKENS = 256  # a prefix that nobody has seen belongs where its first 256 tokens do
LONG_BYTES = 4096  # a link longer than this is data: told by its length and its ends
KEY_BYTES = 8


@dataclass(frozen=True, slots=True)
class Prompt:
    """The chain of a prompt's keys, and what else of it decides where it goes."""

    chunks: tuple[int, ...]  # chunks[k] names the first k + 1 chunks
    num_tokens: int  # of the whole prompt, about
    chunk_tokens: int = CHUNK_TOKENS
    home: int = 0  # equal for prompts that belong together: the client's prompt_cache_key, else the first tokens
    opening: int = 0  # equal for all turns of a conversation: everything up to its first user message
    is_later: bool = False  # a later turn: it holds answers, so some gateway has sent its beginning somewhere
    is_kept: bool = True  # False: it leaves nothing behind in the replica that reads it


def prompt_of(request: ChatRequest) -> Prompt:
    """The keys of a request's prompt, rooted in its tenant's salt."""
    root = _root(request.kv_salt)
    texts = list(_rendered(request))
    packed = "".join(texts).encode("utf-8", "surrogatepass")
    num_tokens = -(-len(packed) // (CHUNK_BYTES // CHUNK_TOKENS))
    opening = _opening(root, request, texts)
    key = request.params.get("prompt_cache_key")
    if not request.use_kv:
        return Prompt((), num_tokens, home=opening, opening=opening, is_kept=False)
    pieces = (packed[start : start + CHUNK_BYTES] for start in range(0, len(packed) - CHUNK_BYTES + 1, CHUNK_BYTES))
    chunks = tuple(_chain(root, islice(pieces, MOST_CHUNKS)))
    if isinstance(key, str) and key:
        home = _key(root, b"name\0" + key.encode("utf-8", "surrogatepass"))
    else:
        home = _first(chunks, CHUNK_TOKENS, opening)
    is_later = any(message.get("role") == "assistant" for message in request.messages)
    return Prompt(chunks, num_tokens, CHUNK_TOKENS, home, opening, is_later, request.publish_kv)


def prompt_of_tokens(ids: Sequence[int], salt: str, block_tokens: int, *, opening: int = 0) -> Prompt:
    """The keys of a prompt whose token ids are known, one for every full block."""
    root, parent, chunks = token_root(salt), 0, []
    for start in range(0, len(ids) - block_tokens + 1, block_tokens):
        parent = token_key(root, parent, ids[start : start + block_tokens])
        chunks.append(parent)
    return Prompt(tuple(chunks), len(ids), block_tokens, _first(tuple(chunks), block_tokens, opening), opening)


def token_root(salt: str) -> bytes:
    """Where the chains of token blocks under one salt begin."""
    return _root(f"tokens {salt}")


def token_key(root: bytes, parent: int, ids: Sequence[int]) -> int:
    """The key of a block of tokens that follows `parent`, 0 for none."""
    packed = b"".join(number.to_bytes(4, "little") for number in ids)
    return _key(root, parent.to_bytes(KEY_BYTES, "little") + packed)


def _first(chunks: tuple[int, ...], chunk_tokens: int, otherwise: int) -> int:
    """The key of the first 256 tokens; of a shorter prompt, all of it that has a key."""
    return chunks[min(len(chunks), max(1, HOME_TOKENS // chunk_tokens)) - 1] if chunks else otherwise


def _root(salt: str) -> bytes:
    return blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=32, person=b"routing").digest()


def _key(root: bytes, piece: bytes) -> int:
    return int.from_bytes(blake2b(piece, key=root, digest_size=KEY_BYTES).digest(), "little")


def _chain(root: bytes, pieces: Iterator[bytes]) -> Iterator[int]:
    parent = b""
    for piece in pieces:
        parent = blake2b(parent + piece, key=root, digest_size=KEY_BYTES).digest()
        yield int.from_bytes(parent, "little")


def _opening(root: bytes, request: ChatRequest, texts: Sequence[str]) -> int:
    """The key of a conversation: what stands up to its first user message, so that no later turn changes it."""
    users = (place for place, message in enumerate(request.messages) if message.get("role") == "user")
    last = next(users, len(request.messages) - 1)
    return _key(root, "".join(texts[: last + 2]).encode("utf-8", "surrogatepass"))  # texts[0] is the tools


def _rendered(request: ChatRequest) -> Iterator[str]:
    """The tools, then message by message: the order in which chat templates put them."""
    tools = request.params.get("tools")
    yield _json(tools) if tools else ""
    for message in request.messages:
        rest = {key: value for key, value in message.items() if key not in ("role", "content") and value}
        said = f"\x1e{message.get('role')}\x1f{_text(message.get('content'))}"
        yield f"{said}\x1f{_json(rest)}" if rest else said


def _json(value: JSON) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # half a surrogate pair, which JSON can say
        return json.dumps(value, default=str)


def _text(content: JSON) -> str:
    if isinstance(content, str):
        return content
    return "\x1f".join(_part(part) for part in content) if isinstance(content, list | tuple) else ""


def _part(part: JSON) -> str:
    if not isinstance(part, Mapping):
        return str(part)
    return "\x1f".join(f"{key}={_short(value)}" for key, value in part.items())


def _short(value: JSON) -> str:
    if isinstance(value, Mapping):
        return "\x1f".join(f"{key}={_short(inner)}" for key, inner in value.items())
    text = str(value)
    is_data = len(text) > LONG_BYTES and text.startswith("data:")
    return f"{len(text)}:{text[: LONG_BYTES // 2]}{text[-LONG_BYTES // 2 :]}" if is_data else text
