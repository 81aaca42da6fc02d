"""Bytes between our own parts - segments of KV, frames of the engine, what lies in Redis - damaged, or signed by one of
ours who meant something else: read as they were written, or refused in the words of whoever reads them."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from backends.chat import Delta, Usage
from backends.errors import BackendTimeout
from backends.local.params import Sampling
from backends.local.wire import Abort, FrameDecoder, Message, Ping, Submit
from backends.local.wire import encode as frame
from bench.fuzz.base import Finding
from bench.fuzz.files import SECRET, entry
from bench.fuzz.mutate import damaged, mutated, nasty, spelled
from gateway.answers.base import CacheError
from gateway.answers.redis.card import Broken, Cards
from gateway.answers.redis.connection import Link
from gateway.answers.redis.keys import Names
from gateway.outcome import Outcome
from gateway.policy import Rules
from gateway.served import Served
from gateway.shared.feed import Event, event_of, news_of, question_of, removed_of
from gateway.shared.flights.words import Ended, NotOurs, Said, Want, _mac, mail_key, seal, unseal
from gateway.shared.responses import SharedResponses
from kvtier.geometry import KVGeometry
from kvtier.tiers.base import Found, Segment, Wanted
from kvtier.tiers.segment import BadSegment, SegmentForm, _json

GEOMETRY = KVGeometry(1, 1, 4, "float32", 32)
FORM = SegmentForm(GEOMETRY, secret=SECRET, model="m", tokenizer="t")
CARDS = Cards(Names(SECRET))
MAIL = mail_key(SECRET)
LINK = Link("redis://127.0.0.1:1", SECRET, timeout_s=1)
SERVED = Served("t", "m", b"s" * 32, b"x" * 32, "e_1", "q", None, Outcome("full", "miss"), Rules(), None, 1.0, 2.0)


def segments(rng: random.Random, outcomes: Counter[str]) -> None:
    """A segment of KV: its rows byte for byte, or `BadSegment`."""
    keys, packed = (rng.randbytes(32), rng.randbytes(32)), rng.randbytes(GEOMETRY.block_tokens * 2 * 4)
    segment = Segment(b"r" * 32, keys, packed, 0)
    rows = np.frombuffer(rng.randbytes(GEOMETRY.block_bytes * 2), np.uint8)
    head, payload = FORM.write(segment, rows)
    raw = head + payload.tobytes()
    match rng.randrange(4):
        case 0:
            raw = damaged(rng, raw)
        case 1:
            raw = damaged(rng, raw[:200]) + raw[200:]
        case 2:
            header = mutated(rng, orjson.loads(bytes(head[88:]).split(b"\0")[0]))
            raw = FORM._head(_json(header), payload.size, FORM._payload_mac(payload)) + payload.tobytes()
    wanted = Wanted(segment.parent, keys, packed, 0, segment.num_tokens, GEOMETRY.block_tokens)

    def read(view: memoryview, at: int) -> None:
        piece = raw[at : at + len(view)]
        if len(piece) != len(view):
            raise BadSegment("cut off")
        view[:] = piece

    try:
        FORM.head_bytes(raw[:88])
        FORM.read_owner(raw)
        found = FORM.read_head(raw)
        restored = FORM.restore(found, wanted, Found(segment.key, 0, segment.num_tokens, len(raw)), "disk", read)
    except BadSegment:
        outcomes["refused"] += 1
        return
    outcomes["read"] += 1
    if restored.rows.tobytes() != rows.tobytes():
        raise Finding(f"other rows than were kept, of {raw[:400]!r}")


def engine_frames(rng: random.Random, outcomes: Counter[str]) -> None:
    """Frames of the engine: whole ones in any pieces are the same messages; others are one plain error."""
    good: list[Message] = [
        Submit(1, [1, 2, 3], 4, Sampling(), salt=str(nasty(rng))[:50].encode("utf-8", "replace").decode()),
        Abort(1),
        Ping(),
    ]
    raw = frame(good) + frame([Ping()])
    is_whole = rng.random() < 0.4
    if not is_whole:
        raw = damaged(rng, raw) if rng.random() < 0.5 else _reframed(rng, raw)
    decoder, found = FrameDecoder(), list[Any]()
    try:
        at = 0
        while at < len(raw):
            size = rng.choice((1, 3, 50, 10_000))
            found += decoder.feed(raw[at : at + size])
            at += size
    except (ValueError, TypeError, KeyError, AttributeError):
        outcomes["refused"] += 1
        if is_whole:
            raise Finding(f"a whole frame is refused: {raw!r}") from None
        return
    outcomes["read"] += 1
    if is_whole and frame(found) != frame([*good, Ping()]):
        raise Finding(f"another message than was sent: {found}")


def _reframed(rng: random.Random, raw: bytes) -> bytes:
    """With other fields in a frame of its own length."""
    length = int.from_bytes(raw[:4], "little")
    body = spelled(rng, mutated(rng, orjson.loads(raw[4 : 4 + length])))
    return len(body).to_bytes(4, "little") + body + raw[4 + length :]


def cards(rng: random.Random, outcomes: Counter[str]) -> None:
    """An answer in Redis: whole and its own, or `Broken`."""
    one = replace(entry(rng.randrange(9)), embedder="e", vector=rng.randbytes(16))
    packed = CARDS.pack(one)
    member, card, body, vector = packed.member, packed.card, packed.body, packed.vector
    match rng.randrange(6):
        case 0:
            card = damaged(rng, card)
        case 1:
            body = damaged(rng, body)
        case 2:
            vector = damaged(rng, vector)
        case 3:
            member = CARDS.pack(entry(99)).member
        case 4:
            other = CARDS.pack(entry(98))
            card, body = (other.card, body) if rng.random() < 0.5 else (card, other.body)
    try:
        found = CARDS.read(CARDS.read_card(member, card), body, vector)
    except (Broken, CacheError):
        outcomes["refused"] += 1
        return
    outcomes["read"] += 1
    if (found.completion, found.canonical, found.scope, found.exact) != (
        one.completion,
        one.canonical,
        one.scope,
        one.exact,
    ):
        raise Finding(f"another answer than was kept: {found}")
    if found.vector is not None and found.vector != one.vector:
        raise Finding(f"another vector than was kept: {found}")


def feed(rng: random.Random, outcomes: Counter[str]) -> None:
    """Events of the feed: anybody who writes to that Redis can write one, so it says little, and breaks nothing."""
    fields = Event("put", b"me", b"s" * 32, b"c" * 32, b"x" * 32, "e_1").fields()
    for _ in range(rng.randrange(4)):
        name = rng.choice((*fields, b"b", b"", b"z"))
        fields[name] = rng.choice(
            (b"", b"put", b"gone", b"ask", b"all", b"here", rng.randbytes(32), b"\xff", str(nasty(rng))[:80].encode())
        )
    event = event_of(fields)
    question_of(fields, b"you")
    removed_of(fields, b"you")
    outcomes["refused" if event is None else "read"] += 1
    if event is not None:
        news_of([event, replace(event, kind="del") if rng.random() < 0.5 else event], b"you")  # type: ignore[arg-type]


def words(rng: random.Random, outcomes: Counter[str]) -> None:
    """What gateways tell each other of a generation: nothing without the mark, and `NotOurs` for what nobody says."""
    good = rng.choice(
        (
            Want("f", 1, "me/1", 0, False),
            Said("me/1", 0, (Delta(fields={"content": "x"}), Delta(usage=Usage(1, 2)))),
            Ended("me/1", 2, "whole"),
            Ended("me/1", 2, "failed", BackendTimeout("late")),
        )
    )
    raw = seal(MAIL, "me", good)
    kind = rng.randrange(4)
    if kind == 0:
        raw = damaged(rng, raw)
    elif kind == 1:
        body = spelled(rng, mutated(rng, orjson.loads(raw[32:] if raw[32:33] == b"[" else raw[raw.index(b"[") :])))
        raw = _mac(MAIL, "me", body) + body
    try:
        found = unseal(MAIL, "you" if kind == 2 else "me", raw)
    except NotOurs:
        outcomes["refused"] += 1
        return
    outcomes["read"] += 1
    if kind == 2:
        raise Finding(f"a message to another is read: {found}")
    if kind == 3 and seal(MAIL, "me", found) != raw:
        raise Finding(f"another message than was sent: {found}")


def responses(rng: random.Random, outcomes: Counter[str]) -> None:
    """The response of another gateway: as it was, or unknown."""
    shared = SharedResponses(LINK)
    raw = shared._spelled("chatcmpl-1", SERVED) or b""
    kind = rng.randrange(4)
    if kind == 0:
        raw = damaged(rng, raw)
    elif kind == 1:
        at = raw.index(b"{")
        body = spelled(rng, mutated(rng, orjson.loads(raw[at:])))
        raw = shared._mark("chatcmpl-1", body) + body
    found = shared._read("chatcmpl-2" if kind == 2 else "chatcmpl-1", raw)
    outcomes["refused" if found is None else "read"] += 1
    if kind == 2 and found is not None:
        raise Finding("a response under another's name is believed")
    if kind == 3 and (found is None or shared._spelled("chatcmpl-1", found) != raw):
        raise Finding(f"another response than was told: {found}")


EVERY: dict[str, Callable[[random.Random, Counter[str]], None]] = {
    "segments": segments,
    "engine frames": engine_frames,
    "cards": cards,
    "feed": feed,
    "words": words,
    "responses": responses,
}
