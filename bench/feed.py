"""Two gateways on one Redis: how long after an answer on one the other serves it, and is rid of it after its removal.

From the last byte of an answer made on A until B serves it: exactly, by its bare form, by its vector; and from the
moment that an invalidation is asked for on A until it has returned, and until B serves nothing of it any more. B is
asked again and again, which takes it some milliseconds each time: the figures hold that, too.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.figures import median, percentile
from bench.http1 import Connection
from bench.processes import Server, listening, upstream, wait_ready
from bench.questions import questions
from bench.redis_server import redis_server
from bench.rows import Row, Scale
from gateway.identity.secret import SECRET_BYTES

CHAT, INVALIDATE = "/v1/chat/completions", "/admin/api/invalidate"
SECRET = b"benchmark".ljust(SECRET_BYTES, b".")
GIVE_UP_S = 5.0
WAYS: dict[str, Callable[[str], str]] = {
    "exactly": lambda text: text,
    "by its bare form": lambda text: text.replace("What is the best way", "what's the best way"),
    "by its vector": lambda text: text.replace("What is the best way", "What is a really good way"),
}


def run(scale: Scale) -> list[Row]:
    """Write on A, look on B, remove on A, look on B."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-bench-")))
        backend = stack.enter_context(upstream("echo"))
        (folder / "redis").mkdir()
        url = stack.enter_context(redis_server(folder / "redis"))
        pair = [stack.enter_context(_replica(folder / name, backend.url, url)) for name in "ab"]
        return asyncio.run(_measure(pair[0], pair[1], questions(scale.of(150, 20))))


@contextmanager
def _replica(data_dir: Path, backend_url: str, redis_url: str) -> Iterator[Server]:
    data_dir.mkdir()
    (data_dir / "secret").write_bytes(SECRET)
    config = data_dir / "config.toml"
    config.write_text("[cache]\nshadow_rate = 0.0\nmax_wrong_hit_rate = 0.5\n")
    where = ["--data-dir", str(data_dir), "--upstream", backend_url, "--redis", redis_url, "--config", str(config)]
    with listening(["-m", "gateway", "serve", "--port", "0", "--log-level", "warning", *where]) as server:
        wait_ready(server, wait_semantic=True, within_s=120.0)
        yield server


async def _measure(a: Server, b: Server, asked: list[str]) -> list[Row]:
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    removed: dict[str, list[float]] = {"returns": [], "holds on the other": []}
    found = dict.fromkeys(WAYS, 0)
    async with (
        Connection(a.url, CHAT) as to_a,
        Connection(a.url, INVALIDATE) as operator,
        Connection(b.url, CHAT, header="cache-control: only-if-cached") as to_b,
    ):
        for question in asked:
            for way, reworded in WAYS.items():  # an answer of its own for each way
                text = f"{question[:-1]} on {_day(len(took[way]))}?"
                made = await to_a.post(_body(text))
                assert made.headers["x-twicetold-tier"] == "full", made.headers
                passed_s = await _until(to_b, reworded(text), is_served=True)
                if passed_s is not None:
                    took[way].append(passed_s)
                found[way] += passed_s is not None
                began_s = time.perf_counter()
                await operator.post(json.dumps({"id": made.headers["x-twicetold-entry"], "dry_run": False}).encode())
                removed["returns"].append(time.perf_counter() - began_s)
                if passed_s is not None:
                    gone_s = await _until(to_b, reworded(text), is_served=False)
                    assert gone_s is not None, "it is served although it was removed"
                    removed["holds on the other"].append(gone_s)
    return [
        *(_row(f"an answer is served by the other {way}", took[way], found[way], len(asked)) for way in WAYS),
        *(_row(f"an invalidation {what}", some, len(some), len(some)) for what, some in removed.items()),
    ]


def _row(what: str, seconds: list[float], num: int, of: int) -> Row:
    if not seconds:
        return Row("feed", what, None, "ms", note=f"0 of {of}")
    p99, worst = percentile(seconds, 99) * 1000, max(seconds) * 1000
    note = f"p99 {p99:.1f} ms, slowest {worst:.1f} ms; {num} of {of}; load {os.getloadavg()[0]:.1f}"
    return Row("feed", f"{what}, p50", median(seconds) * 1000, "ms", note=note)


def _day(number: int) -> str:
    return ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[number % 7]


async def _until(connection: Connection, question: str, *, is_served: bool) -> float | None:
    began_s = time.perf_counter()
    while (passed_s := time.perf_counter() - began_s) < GIVE_UP_S:
        answer = await connection.post(_body(question))
        if (answer.headers.get("x-twicetold-tier") in ("exact", "semantic")) is is_served:
            return time.perf_counter() - began_s
        if passed_s > 1.0 and answer.headers.get("x-twicetold-tier") is None and is_served:
            return None  # its lane does not think it the same
    return None


def _body(question: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": question}]}).encode()
