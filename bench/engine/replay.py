"""Conversations of people replayed turn by turn: how much of what was read before is read again, and what does it take?

Each turn is asked twice, with the KV tier and from nothing (which leaves nothing behind), in alternating order. A token
of a prompt is reusable when the prompt begins like the previous turn with its answer, or like the first turn of the
talk before, up to and with that token. On the demo model its answers become history. On random weights of 135 M
parameters the history has the answers of the data set, which nobody has read before: they do not count as reusable. The
texts are those beside the repository in `shared/data/conversations`. First turns are in the sums: they gain nothing,
and talks of two or three turns little.

Prefill time is what the engine counts (`prefill_s`): kept rows copied in, and the prompt rows' share of its forwards.
Waiting for the first token has the way there and back in it too, which is as long cold as warm. What is done ahead
while nobody waits (`idle_s`) is told beside it; a pause after each turn leaves room for it, as people do.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.datasets import DataError, Talk, conversations_of, find, read_rows
from bench.engine.models import DEMO, SMOLLM2_135M, checkpoint_of
from bench.engine.prompts import Messages, Prompts, common
from bench.engine.serving import Answer, Engine, Request, serving
from bench.rows import Row, Scale

FILES = ("mtbench101", "kdconv_zh", "mtbench_vicuna_prompts")
LONG = "kdconv_zh"
EVERY = 40  # of the talks of a file, so that the sum of a sample has each file's share of all
ANSWER_TOKENS = 32
PAUSE_S = 0.05
CONTEXT_TOKENS, LEAST_ROOM = 4096, 64  # of the demo model; what must be left for the answer and its end


@dataclass(frozen=True, slots=True)
class Asked:
    """One turn, asked one way."""

    answer: Answer
    prefill_s: float
    idle_s: float  # right after it


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, asked both ways."""

    warm: Asked
    cold: Asked
    reusable: int  # tokens of the prompt


def run(scale: Scale) -> list[Row]:
    """Every so manieth talk of each file, all of them with `--large`; of the longest one also on random weights."""
    try:
        files = {name: conversations_of(read_rows(find(name, "conversations"))) for name in FILES}
    except DataError as error:
        return [Row("replay", "conversations", None, "%", note=f"not available: {error}")]
    rows, everything = list[Row](), list[Turn]()
    with serving(checkpoint_of(DEMO), kv_mb=256) as engine:
        for name, talks in files.items():
            some = talks if scale.large else talks[:: scale.of(EVERY, 8 * EVERY)]
            turns = list(_replay(engine, Prompts(checkpoint_of(DEMO)), some))
            rows += _rows(f"{name}, {len(some)} of {len(talks)} talks, demo", turns)
            everything += turns
    rows += _rows("all files, demo", everything)
    if not scale.quick:
        most = 10 if scale.large else 1
        with serving(checkpoint_of(SMOLLM2_135M), dtype="bfloat16") as engine:
            turns = list(_replay(engine, Prompts(checkpoint_of(SMOLLM2_135M)), files[LONG][:most], is_recorded=True))
        rows += _rows(f"{LONG}, {most} of {len(files[LONG])} talks, {SMOLLM2_135M}", turns)
    return rows


def _replay(engine: Engine, prompts: Prompts, talks: list[Talk], *, is_recorded: bool = False) -> Iterator[Turn]:
    length = 1 if is_recorded else ANSWER_TOKENS
    first: list[int] = []
    for talk in talks:
        history: Messages = []
        read = first
        for number, turn in enumerate(talk.turns):
            history = [*history, *turn.before, turn.user]
            token_ids = prompts.encode(history)
            if len(token_ids) > CONTEXT_TOKENS - LEAST_ROOM:
                break
            warm, cold = _both_ways(engine, history, length, warm_first=number % 2 == 0)
            assert warm.answer.prompt_tokens == len(token_ids), (warm, len(token_ids))
            yield Turn(warm, cold, min(common(token_ids, read), len(token_ids) - 1))
            first = token_ids if number == 0 else first
            if is_recorded and turn.recorded:
                history, read = [*history, turn.recorded], token_ids
            else:
                history = [*history, {"role": "assistant", "content": warm.answer.text}]
                read = prompts.encode(history)


def _both_ways(engine: Engine, history: Messages, length: int, *, warm_first: bool) -> tuple[Asked, Asked]:
    asks = [Request(history, length, is_cold=is_cold, may_end=True) for is_cold in (False, True)]
    found = [_ask(engine, ask) for ask in (asks if warm_first else reversed(asks))]
    warm, cold = found if warm_first else reversed(found)
    return warm, cold


def _ask(engine: Engine, request: Request) -> Asked:
    before = engine.stats()
    answer = engine.ask(request)
    time.sleep(PAUSE_S)
    after = engine.stats()
    return Asked(answer, after["prefill_s"] - before["prefill_s"], after["idle_s"] - before["idle_s"])


def _rows(what: str, turns: list[Turn]) -> list[Row]:
    pairs = [(turn.warm.answer, turn.cold.answer) for turn in turns]
    reusable = sum(turn.reusable for turn in turns)
    reused = sum(min(turn.warm.answer.cached_tokens, turn.reusable) for turn in turns)
    asked = sum(warm.prompt_tokens for warm, _ in pairs)
    computed = asked - sum(warm.cached_tokens for warm, _ in pairs)
    differing = sum(warm.text != cold.text for warm, cold in pairs)
    note = f"{len(turns)} turns; {differing} answers differ from those from nothing"
    ahead = f"{sum(turn.warm.idle_s for turn in turns):.2f} s more ahead, while nobody waited"
    prefill = [sum(asked.prefill_s for asked in way) for way in zip(*((t.warm, t.cold) for t in turns), strict=True)]
    waiting = [sum(answer.first_ms for answer in way) / 1000 for way in zip(*pairs, strict=True)]
    return [
        Row("replay", f"{what}: reusable tokens reused", reused / reusable * 100, "%", note=note),
        Row("replay", f"{what}: prompt tokens computed", computed, "tokens", asked, "from nothing"),
        Row("replay", f"{what}: prefill time", prefill[0], "s", prefill[1], "from nothing", ahead),
        Row("replay", f"{what}: waiting for first tokens", waiting[0], "s", waiting[1], "from nothing", "HTTP and all"),
    ]
