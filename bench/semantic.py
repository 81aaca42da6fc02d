"""Hits by meaning among many stored questions, beside the embedder alone, and beside GPTCache with the same weights.

Every measured question is asked once, in words nobody used before, so no memo answers in the embedder's place, and none
has the bare form of a stored one: what is found by that form, unembedded, is no hit here, and how many there were is in
the note. For each question the embedder alone, the gateway and GPTCache take turns; many callers ask them in blocks,
likewise in turns. Gateway and GPTCache are held on one core, embedder included; whoever asks, and the embedder alone,
on the other. What either is not sure enough of is no hit and is left out, of times and of rates; the notes count it.
Nothing is kept meanwhile, so nothing is learned beside.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx
import psutil

from bench.engine.serving import NotAvailable
from bench.figures import median, percentile
from bench.http1 import Connection, Timed
from bench.peers.gptcache import gptcache
from bench.processes import Server, gateway, two_cpus, upstream
from bench.questions import questions, reworded, reworded_anew
from bench.rows import Row, Scale
from bench.turns import Block, block, held_on, together
from embeddings.base import Embedder
from gateway.semantic.found import SAME_QUESTION
from gateway.services.semantic import load_embedder
from gateway.settings import CacheSettings

CHAT = "/v1/chat/completions"
GET = "/get"  # of GPTCache's own server
PEER = "GPTCache"
ALONE = "the embedder alone"
CALLERS = 16
MODEL = "test-model"


def run(scale: Scale) -> list[Row]:
    """Fill both, ask one at a time, then many at a time."""
    known = questions(scale.of(10_000, 200))
    draw = random.Random(1)  # nothing is secret here
    once = draw.sample(known, scale.of(200, 30))
    many = draw.sample(known, scale.of(960, 64))
    server_cpu, driver_cpu = two_cpus()
    with ExitStack() as stack:
        backend = stack.enter_context(upstream("fast", cpu=driver_cpu))
        ours = stack.enter_context(gateway("--upstream", backend.url, cpu=server_cpu))
        filling = stack.enter_context(ThreadPoolExecutor(1)).submit(_filled, ours, known)
        theirs, why = None, ""
        try:  # it reads the same meanwhile, on the other core
            theirs = stack.enter_context(gptcache([(one, _answer(one)) for one in known], cpu=server_cpu))
        except NotAvailable as error:
            why = str(error)
        filling.result()
        embedder = load_embedder(CacheSettings(embedder_threads=1))
        with held_on(driver_cpu):
            seen = asyncio.run(_in_turns(ours, theirs, embedder, [reworded(one) for one in once]))
            rates = asyncio.run(_rates(ours, theirs, [reworded_anew(one) for one in many], scale.of(4, 2)))
        sizes = {one.pid: psutil.Process(one.pid).memory_info().rss / 1e6 for one in (ours, theirs) if one}
    return [*_ours(seen, rates[0], len(known)), *_beside(seen, rates, ours, theirs, sizes, why)]


def _answer(question: str) -> str:
    """An answer of its own: were all answers equal, the lane would learn that any question serves any other."""
    return f"{question} That depends on what there is to hand. " * 8


def _filled(server: Server, known: Sequence[str]) -> None:
    """Store the questions with their answers, and wait until all are found by meaning."""
    asyncio.run(_fill(server, known))
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        while client.get("/admin/api/stats").json()["vectors"] < len(known):
            time.sleep(0.2)


async def _fill(server: Server, known: Sequence[str]) -> None:
    left = iter(known)

    async def work() -> None:
        async with Connection(server.url, "/v1/cache/entries", method="PUT") as connection:
            for question in left:
                body = {"request": _request(question), "answer": _answer(question), "elapsed_s": 1.0}
                said = await connection.post(json.dumps(body).encode())
                assert said.status == 200, said.body

    await asyncio.gather(*(work() for _ in range(8)))


@dataclass(slots=True)
class Seen:
    """What one caller saw of hits, in milliseconds, question by question."""

    alone: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    asked: int = 0
    by_form: int = 0  # answered by the bare form, without a look by meaning
    missed: int = 0  # by GPTCache
    cpu_ms: float = 0.0  # of the gateway, of all hits


async def _in_turns(ours: Server, theirs: Server | None, embedder: Embedder, asked: Sequence[str]) -> Seen:
    seen = Seen()
    for text in asked[:3]:
        embedder.read([f"Well: {text}"])
    async with Connection(ours.url, CHAT) as own, Connection((theirs or ours).url, GET) as other:
        for text in asked:
            started = time.perf_counter()
            embedder.read([text])
            alone_ms, spent = (time.perf_counter() - started) * 1000, ours.cpu_s()
            answer = await own.post(_asked(text))
            cpu_ms = (ours.cpu_s() - spent) * 1000
            beside = await other.post(json.dumps({"prompt": text}).encode()) if theirs else None
            seen.asked += 1
            if _is_hit(answer):
                seen.alone.append(alone_ms)
                seen.ours.append(answer.total_s * 1000)
                seen.cpu_ms += cpu_ms
            elif answer.headers["x-twicetold-tier"] == "semantic":
                seen.by_form += 1
            if beside is not None and _is_theirs(beside):
                seen.theirs.append(beside.total_s * 1000)
            elif beside is not None:
                seen.missed += 1
    assert len(seen.ours) >= seen.asked / 2, f"only {len(seen.ours)} hits of {seen.asked}"
    return seen


def _is_hit(answer: Timed) -> bool:
    """By meaning: the question was embedded, searched for and judged."""
    return answer.headers["x-twicetold-reason"] == SAME_QUESTION


def _is_theirs(answer: Timed) -> bool:
    return bool(json.loads(answer.body)["answer"])


def _request(question: str) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": question}]}


def _asked(question: str) -> bytes:
    """A measured request. What is no hit is not kept: else its answer would be compared with those of its neighbours
    while the next hit is timed, nine texts of 250 tokens to embed."""
    return json.dumps({**_request(question), "cache": {"no-store": True}}).encode()


async def _rates(ours: Server, theirs: Server | None, asked: Sequence[str], turns: int) -> tuple[Block, Block | None]:
    """Many callers at a time, blocks of each in turn; GPTCache, which takes longer, is asked a quarter of it."""
    own, other = list[Block](), list[Block]()
    for turn in range(turns):
        some = asked[turn::turns]
        own.append(await block(ours.url, CHAT, [_asked(text) for text in some], CALLERS, _is_hit))
        if theirs is not None:
            bodies = [json.dumps({"prompt": text}).encode() for text in some[: len(some) // 4]]
            other.append(await block(theirs.url, GET, bodies, CALLERS, _is_theirs))
    return together(own), together(other) if other else None


def _ours(seen: Seen, rate: Block, stored: int) -> list[Row]:
    added = median([a - b for a, b in zip(seen.ours, seen.alone, strict=True)])
    note = (
        f"{stored:,} entries, {len(seen.ours)} hits by meaning of {seen.asked}, {seen.by_form} by bare form; "
        f"adds {added:.2f} ms at p50, question by question"
    )
    return [
        Row("semantic", "hit, p50, 1 caller", median(seen.ours), "ms", median(seen.alone), ALONE, note),
        Row("semantic", "hit, p99, 1 caller", percentile(seen.ours, 99), "ms", percentile(seen.alone, 99), ALONE),
        Row("semantic", "hit, processor time", seen.cpu_ms / len(seen.ours), "ms", median(seen.alone), f"{ALONE}, p50"),
        Row(
            "semantic", f"hits, {CALLERS} callers", rate.per_second, "req/s", 1000 / median(seen.alone),
            f"{ALONE}, one by one", _counted(rate),
        ),
    ]  # fmt: skip


def _beside(
    seen: Seen,
    rates: tuple[Block, Block | None],
    ours: Server,
    theirs: Server | None,
    sizes: dict[int, float],
    why: str,
) -> list[Row]:
    rate, other = rates
    if theirs is None or other is None:
        return [Row("gptcache", "hit, rate, memory", None, "", None, PEER, f"not available: {why}")]
    note = (
        "its own server, all-MiniLM-L6-v2 by its sentence-transformers adapter, SQLite + FAISS; "
        f"{len(seen.theirs)} hits of {seen.asked}, {seen.missed} missed"
    )
    return [
        Row("gptcache", "hit, p50", median(seen.ours), "ms", median(seen.theirs), PEER, note),
        Row("gptcache", "hit, p99", percentile(seen.ours, 99), "ms", percentile(seen.theirs, 99), PEER),
        Row(
            "gptcache",
            f"hits, {CALLERS} callers",
            rate.per_second,
            "req/s",
            other.per_second,
            PEER,
            f"theirs: {_counted(other)}",
        ),
        Row("gptcache", "resident", sizes[ours.pid], "MB", sizes[theirs.pid], PEER),
    ]


def _counted(rate: Block) -> str:
    return f"{rate.hits} hits of {rate.hits + rate.missed}, {rate.missed} missed"
