"""What sharing costs who does not share and who does, and whether a padded hit can be told from a generation.

Requests of tenants to one pipeline without HTTP, over a scripted backend and a file. Costs are in turns, in one run.
For the second part the backend takes a random time to its first word, and between words: the area under the curve of
who guesses from the total, or from the first word, whether an answer was made for somebody before; 0.5 is blind.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from backends.chat import ChatRequest
from backends.fake import ScriptedBackend, Step, say
from backends.routing.router import Router
from bench.rows import Row, Scale
from gateway.answers.memory import MemoryAnswers
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.commons.commons import Commons
from gateway.commons.file import FileWitnesses
from gateway.commons.witnesses import Statement, witness_of
from gateway.controls import Controls
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.policy import Rules
from gateway.reply import Reply

SECRET = b"s" * 32
ALONE, SHARING = Rules(semantic=False), Rules(semantic=False, share_tenants=2)
PADDED = Rules(semantic=False, share_tenants=2, pads_shared_hits=True)
WORDS = "A block table says for every sequence which blocks of memory hold its keys and values , in their order ."
SUITE = "sharing"


def run(scale: Scale) -> list[Row]:
    return asyncio.run(_measure(scale))


async def _measure(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        rows = await _costs(Path(folder), scale.of(300, 50))
        rows += await _told_apart(Path(folder), scale.of(60, 20))
        return rows + await _forgetting(Path(folder), scale.of(20_000, 2000))


async def _costs(folder: Path, times: int) -> list[Row]:
    took: dict[str, list[float]] = {}
    backend = ScriptedBackend(say("Yes."))
    async with _gateway(folder / "off", ALONE, backend) as off, _gateway(folder / "on", SHARING, backend) as on:
        for tenant in "ab":
            await _ask(on, "What do all ask?", tenant)
            await on.close()
        for pipeline in (off, on):
            await _ask(pipeline, "What do I ask?", "a")
            await pipeline.close()
        for number in range(times):
            for name, pipeline in (("off", off), ("on", on)):
                took.setdefault(f"hit {name}", []).append((await _ask(pipeline, "What do I ask?", "a"))[1])
                took.setdefault(f"miss {name}", []).append((await _ask(pipeline, f"Number {number}?", "a"))[1])
            took.setdefault("shared", []).append((await _ask(on, "What do all ask?", f"t{number}"))[1])
    us = {name: median(some) * 1e6 for name, some in took.items()}
    one = "the same on a route that shares nothing"
    return [
        Row(SUITE, "an exact hit of one's own, where tenants share", us["hit on"], "us", us["hit off"], one),
        Row(SUITE, "a miss, where tenants share", us["miss on"], "us", us["miss off"], one),
        Row(SUITE, "a shared hit", us["shared"], "us", us["hit off"], "an exact hit of one's own"),
    ]


async def _told_apart(folder: Path, times: int) -> list[Row]:
    chance = random.Random(5)

    def script(_: ChatRequest) -> Iterable[Step]:
        first, *words = say(WORDS)
        pace = chance.lognormvariate(-6.2, 0.3)
        yield from (chance.lognormvariate(-3.5, 0.3), first)
        for word in words:
            yield from (pace, word)

    rows = []
    for rules, name in ((SHARING, "as it comes"), (PADDED, "padded")):
        async with _gateway(folder / name.replace(" ", "-"), rules, ScriptedBackend(script)) as pipeline:
            texts = [f"Question {number}?" for number in range(2 * times)]
            for tenant in "ab":
                await asyncio.gather(*(_ask(pipeline, text, tenant) for text in texts[:times]))
                await pipeline.close()
            some = list(range(2 * times))
            chance.shuffle(some)
            seen = [(at < times, await _ask(pipeline, texts[at], "c")) for at in some]
        for at, what in ((1, "the whole"), (0, "the first word")):
            hits, made = ([took[at] for is_hit, took in seen if is_hit is wanted] for wanted in (True, False))
            note = f"{times} of each; p50 {median(hits) * 1e3:.1f} and {median(made) * 1e3:.1f} ms"
            rows.append(Row(SUITE, f"told from a generation by {what}, {name}", auc(made, hits), "AUC", note=note))
    return rows


async def _forgetting(folder: Path, count: int) -> list[Row]:
    kept = FileWitnesses(folder / "many.db", most=count)
    await kept.open()
    requests = [number.to_bytes(4, "little") * 8 for number in range(count)]
    for start in range(0, count, 2000):
        notes = (Statement(b"s" * 32, one, witness_of(SECRET, one, "a"), 2) for one in requests[start : start + 2000])
        await asyncio.gather(*map(kept.note, notes))
    started = time.perf_counter()
    await kept.forget(SECRET, "b")
    took_s = time.perf_counter() - started
    await kept.close()
    return [Row(SUITE, f"to look for a tenant among {count:,} witnesses", took_s, "s")]


def auc(ones: Sequence[float], others: Sequence[float]) -> float:
    """The chance that one of `ones` is the larger of a pair; ties count half."""
    won = sum((one > other) + 0.5 * (one == other) for one in ones for other in others)
    return won / (len(ones) * len(others))


@asynccontextmanager
async def _gateway(folder: Path, rules: Rules, backend: ScriptedBackend) -> AsyncIterator[Pipeline]:
    await asyncio.to_thread(folder.mkdir)
    ledger = Ledger(Metrics())
    answers = TieredAnswers(MemoryAnswers(1 << 26), SqliteAnswers(folder / "answers.db", budget_bytes=1 << 28))
    commons = Commons(SECRET, FileWitnesses(folder / "commons.db"), answers, ledger)
    router = Router([backend])
    pipeline = Pipeline(
        secret=SECRET, router=router, answers=answers, semantic=None, rules=rules, ledger=ledger, commons=commons
    )
    await answers.open()
    await commons.open()
    await router.open()
    try:
        yield pipeline
    finally:
        await pipeline.close()
        await router.close()
        await commons.close()
        await answers.close()


async def _ask(pipeline: Pipeline, text: str, tenant: str) -> tuple[float, float]:
    """Seconds to the first word, and to the end."""
    started, first = time.perf_counter(), None
    request = ChatRequest("scripted", ({"role": "user", "content": text},))
    reply: Reply = await pipeline.answer(request, tenant, "", Controls())
    async for delta in reply.deltas:
        if first is None and delta.fields.get("content"):
            first = time.perf_counter()
    now = time.perf_counter()
    return (first or now) - started, now - started
