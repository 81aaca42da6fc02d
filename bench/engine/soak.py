"""Many short requests, some given up, and an engine that is killed: resident memory stays, and blocks add up.

The demo model with a pool of blocks that is soon full. Memory is read after a quarter of the requests and at the end.
Then the engine process is killed in the middle of answers, and the blocks of the next one are counted too.
"""

import asyncio
import json
import random
import time
from contextlib import suppress
from typing import Any

import psutil

from bench.engine.models import DEMO, checkpoint_of
from bench.engine.serving import CHAT, Engine, serving
from bench.http1 import Connection
from bench.rows import Row, Scale

LANES = 8
REST_S = 2.0  # an engine tidies up after one
GIVEN_UP = 0.1  # of all requests
WORDS = "cache block prefix token answer layer chain root tier store index scope request model prompt engine memory key"


def run(scale: Scale) -> list[Row]:
    """Growth of the gateway's and the engine's memory, and whether free, kept and used blocks are all blocks."""
    count = 10_000 if scale.large else scale.of(2000, 200)
    with serving(checkpoint_of(DEMO), kv_mb=8, max_running=LANES, drafts=True) as engine:
        rng = random.Random(0)
        given_up = asyncio.run(_storm(engine, count // 4, rng))
        early, looks = _resident_mb(engine), [_look(engine)]
        for _ in range(3):
            given_up += asyncio.run(_storm(engine, count // 4, rng))
            looks.append(_look(engine))
        late = _resident_mb(engine)
        killed = engine.process()
        asyncio.run(_storm(engine, LANES, rng, kill=killed))
        deadline = time.monotonic() + 60
        while not engine.stats()["is_ready"] and time.monotonic() < deadline:
            time.sleep(0.1)
        asyncio.run(_storm(engine, count // 20, rng))
        looks.append(_look(engine))
        restarts = engine.stats()["restarts"]
    assert restarts == 1, restarts
    note = f"{count} requests, {given_up} of them given up"
    rows = [
        Row("soak", f"resident memory of the {part} at the end", last, "MB", first, "after a quarter", note)
        for part, first, last in zip(("gateway", "engine"), early, late, strict=True)
    ]
    broken = sum(is_broken for is_broken in looks)
    what = "looks at which free + cached + leased are not all blocks"
    return [*rows, Row("soak", what, broken, f"of {len(looks)}", note="one of them after a killed engine")]


def _resident_mb(engine: Engine) -> tuple[float, float]:
    """At rest, when an engine has given back what it does not need."""
    engine.stats_at_rest()
    time.sleep(REST_S)
    gateway, worker = psutil.Process(engine.server.pid), engine.process()
    return gateway.memory_info().rss / 1e6, worker.memory_info().rss / 1e6


def _look(engine: Engine) -> bool:
    """Whether the blocks of an engine at rest do not add up, or one is still held."""
    kv: dict[str, int] = engine.stats_at_rest()["kv"]
    is_whole = kv["blocks_free"] + kv["blocks_cached"] + kv["blocks_leased"] == kv["blocks_total"]
    return not is_whole or kv["blocks_leased"] > 0


async def _storm(engine: Engine, count: int, rng: random.Random, kill: psutil.Process | None = None) -> int:
    """Random requests over `LANES` connections; returns how many were given up."""
    bodies = (_body(engine.model, rng) for _ in range(count))
    lost = 0

    async def work() -> None:
        nonlocal lost
        for body in bodies:
            lost += not await _ask(engine, body, rng, is_doomed=kill is not None)

    async with asyncio.TaskGroup() as workers:
        for _ in range(LANES):
            workers.create_task(work())
        if kill is not None:
            await asyncio.sleep(0.3)
            kill.kill()
    return lost


async def _ask(engine: Engine, body: bytes, rng: random.Random, *, is_doomed: bool) -> bool:
    """Whether there was an answer; some are given up on the way by closing the connection."""
    patience = rng.uniform(0.0, 0.02) if rng.random() < GIVEN_UP else 60.0
    async with Connection(engine.server.url, CHAT) as lane:
        with suppress(TimeoutError, *((OSError, EOFError) if is_doomed else ())):
            async with asyncio.timeout(patience):
                timed = await lane.post(body)
                assert timed.status == 200 or is_doomed, timed.body
                return timed.status == 200
    return False


def _body(model: str, rng: random.Random) -> bytes:
    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS.split(), k=words))

    system = f"You are number {rng.randrange(20)}. {text(3)}"
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": text(rng.randrange(2, 40))}],
        "cache": {"tiers": ["kv"]},
        "max_tokens": rng.randrange(1, 6),
        "stream": rng.random() < 0.5,
        "n": rng.choice((1, 1, 1, 2)),
        "temperature": rng.choice((0, 1)),
    }
    return json.dumps(body).encode()
