"""What hits do to greedy answers, and what it costs to rule that out: the figures behind the default of `engine.exact`.

Every answer is compared with the one the engine gives to the same chat alone and from nothing. Asked are the whole
chat again, a chat that another one shares its beginning with (up to the middle of a block), the turn after an answer
(whose blocks were born in decoding), and the whole chat again among seven others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.engine.models import DEMO, SMOLLM2_135M, checkpoint_of
from bench.engine.prompts import Messages, Prompt, Prompts
from bench.engine.serving import Answer, Engine, NotAvailable, Request, serving
from bench.figures import Share, median
from bench.rows import Row, Scale

MATES = 7
PROMPT_TOKENS, SHARED_TOKENS, PREFIX_TOKENS, NEW_TOKENS = 160, 109, 2048, 64
CHUNK_TOKENS = 256  # `exact` resumes at the border of a chunk


@dataclass(frozen=True, slots=True)
class Trial:
    """One random chat in one engine."""

    engine: Engine
    prompts: Prompts
    chat: Prompt
    number: int
    length: int

    def warm(self, messages: Messages, case: str, length: int | None = None) -> Answer:
        return self.engine.ask(Request(messages, length or self.length, salt=f"{case} {self.number}"))


def run(scale: Scale) -> list[Row]:
    """Answers that differ, per model, precision and mode; then the price of `exact`."""
    few = 60 if scale.large else scale.of(16, 3)
    rows = _differing(DEMO, "float32", few, 24, modes=(False, True) if scale.large else (False,))
    if scale.quick:
        return rows
    rows += _differing(DEMO, "bfloat16", few, 24)
    if scale.large:
        rows += _differing(SMOLLM2_135M, "float32", 30, 12)
        rows += _differing(SMOLLM2_135M, "bfloat16", 60, 12)
    else:
        rows += _differing(SMOLLM2_135M, "bfloat16", 4, 12, modes=(False,))
    return [*rows, *_price(scale)]


def _differing(name: str, dtype: str, count: int, length: int, modes: Sequence[bool] = (False, True)) -> list[Row]:
    path = checkpoint_of(name)
    prompts, rows = Prompts(path), []
    for exact in modes:
        mode = "exact" if exact else "fast"
        what = f"answers that differ, {name}, {dtype}, {mode}"
        try:
            with serving(path, dtype=dtype, exact=exact, kv_mb=256) as engine:
                tried = [_try(engine, prompts, number, length) for number in range(count)]
        except NotAvailable as why:
            rows.append(Row("numerics", what, None, "%", note=f"not available: {why}"))
            continue
        shares = {case: Share(*_counted([each[case] for each in tried])) for case in CASES}
        total = Share(sum(share.hits for share in shares.values()), sum(share.of for share in shares.values()))
        parts = ", ".join(f"{case} {share.hits} of {share.of}" for case, share in shares.items())
        rows.append(Row("numerics", what, 100 * (total.rate or 0.0), "%", note=f"{length} tokens each; {parts}"))
    return rows


def _counted(differs: list[bool | None]) -> tuple[int, int]:
    known = [each for each in differs if each is not None]
    return sum(known), len(known)


def _try(engine: Engine, prompts: Prompts, number: int, length: int) -> dict[str, bool | None]:
    """For each case whether the warm answer differs; None where nothing was found to be warm from."""
    system = prompts.prefix(SHARED_TOKENS, f"numerics {number}")
    trial = Trial(engine, prompts, prompts.ask(system, PROMPT_TOKENS, number), number, length)
    alone = engine.ask(Request(trial.chat.messages, length, is_cold=True))
    found = {}
    for name, ask in CASES.items():
        messages, warm = ask(trial)
        is_same_chat = messages is trial.chat.messages
        cold = alone if is_same_chat else engine.ask(Request(messages, length, is_cold=True))
        found[name] = (warm.text != cold.text) if warm.cached_tokens else None
    return found


def _again(trial: Trial) -> tuple[Messages, Answer]:
    trial.warm(trial.chat.messages, "again")
    return trial.chat.messages, trial.warm(trial.chat.messages, "again")


def _shared(trial: Trial) -> tuple[Messages, Answer]:
    other = trial.prompts.ask(trial.chat.messages[0]["content"], PROMPT_TOKENS + 40, f"other {trial.number}")
    trial.warm(other.messages, "shared", 1)
    return trial.chat.messages, trial.warm(trial.chat.messages, "shared")


def _after(trial: Trial) -> tuple[Messages, Answer]:
    first = trial.warm(trial.chat.messages, "after", 48)
    history = [*trial.chat.messages, {"role": "assistant", "content": first.text}]
    size = len(trial.prompts.encode(history)) + 24
    messages = trial.prompts.extend(history, size, f"after {trial.number}").messages
    return messages, trial.warm(messages, "after")


def _among(trial: Trial) -> tuple[Messages, Answer]:
    trial.warm(trial.chat.messages, "among")
    others = [trial.prompts.plain(64 + 11 * mate, f"mate {mate}").messages for mate in range(MATES)]
    asks = [Request(trial.chat.messages, trial.length, salt=f"among {trial.number}")]
    asks += [Request(other, 2 * trial.length, is_cold=True) for other in others]
    return trial.chat.messages, trial.engine.together(asks)[0]


CASES: dict[str, Callable[[Trial], tuple[Messages, Answer]]] = {
    "again": _again,
    "shared beginning": _shared,
    "after an answer": _after,
    f"among {MATES} others": _among,
}


def _price(scale: Scale) -> list[Row]:
    """First tokens and decoding in `exact`, beside `fast`."""
    path = checkpoint_of(SMOLLM2_135M)
    prompts = Prompts(path)
    found: dict[bool, list[float]] = {}
    for exact in (False, True):
        with serving(path, dtype="bfloat16", exact=exact, max_running=8) as engine:
            found[exact] = [
                *_firsts(engine, prompts, 3 if scale.large else 1),
                _step_ms(engine, prompts, scale.of(16, 8)),
            ]
    names = (
        f"first token, {PREFIX_TOKENS} + {NEW_TOKENS}, cold",
        f"first token, {PREFIX_TOKENS} + {NEW_TOKENS}, from RAM",
        "a decode step at batch 8",
    )
    triples = zip(names, found[True], found[False], strict=True)
    return [Row("numerics", f"price of exact: {what}", ms, "ms", beside, "fast") for what, ms, beside in triples]


def _firsts(engine: Engine, prompts: Prompts, rounds: int) -> tuple[float, float]:
    engine.ask(Request(prompts.plain(NEW_TOKENS, "warm up").messages, is_cold=True))
    cold, warm = [], []
    system = prompts.prefix(PREFIX_TOKENS, "price")
    for number in range(rounds):
        chats = [prompts.ask(system, PREFIX_TOKENS + NEW_TOKENS, f"{number} {each}") for each in range(4)]
        first, *others = [engine.ask(Request(chat.messages, salt=f"price {number}")) for chat in chats]
        assert all(other.cached_tokens >= PREFIX_TOKENS - CHUNK_TOKENS for other in others), others
        cold.append(first.first_ms)
        warm += [other.first_ms for other in others]
    return median(cold), median(warm)


def _step_ms(engine: Engine, prompts: Prompts, steps: int) -> float:
    chats = [prompts.plain(64, f"step {row}").messages for row in range(8)]
    short, long = ([Request(chat, length, is_cold=True) for chat in chats] for length in (4, 4 + steps))
    engine.seconds(short)
    return (engine.seconds(long) - engine.seconds(short)) / steps * 1000
