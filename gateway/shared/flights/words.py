"""What gateways say to each other about a generation one of them makes, as bytes that nobody else can write. Pure.

    Want   an ear -> the leader      tell me this generation from here on; or just: I still listen
    Leave  an ear -> the leader      I do not listen any more
    Said   the leader -> an ear      the next deltas
    Ended  the leader -> an ear      no more will come, and why

A message is a keyed digest (of the replica it is for, and of the message) and JSON. The key is derived from the secret
that the replicas share, so whoever can write to their Redis can take messages away, and can make none up.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import orjson

from backends.chat import Delta, Usage
from backends.errors import (
    BackendBusy,
    BackendError,
    BackendGarbage,
    BackendNotReady,
    BackendTimeout,
    BackendUnavailable,
    RequestRejected,
    UpstreamAuth,
)

MAC_BYTES = 32
VERSION = 1  # raise it when a message changes its shape: gateways of two versions then do not understand each other

_KINDS: dict[str, type[BackendError]] = {
    kind.__name__: kind
    for kind in (BackendBusy, BackendGarbage, BackendNotReady, BackendTimeout, BackendUnavailable, UpstreamAuth)
}

Why = Literal["whole", "failed", "gone", "refused"]  # gone: its leader gave it up; refused: too much to tell


@dataclass(frozen=True, slots=True)
class Want:
    flight: str
    token: int
    ear: str  # names the replica before the slash
    since: int  # deltas that were heard already
    anew: bool = True  # tell from there on, whatever was told before


@dataclass(frozen=True, slots=True)
class Leave:
    flight: str
    token: int
    ear: str


@dataclass(frozen=True, slots=True)
class Said:
    ear: str
    first: int  # number of the first delta
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    ear: str
    count: int  # deltas in all
    why: Why
    error: BackendError | None = None


Word = Want | Leave | Said | Ended


class NotOurs(Exception):
    """Bytes that no gateway with this secret wrote for this replica, or one of another version."""


def mail_key(secret: bytes) -> bytes:
    """The key under which messages are signed."""
    return blake2b(VERSION.to_bytes(2, "little"), key=secret, digest_size=32, person=b"shared words").digest()


def seal(key: bytes, to: str, word: Word) -> bytes:
    """`word` as bytes for the replica `to`."""
    body = orjson.dumps(_as_json(word), default=_plain)
    return _mac(key, to, body) + body


def unseal(key: bytes, to: str, raw: bytes) -> Word:
    """Read what `seal` wrote. Raises `NotOurs`."""
    mac, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, to, body)):
        raise NotOurs("a message carries no valid digest")
    try:
        return _as_word(orjson.loads(body))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:  # of another version
        raise NotOurs(f"a message has another shape: {error}") from error


def is_longer(deltas: Sequence[Delta], max_bytes: int) -> bool:
    """Whether deltas take more than this in letters; no more of them are looked at than it takes to tell."""
    left = max_bytes
    for delta in deltas:
        left -= len(orjson.dumps(_delta_json(delta), default=_plain))
        if left < 0:
            return True
    return False


def replica_of(ear: str) -> str:
    """The replica an ear belongs to."""
    return ear.partition("/")[0]


def _mac(key: bytes, to: str, body: bytes) -> bytes:
    return blake2b(to.encode("utf-8") + b"\0" + body, key=key, digest_size=MAC_BYTES).digest()


def _as_json(word: Word) -> list[Any]:
    match word:
        case Want():
            return ["want", word.flight, word.token, word.ear, word.since, word.anew]
        case Leave():
            return ["leave", word.flight, word.token, word.ear]
        case Said():
            return ["said", word.ear, word.first, [_delta_json(delta) for delta in word.deltas]]
        case Ended():
            return ["ended", word.ear, word.count, word.why, None if word.error is None else _error_json(word.error)]


def _as_word(said: list[Any]) -> Word:
    match said:
        case ["want", flight, token, ear, since, anew]:
            return Want(flight, token, ear, since, anew)
        case ["leave", flight, token, ear]:
            return Leave(flight, token, ear)
        case ["said", ear, first, deltas]:
            return Said(ear, first, tuple(_delta(*parts) for parts in deltas))
        case ["ended", ear, count, why, error]:
            return Ended(ear, count, why, None if error is None else _error(error))
        case _:
            raise NotOurs(f"a message of an unknown kind: {said[:1]}")


def _delta_json(delta: Delta) -> list[Any]:
    usage = delta.usage
    counts = None if usage is None else [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.extra]
    return [delta.index, delta.fields, delta.finish_reason, delta.logprobs, counts, delta.extra, delta.fallback]


def _delta(
    index: int, fields: Any, finish_reason: str | None, logprobs: Any, counts: Any, extra: Any, fallback: str = ""
) -> Delta:
    return Delta(index, fields, finish_reason, logprobs, None if counts is None else Usage(*counts), extra, fallback)


def _error_json(error: BackendError) -> dict[str, Any]:
    rejected = error if isinstance(error, RequestRejected) else None
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "retryable": error.retryable,
        "retry_after_s": error.retry_after_s,
        "status": error.status,
        "code": error.code,
        "is_rejection": rejected is not None,
        "param": None if rejected is None else rejected.param,
        "error": None if rejected is None else rejected.error,
    }


def _error(said: dict[str, Any]) -> BackendError:
    if said["is_rejection"]:
        return RequestRejected(
            said["message"],
            param=said["param"],
            code=said["code"],
            status=said["status"],
            error=said["error"],
            retry_after_s=said["retry_after_s"],
        )
    kind = _KINDS.get(said["kind"], BackendError)
    error = kind(said["message"], retryable=said["retryable"], retry_after_s=said["retry_after_s"])
    error.status, error.code = said["status"], said["code"]
    return error


def _plain(value: Any) -> Any:
    """`Fields` may be any mapping; orjson knows dict alone."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
