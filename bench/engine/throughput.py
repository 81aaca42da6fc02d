"""Eight conversations at once beside `generate` taking them one after another.

The conversations are people's: of each file of `shared/data/conversations` that has answers some, evenly spread over it
and in turns, with the questions as they are and answers as long as the recorded ones, counted in the model's tokens.
Each of eight callers asks the next turn as soon as the last is answered, and begins another conversation when one has
ended. Histories hold the model's own answers. `generate` begins every turn at the first token, as it does without
further care; it is given every so manieth turn, with as long a history.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.datasets import DataError, Message, Talk, conversations_of, find, read_rows
from bench.engine.models import TALKING, checkpoint_of
from bench.engine.plain import Transformers
from bench.engine.prompts import Messages, Prompts
from bench.engine.serving import CHAT, Engine, NotAvailable, Request, serving
from bench.http1 import Connection
from bench.rows import Row, Scale

CALLERS = 8
FILES = ("mtbench101", "kdconv_zh")
TALKS_OF_EACH = 4
EVERY = 6  # turns for `generate`
SLACK_TOKENS = 32  # a block that is not full


@dataclass(frozen=True, slots=True)
class Said:
    """A question, and how many tokens answer it."""

    asked: tuple[Message, ...]
    recorded: Message
    length: int


@dataclass(frozen=True, slots=True)
class Total:
    """What came of all conversations."""

    tokens: int
    seconds: float
    prompt_tokens: int
    cached_tokens: int


def run(scale: Scale) -> list[Row]:
    """Tokens generated per second, all conversations together; the same questions in every precision."""
    path = checkpoint_of(TALKING)
    prompts = Prompts(path)
    try:
        spread = [_spread(name, scale.of(TALKS_OF_EACH, 1)) for name in FILES]
        talks = [talk for some in zip(*spread, strict=True) for talk in some]
    except DataError as error:
        return [Row("throughput", "conversations", None, "tok/s", note=f"not available: {error}")]
    script = [list(_said(prompts, talk))[: scale.of(100, 2)] for talk in talks]
    beside = _generate(path, prompts, script)
    rows: list[Row] = []
    for kind in ("", "int8", "int4") if scale.large else ("",):
        what = f"{CALLERS} conversations at once, {kind or 'bfloat16'} weights"
        try:
            total = _converse(path, prompts, script, {"weights": kind} if kind else {})
        except NotAvailable as why:
            rows.append(Row("throughput", what, None, "tok/s", note=f"not available: {why}"))
            continue
        note = (
            f"{len(script)} talks, {sum(map(len, script))} turns, {total.tokens} tokens; "
            f"{total.cached_tokens} of {total.prompt_tokens} prompt tokens not computed again"
        )
        rows.append(
            Row("throughput", what, total.tokens / total.seconds, "tok/s", beside, "generate, one after another", note)
        )
    return rows


def _spread(name: str, count: int) -> Iterator[Talk]:
    talks = conversations_of(read_rows(find(name, "conversations")))
    return (talks[number * len(talks) // count] for number in range(count))


def _said(prompts: Prompts, talk: Talk) -> Iterator[Said]:
    for turn in talk.turns:
        if turn.recorded is not None:
            asked = (*turn.before, turn.user)
            yield Said(asked, turn.recorded, prompts.count(turn.recorded["content"]))


def _converse(path: Path, prompts: Prompts, script: Sequence[Sequence[Said]], settings: dict[str, str]) -> Total:
    with serving(path, None, dtype="bfloat16", max_running=CALLERS, **settings) as engine:
        engine.together([Request(prompts.plain(64, f"warm up {talk}").messages, 32) for talk in range(CALLERS)])
        return asyncio.run(_together(engine, script))


async def _together(engine: Engine, script: Sequence[Sequence[Said]]) -> Total:
    """Every caller takes the next conversation that nobody has begun, until there is none."""
    stock = iter(script)
    asked = list[tuple[int, int, int]]()

    async def call(lane: Connection) -> None:
        for talk in stock:
            history: Messages = []
            least = 0
            for said in talk:
                history = [*history, *said.asked]
                answer = await engine.post(lane, Request(history, said.length))
                assert answer.cached_tokens >= least - SLACK_TOKENS, (answer, least)
                asked.append((answer.completion_tokens, answer.prompt_tokens, answer.cached_tokens))
                history = [*history, {"role": "assistant", "content": answer.text}]
                least = answer.prompt_tokens + answer.completion_tokens

    async with AsyncExitStack() as stack:
        lanes = [await stack.enter_async_context(Connection(engine.server.url, CHAT)) for _ in range(CALLERS)]
        started = time.perf_counter()
        await asyncio.gather(*map(call, lanes))
        seconds = time.perf_counter() - started
    tokens, prompt_tokens, cached_tokens = (sum(each) for each in zip(*asked, strict=True))
    return Total(tokens, seconds, prompt_tokens, cached_tokens)


def _generate(path: Path, prompts: Prompts, script: Sequence[Sequence[Said]]) -> float:
    """Tokens per second, each turn read from its first token."""
    plain = Transformers(path, "bfloat16")
    plain.generate_seconds(prompts.plain(64, "warm up").token_ids, 4)
    turns = list(_turns(prompts, script))[:: EVERY if len(script) > len(FILES) else 1]
    seconds = sum(plain.generate_seconds(token_ids, length) for token_ids, length in turns)
    return sum(length for _, length in turns) / seconds


def _turns(prompts: Prompts, script: Sequence[Sequence[Said]]) -> Iterator[tuple[list[int], int]]:
    for talk in script:
        history: Messages = []
        for said in talk:
            history = [*history, *said.asked]
            yield prompts.encode(history), said.length
            history = [*history, said.recorded]
