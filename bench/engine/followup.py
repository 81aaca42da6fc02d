"""A follow-up turn of a conversation: does the first token wait for the history, or only for what is new?

One conversation grows from 500 to 8,000 tokens. At each length its last question is answered, and then several next
turns are asked in its place, each of 32 new tokens after the answer.
"""

import time

from bench.engine.bare import Bare
from bench.engine.models import TALKING, checkpoint_of
from bench.engine.prompts import Messages, Prompts
from bench.engine.serving import Answer, Engine, Request, serving
from bench.figures import median
from bench.rows import Row, Scale

SLACK_TOKENS = 160  # `exact` resumes at the borders of chunks
LENGTHS = (500, 1000, 2000, 4000, 8000)
NEW_TOKENS, ANSWER_TOKENS = 32, 2
THINK_S = 0.3  # nobody writes the next question at once


def run(scale: Scale) -> list[Row]:
    """Median time to the first token at each length, beside the least it can take."""
    path = checkpoint_of(TALKING)
    prompts, bare = Prompts(path), Bare(path, "bfloat16")
    first_ms, bare_ms, notes = list[float](), list[float](), list[str]()
    lengths = LENGTHS[: scale.of(len(LENGTHS), 2)]
    with serving(path, dtype="bfloat16", kv_mb=1024) as engine:
        history: Messages = [{"role": "system", "content": prompts.prefix(64, "follow up")}]
        for length in lengths:
            history = prompts.extend(history, length, f"history {length}").messages
            answer = engine.ask(Request(history, ANSWER_TOKENS))
            history = [*history, {"role": "assistant", "content": answer.text}]
            before = len(prompts.encode(history))
            turns = [
                prompts.extend(history, before + NEW_TOKENS, f"{length} {number}") for number in range(scale.of(6, 2))
            ]
            asked = [_after_a_rest(engine, Request(turn.messages, 2)) for turn in turns]
            assert all(each.cached_tokens >= length - SLACK_TOKENS for each in asked), asked
            first_ms.append(median([each.first_ms for each in asked]))
            ready = bare.keep(length)
            bare_ms.append(median([bare.seconds(ready, turn.token_ids[-NEW_TOKENS:]) * 1000 for turn in turns]))
            new = max(each.prompt_tokens - each.cached_tokens for each in asked)
            notes.append(f"at most {new} tokens computed")
    rows = [
        Row(
            "followup",
            f"first token after {length} tokens of history",
            ms,
            "ms",
            beside,
            bare.name,
            note,
        )
        for length, ms, beside, note in zip(lengths, first_ms, bare_ms, notes, strict=True)
    ]
    spread = (max(first_ms) / min(first_ms) - 1) * 100
    return [*rows, Row("followup", "slowest over fastest, minus one", spread, "%")]


def _after_a_rest(engine: Engine, request: Request) -> Answer:
    engine.stats_at_rest()
    time.sleep(THINK_S)
    return engine.ask(request)
