"""Trouble, mixed: `chaos:0.2` answers four in five requests well, and fails the fifth in one of many ways.

What is well said depends on the last words of the user alone (`sane_text`), so whoever asked knows it.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tests.upstream.answers import Answer
from tests.upstream.modes import MODES, SSE_TYPE, Ask

STALL_S = 60.0
STORM = 25  # requests that a storm of 429 refuses
GARBAGE = (
    b'{"choices": "many"}',
    b'{"choices": [{"index": 0, "message": {"content": 5}, "finish_reason": "stop"}]}',
    b"\xff\xfe\x00not json",
    b'{"choices": []}',
    b"[" * 5000,
    b'{"error": {"message": "oops"}}',
    b"",
    b"null",
)


def sane_text(question: str) -> str:
    """What the upstream says to a question when it is well."""
    return "".join(Answer({"messages": question}).tokens(0))


def question_of(body: Mapping[str, Any]) -> str:
    """The last words of the user."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


async def reset(ask: Ask) -> None:
    """The connection is reset before a byte."""
    _reset(ask)


async def reset_mid(ask: Ask) -> None:
    """Some pieces, and the connection is reset."""
    await (ask.events(ask.pieces(ask.answer)[:4]) if ask.is_stream else ask.start(200, SSE_TYPE))
    await asyncio.sleep(0.01)
    _reset(ask)


async def stall(ask: Ask) -> None:
    """A minute of nothing, then the answer that nobody waits for."""
    await asyncio.sleep(STALL_S)
    await MODES["normal"](ask)


async def stall_mid(ask: Ask) -> None:
    """Some pieces, and a minute of nothing."""
    if ask.is_stream:
        await ask.events(ask.pieces(ask.answer)[:4])
    await asyncio.sleep(STALL_S)


def _named(mode: str, argument: str = "") -> Callable[[Ask], Awaitable[None]]:
    return lambda ask: MODES[mode](replace(ask, argument=argument))


TROUBLES: dict[str, tuple[float, Callable[[Ask], Awaitable[None]]]] = {
    "reset": (3, reset),
    "reset_mid": (3, reset_mid),
    "cut": (3, _named("cut")),  # half a stream, and the end of the connection
    "truncated": (2, _named("truncated")),  # half a stream, ended in good order
    "truncated_done": (1, _named("truncated", "done")),
    "error_mid": (2, _named("error-mid", "500")),
    "error_500": (2, _named("error", "500")),
    "html": (1, _named("html")),
    "garbage": (4, _named("raw")),
    "stall": (1, stall),
    "stall_mid": (1, stall_mid),
    "storm": (4 / STORM, _named("error", "429")),  # and the requests behind it
}


@dataclass(slots=True)
class Chaos:
    """What befalls each request. Belongs to one event loop."""

    rng: Random = field(default_factory=lambda: Random(0))
    did: Counter[str] = field(default_factory=Counter)
    storm_left: int = 0

    async def __call__(self, ask: Ask) -> None:
        share = float(ask.argument or 0.2)
        name = self._choose(share)
        self.did[f"chaos_{name}"] += 1
        ask = replace(_sane(ask), argument="")
        if name == "well":
            await MODES["normal"](ask)
        elif name == "garbage":
            await self._garbage(ask)
        else:
            await TROUBLES[name][1](ask)

    def _choose(self, share: float) -> str:
        if self.storm_left > 0:
            self.storm_left -= 1
            return "storm"
        weights = [weight for weight, _ in TROUBLES.values()]
        alone = sum(weights) - weights[-1]
        storms = weights[-1] * STORM
        # of 100 requests in trouble so many are alone in it, the others in a storm
        if self.rng.random() >= share * (alone + weights[-1]) / (alone + storms):
            return "well"
        name = self.rng.choices(list(TROUBLES), weights)[0]
        self.storm_left = STORM - 1 if name == "storm" else 0
        return name

    async def _garbage(self, ask: Ask) -> None:
        said = self.rng.choice(GARBAGE)
        if not ask.is_stream:
            await ask.reply(said)
            return
        await ask.start(200, SSE_TYPE)
        await ask.write(b"data: " + said + b"\n\n")
        await ask.write(b"data: [DONE]\n\n", more=False)


def _sane(ask: Ask) -> Ask:
    """The same, so that its answer depends on the question alone."""
    return replace(ask, body={**ask.body, "messages": question_of(ask.body)}, argument="")


def _reset(ask: Ask) -> None:
    transport = ask.send.__self__.transport  # type: ignore[attr-defined]  # of uvicorn's cycle
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
