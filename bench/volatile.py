"""What a clock at the head of a prompt costs, and what looking for such things costs: `python -m bench volatile`.

First tokens of the demo model: a system prompt of 1,500 tokens that begins with the time, another in every request;
sent on as it came, or without the time (`[[normalise]]`, `send = true`), asked in turns. Then the rules and the watch
by themselves, on prompts as long as a chat's and an agent's, a nonce in each.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from backends.chat import ChatRequest
from bench.figures import median, percentile
from bench.http1 import Connection
from bench.prefix import CHAT, Ask, ask, text, words_for
from bench.processes import Server, gateway
from bench.rows import Row, Scale
from gateway.normalise.request import Normaliser
from gateway.normalise.route import route_of
from gateway.prefixes.watch import PROMPTS, PrefixWatch
from gateway.settings import NormaliseSettings

SIZES = (1_000, 8_000, 60_000)  # characters of a system prompt
TAKEN_OUT = '[[normalise]]\nnamespace = "stable"\nsend = true\nrules = ["clock"]\n'


def run(scale: Scale) -> list[Row]:
    """Both parts."""
    return [*_engine(scale), *_rules(scale), *_watch(scale)]


def _engine(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "normalise.toml")
        config.write_text(TAKEN_OUT, "utf-8")
        with gateway("--model", "demo", "--config", str(config), wait_semantic=False) as server:
            ours, theirs = asyncio.run(_in_turns(server, scale.of(16, 4)))
    note = f"of {ours[0].prompt_tokens} prompt tokens {median([one.cached_tokens for one in ours]):.0f} were kept"
    beside = f"sent as it came: {median([one.cached_tokens for one in theirs]):.0f} kept"
    return [
        Row(
            "volatile",
            f"first token behind a clock, p{percent}",
            percentile([one.first_ms for one in ours], percent),
            "ms",
            percentile([one.first_ms for one in theirs], percent),
            beside,
            note,
        )
        for percent in (50, 90)
    ]


async def _in_turns(server: Server, rounds: int) -> tuple[list[Ask], list[Ask]]:
    found: dict[str, list[Ask]] = {"stable": [], "as it came": []}
    async with Connection(server.url, CHAT) as connection:
        house = text(random.Random(1), await words_for(server, connection))
        for number in range(rounds + 1):
            system = f"Current time: 2026-06-09 08:{number // 60:02}:{number % 60:02}\n{house}"
            for namespace in sorted(found, reverse=bool(number % 2)):
                question = f"How is prefix {number} found again?"
                answer = await ask(server, connection, system, question, ["kv"], namespace)
                if number:  # the first one is cold for both
                    found[namespace].append(answer)
    return found["stable"], found["as it came"]


def _rules(scale: Scale) -> list[Row]:
    rows = []
    for rules in (
        ("agent_nonces", "clock", "request_ids"),
        ("agent_nonces", "clock", "request_ids", "session_ids", "uuids", "timestamps", "dates"),
    ):
        normaliser = Normaliser([route_of(NormaliseSettings(rules=rules, send=True), "normalise[0]")])
        for size in SIZES:
            requests = [_request(size, number) for number in range(scale.of(200, 10))]
            assert all(normaliser.of(request, "t", "").removals for request in requests)
            took = _each(partial(normaliser.of, tenant="t", namespace=""), requests)
            what = f"{len(rules)} rules over {size:,} characters, p50"
            rows.append(Row("volatile", what, median(took) * 1e6, "us", note=f"p99 {percentile(took, 99) * 1e6:.0f}"))
    return rows


def _watch(scale: Scale) -> list[Row]:
    rows = []
    for size in SIZES:
        watch = PrefixWatch(256 << 20)
        requests = [_request(size, number) for number in range(scale.of(300, 50))]
        looked = _each(partial(watch.look, at_s=0.0), requests)[PROMPTS:]
        note = f"behind the answer, beside {PROMPTS} prompts; p99 {percentile(looked, 99) * 1e6:.0f}"
        rows.append(
            Row("volatile", f"looking at a prompt of {size:,} characters, p50", median(looked) * 1e6, "us", note=note)
        )
    saw = asyncio.run(_saw([_request(SIZES[-1], number) for number in range(200)]))
    return [*rows, Row("volatile", "what of it a request waits for, p50", median(saw) * 1e6, "us")]


async def _saw(requests: list[ChatRequest]) -> list[float]:
    watch = PrefixWatch(256 << 20)
    return _each(watch.saw, requests)


def _each(work: Callable[[ChatRequest], object], requests: Sequence[ChatRequest]) -> list[float]:
    took = []
    for request in requests:
        started = time.perf_counter()
        work(request)
        took.append(time.perf_counter() - started)
    return took


def _request(size: int, number: int) -> ChatRequest:
    """A prompt as agents send it: a nonce and a clock at the head, prose with colons and numbers behind."""
    rng = random.Random(size)
    prose = "".join(f"{number}. {text(rng, 12)}: see section {rng.randrange(90)}.\n" for number in range(size // 100))
    nonce = f"x-anthropic-billing-header: cc_version=2.1.37; cch={number:05x};"
    head = f"{nonce}\nCurrent time: 2026-06-09 10:{number % 60:02}:07\n"
    messages = (
        {"role": "system", "content": (head + prose)[:size]},
        {"role": "user", "content": f"Question {number}?"},
    )
    return ChatRequest("m", messages, owner="t")
