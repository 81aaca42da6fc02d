"""Warm against cold: time to the first token after a long system prompt, on the bundled demo model.

Every round has a system prompt of its own. It is made warm by one question, then a second question is asked twice:
with the KV tier (`tiers: ["kv"]`, resumes after the shared prefix) and without any (`tiers: []`, computes everything
and leaves nothing behind). The order of the two alternates. Which it was is read from `cached_tokens`.
"""

import asyncio
import json
import random
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.figures import median, percentile
from bench.http1 import Connection, Timed
from bench.processes import Server, gateway
from bench.rows import Row, Scale

CHAT = "/v1/chat/completions"
PREFIX_TOKENS = 1500
LEAST_CACHED = 1400
WORDS = "cache block prefix token answer layer chain root tier store index scope request model prompt engine memory key"


@dataclass(frozen=True, slots=True)
class Ask:
    """A streamed request to the demo model and what came of it."""

    timed: Timed
    cpu_ms: float  # of the gateway and its engine, the whole answer
    prompt_tokens: int
    cached_tokens: int

    @property
    def first_ms(self) -> float:
        return self.timed.first_s * 1000


def run(scale: Scale) -> list[Row]:
    """Median time to the first text, warm beside cold."""
    with gateway("--model", "demo", wait_semantic=False) as server:
        warm, cold = asyncio.run(_measure(server, scale.of(30, 4)))
    first, slow = [ask.first_ms for ask in warm], [ask.first_ms for ask in cold]
    ratios = [one.first_ms / other.first_ms for one, other in zip(warm, cold, strict=True)]
    cached = min(ask.cached_tokens for ask in warm)
    note = f"{warm[0].prompt_tokens} prompt tokens, at least {cached} cached; speed-up {1 / median(ratios):.1f} x"
    return [
        Row("prefix", "first token, warm, p50", median(first), "ms", median(slow), "cold, the same request", note),
        Row("prefix", "first token, warm, p90", percentile(first, 90), "ms", percentile(slow, 90), "cold"),
        Row(
            "prefix",
            "whole answer, warm, processor time",
            fmean(ask.cpu_ms for ask in warm),
            "ms",
            fmean(ask.cpu_ms for ask in cold),
            "cold",
            "8 tokens decoded in both",
        ),
    ]


async def _measure(server: Server, rounds: int) -> tuple[list[Ask], list[Ask]]:
    warm: list[Ask] = []
    cold: list[Ask] = []
    async with Connection(server.url, CHAT) as connection:
        words = await words_for(server, connection)
        for number in range(rounds):
            system = text(random.Random(number), words)
            seed = await ask(server, connection, system, "What is kept?", ["kv"])
            assert seed.prompt_tokens >= PREFIX_TOKENS, f"the prompt has {seed.prompt_tokens} tokens only"
            for is_warm in (True, False) if number % 2 else (False, True):
                tiers = ["kv"] if is_warm else []
                found = await ask(server, connection, system, "How is a prefix found again?", tiers)
                (warm if is_warm else cold).append(found)
    assert all(one.cached_tokens > LEAST_CACHED for one in warm), [one.cached_tokens for one in warm]
    assert all(one.cached_tokens == 0 for one in cold), [one.cached_tokens for one in cold]
    return warm, cold


async def words_for(server: Server, connection: Connection) -> int:
    """How many random words fill the prefix, by the counts the gateway reports for two shorter prompts."""
    few, many = 100, 400
    rng = random.Random("measure")
    less, more = [(await ask(server, connection, text(rng, count), "?", [])).prompt_tokens for count in (few, many)]
    per_word = (more - less) / (many - few)
    return few + round((PREFIX_TOKENS * 1.03 - less) / per_word)


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS.split(), k=words))


async def ask(
    server: Server, connection: Connection, system: str, question: str, tiers: list[str], namespace: str = "bench"
) -> Ask:
    body = {
        "model": "demo",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
        "cache": {"tiers": tiers, "namespace": namespace},
        "max_tokens": 8,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    before = server.cpu_s()
    timed = await connection.post(json.dumps(body).encode())
    cpu_ms = (server.cpu_s() - before) * 1000
    assert timed.status == 200, timed.body
    usage = usage_of(timed.body)
    return Ask(timed, cpu_ms, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"])


def usage_of(events: bytes) -> dict[str, Any]:
    """The usage of a stream that was asked for it."""
    chunks = [json.loads(line[6:]) for line in events.split(b"\n") if line.startswith(b"data: {")]
    found: dict[str, Any] = next(chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage"))
    return found
