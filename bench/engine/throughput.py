"""Eight conversations of one chat app at once, of two turns each, beside `generate` taking them one after another.

`generate` begins every turn at the first token, as it does without further care; the engine keeps what it has read.
"""

import time
from pathlib import Path

from bench.engine.models import SMOLLM2_135M, checkpoint_of
from bench.engine.plain import Transformers
from bench.engine.prompts import Messages, Prompts
from bench.engine.serving import NotAvailable, Request, serving
from bench.rows import Row, Scale

TALKS = 8
SYSTEM_TOKENS, QUESTION_TOKENS = 256, 64


def run(scale: Scale) -> list[Row]:
    """Tokens generated per second, all conversations together; the same questions in every precision."""
    path, length = checkpoint_of(SMOLLM2_135M), scale.of(32, 8)
    turns, talks = scale.of(2, 1), scale.of(TALKS, 2)
    beside = _generate(path, length, turns, talks)
    rows: list[Row] = []
    for kind in ("", "int8", "int4") if scale.large else ("", "int4")[: scale.of(2, 1)]:
        what = f"{TALKS} conversations at once, {kind or 'bfloat16'} weights"
        try:
            made, seconds = _converse(path, length, turns, {"weights": kind} if kind else {})
        except NotAvailable as why:
            rows.append(Row("throughput", what, None, "tok/s", note=f"not available: {why}"))
            continue
        note = f"{turns} turns of {QUESTION_TOKENS} + {length} tokens after a shared system prompt of {SYSTEM_TOKENS}"
        rows.append(Row("throughput", what, made / seconds, "tok/s", beside, "generate, one after another", note))
    return rows


def _converse(path: Path, length: int, turns: int, settings: dict[str, str]) -> tuple[int, float]:
    """Tokens made and seconds taken. The app's system prompt stands before every conversation; nobody knows it yet."""
    prompts = Prompts(path)
    with serving(path, None, dtype="bfloat16", max_running=TALKS, **settings) as engine:
        engine.together([Request(prompts.plain(64, f"warm up {talk}").messages, length) for talk in range(TALKS)])
        talks: list[Messages] = [_system(prompts) for _ in range(TALKS)]
        seconds = 0.0
        for turn in range(turns):
            talks = [_next(prompts, messages, talk, turn) for talk, messages in enumerate(talks)]
            started = time.perf_counter()
            answers = engine.together([Request(talk, length) for talk in talks])
            seconds += time.perf_counter() - started
            assert turn == 0 or all(answer.cached_tokens >= SYSTEM_TOKENS for answer in answers), answers
            pairs = zip(talks, answers, strict=True)
            talks = [[*talk, {"role": "assistant", "content": answer.text}] for talk, answer in pairs]
    return turns * TALKS * length, seconds


def _generate(path: Path, length: int, turns: int, talks: int) -> float:
    """Tokens per second of as many conversations, each turn read from its first token."""
    prompts, plain = Prompts(path), Transformers(path, "bfloat16")
    plain.generate_seconds(prompts.plain(64, "warm up").token_ids, 4)
    seconds = 0.0
    for talk in range(talks):
        messages = _system(prompts)
        for turn in range(turns):
            messages = _next(prompts, messages, talk, turn)
            seconds += plain.generate_seconds(prompts.encode(messages), length)
            messages = [*messages, {"role": "assistant", "content": "model " * length}]
    return talks * turns * length / seconds


def _system(prompts: Prompts) -> Messages:
    return [{"role": "system", "content": prompts.prefix(SYSTEM_TOKENS, "the app")}]


def _next(prompts: Prompts, messages: Messages, talk: int, turn: int) -> Messages:
    before = 0 if turn == 0 else len(prompts.encode(messages)) - SYSTEM_TOKENS
    return prompts.extend(messages, SYSTEM_TOKENS + before + QUESTION_TOKENS, f"talk {talk} turn {turn}").messages
