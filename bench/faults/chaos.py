"""An upstream that fails one request in five, in every way: what callers hear, what is kept, what stays behind.

    python -m bench.faults.chaos [--requests 50000] [--clients 200] [--share 0.2] [--seed 0] [--out FILE]

Resets before and within an answer, half streams that break or end in good order, storms of 429, errors in the middle,
garbage instead of JSON or of an event, error pages, and stalls of a minute (`tests/upstream/chaos.py`). Clients speak
three APIs, streamed and whole; three in ten repeat a question. Every client must get the one right answer, whole, or a
clear error. Afterwards everything that is stored must be what a sane upstream says, memory flat, and tasks and
descriptors back where they began.

Budgets of memory are small, so that they are full when a third is asked: from then on memory is flat or something
leaks. What a gateway remembers of conversations has a budget that nobody sets and that would not be full, so no
response is kept to be gone on from. Stored answers are all kept, on disk: every one is compared.

It ends with 1 when a promise was broken, and with 2 when none was, but memory was not shown to be flat.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random

import httpx

from backends.http import KEEPALIVE_S
from bench.faults.clients import APIS, Api, judge, question
from bench.faults.watching import Look, at_rest, look, metrics_of, requests_in_ledger, slope, verdict
from bench.http1 import Connection
from bench.processes import Server, gateway, upstream
from tests.upstream.chaos import sane_text

WARM_UP = 1 / 3
FLAT_MB = 20.0  # an hour: what a slope may be, when its interval tells it from nothing
LOOKS = 30  # fewer are no slope
REPEATED = 0.3  # of all questions
PATIENCE_S = 120.0  # nobody waits for longer, whatever the upstream does
LOOK_EVERY_S = 2.0
CLIENT_APIS = ("chat", "chat", "chat", "messages", "responses")
SETTINGS = """
[cache]
semantic = false
memory_mb = 4
express_mb = 1
[timeouts]
first_token_s = 10
idle_s = 6
total_s = 15
"""


@dataclass
class Course:
    """What was asked, and what came of it."""

    left: int
    rng: Random
    asked: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    warm_s: float = 0.0  # on time.monotonic(): when a third was asked; 0: it was not yet
    until_s: float = inf  # on time.monotonic(): nothing is asked any more

    def __post_init__(self) -> None:
        self._cold_until = round((1 - WARM_UP) * self.left)

    def next(self) -> int | None:
        """The number of the next question; some were asked before. None: it was the last."""
        if self.left <= 0 or time.monotonic() > self.until_s:
            self.left = 0
            return None
        self.left -= 1
        if not self.warm_s and self.left < self._cold_until:
            self.warm_s = time.monotonic()
        if self.asked and self.rng.random() < REPEATED:
            return self.rng.randrange(self.asked)
        self.asked += 1
        return self.asked - 1


def main() -> int:
    """Run it; 1 when a promise was broken, 2 when one was not shown to be kept."""
    options = _parser().parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twicetold-bench-")))
        (folder / "config.toml").write_text(SETTINGS, "utf-8")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        behind = stack.enter_context(upstream(f"chaos:{options.share}"))
        server = stack.enter_context(
            gateway("--upstream", behind.url, "--config", str(folder / "config.toml"), wait_semantic=False)
        )
        return run(server, behind, options)


def run(server: Server, behind: Server, options: argparse.Namespace) -> int:
    """All of it; how it ends."""
    began_s = time.monotonic()
    before = at_rest(server.url, server.pid, began_s)
    course = Course(options.requests, Random(options.seed), until_s=began_s + 60 * options.minutes)
    looks = asyncio.run(storm(server, course, options.clients, began_s))
    seconds = time.monotonic() - began_s
    time.sleep(KEEPALIVE_S + 20)  # and the next look at the upstream finds them over
    after = at_rest(server.url, server.pid, began_s)
    did = httpx.get(behind.url.removesuffix("/v1") + "/counters", trust_env=False).json()
    stored, wrong = check_stored(server.url)
    options.out.write_text("".join(json.dumps(one.as_json()) + "\n" for one in looks), "utf-8")
    faults = [*course.bad[:20], *wrong[:20], *_left_behind(before, after), *check_ledger(server.url, course)]
    _report(course, looks, before, after, did, stored, seconds)
    grown, unshown = check_memory([one for one in looks if one.at_s >= course.warm_s - began_s])
    return verdict("chaos", faults + grown, unshown)


async def storm(server: Server, course: Course, clients: int, began_s: float) -> list[Look]:
    """Have so many clients ask all of it; what was seen of the gateway meanwhile."""
    looks: list[Look] = []
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(server, looks, began_s))
        async with asyncio.TaskGroup() as work:
            for number in range(clients):
                work.create_task(_client(server.url, APIS[CLIENT_APIS[number % len(CLIENT_APIS)]], course))
        watching.cancel()
    return looks


async def _watch(server: Server, looks: list[Look], began_s: float) -> None:
    while True:
        with suppress(httpx.TransportError):  # too busy to say
            looks.append(await asyncio.to_thread(look, server.url, server.pid, began_s))
        await asyncio.sleep(LOOK_EVERY_S)


async def _client(url: str, api: Api, course: Course) -> None:
    """One connection after another; a question at a time, until there are none."""
    while course.left > 0:
        async with Connection(url, api.path) as lane:
            while (number := course.next()) is not None:
                if not await _ask(lane, api, number, course):
                    break


async def _ask(lane: Connection, api: Api, number: int, course: Course) -> bool:
    """Whether the connection can go on."""
    text, is_stream = question(number), course.rng.random() < 0.5
    body = json.dumps({**api.body(text), "stream": is_stream}).encode()
    try:
        async with asyncio.timeout(PATIENCE_S):
            timed = await lane.post(body)
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        course.kinds["bad"] += 1
        course.bad.append(f"question {number}: {type(error).__name__}: {error}")
        return False
    course.slowest_s = max(course.slowest_s, timed.total_s)
    told = judge(api, timed, sane_text(text), is_stream=is_stream)
    course.kinds[told.kind] += 1
    course.details[told.detail] += told.kind == "error"
    if told.kind == "bad":
        course.bad.append(f"question {number}: {told.detail}")
    return timed.headers.get("connection") != "close"


def check_stored(url: str) -> tuple[int, list[str]]:
    """How many answers are kept, and those that are not what a sane upstream says."""
    wrong, count = [], 0
    with httpx.stream("GET", f"{url}/admin/api/export", timeout=600.0, trust_env=False) as response:
        for line in response.iter_lines():
            entry = json.loads(line)
            if entry["kind"] != "entry":
                continue
            count += 1
            content = entry["request"]["messages"][-1]["content"]
            asked = content if isinstance(content, str) else "".join(part["text"] for part in content)
            said = entry["answer"]["choices"][0]["message"]["content"]
            if said != sane_text(asked):
                wrong.append(f"stored: {said[:100]!r} for {asked[:60]!r}")
    return count, wrong


def check_memory(looks: list[Look]) -> tuple[list[str], list[str]]:
    """The memory of the gateway once it is warm: that it grows, or that neither that nor the contrary is shown."""
    if len(looks) < LOOKS:
        return [], [f"that memory is flat: {len(looks)} looks after the warm-up are no slope"]
    growth = slope([(one.at_s, one.gateway_mb) for one in looks])
    found = growth.finding(FLAT_MB)
    print(
        f"memory of the gateway after the warm-up: {looks[0].gateway_mb:.1f} -> {looks[-1].gateway_mb:.1f} MiB,"
        f" slope {growth} MiB: {found}"
    )
    if found == "it grows":
        return [f"memory grows by {growth} MiB, more than {FLAT_MB:g}"], []
    return [], [] if found == "flat" else [f"that memory grows by no more than {FLAT_MB:g} MiB an hour: {growth}"]


def _left_behind(before: Look, after: Look) -> list[str]:
    faults = []
    if after.tasks > before.tasks:
        faults.append(f"{after.tasks} tasks at the end, {before.tasks} at the beginning")
    if after.under_way or after.descriptors > before.descriptors + 8:
        faults.append(f"{after.under_way} requests and {after.descriptors} descriptors, {before.descriptors} before")
    return faults


def check_ledger(url: str, course: Course) -> list[str]:
    """Every request is in the ledger: answered by a tier, or an error."""
    answered, failed = requests_in_ledger(metrics_of(url))
    told = sum(course.kinds.values())
    print(f"ledger: {answered} answered + {failed} errors = {answered + failed} of {told} told")
    return [] if answered + failed == told else [f"the ledger has {answered + failed} of {told} requests"]


def _report(
    course: Course, looks: list[Look], before: Look, after: Look, did: dict[str, int], stored: int, seconds: float
) -> None:
    total = sum(course.kinds.values())
    print(f"{total} requests of {course.asked} questions in {seconds:.0f} s; the slowest took {course.slowest_s:.1f} s")
    print(f"told: {dict(course.kinds)}")
    print(f"errors: {dict(course.details.most_common(20))}")
    troubles = {name.removeprefix("chaos_"): count for name, count in did.items() if name.startswith("chaos_")}
    asked = sum(troubles.values())
    print(f"upstream: {asked} requests, {1 - troubles.get('well', 0) / max(1, asked):.1%} in trouble: {troubles}")
    print(f"stored: {stored} answers, all compared with what a sane upstream says")
    print(f"before: {before.as_json()}\nafter:  {after.as_json()}")
    print(f"most at one moment: {max(one.tasks for one in looks)} tasks, {max(one.descriptors for one in looks)} fds")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.2, help="of requests that the upstream fails")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="and then no further question")
    parser.add_argument("--out", type=Path, default=Path("bench/out/chaos.jsonl"), help="a line of JSON for each look")
    return parser


if __name__ == "__main__":
    sys.exit(main())
