"""A shared answer as slow as the generation that it saves, so nobody sees from the time who has asked it before.

    due    0 .... first piece ................................. last piece
           |  as long as lately |   the rest, evenly, at the pace of the same generation

What a generation takes depends on who else is served now, so it is drawn from the last ones of the model, of about as
long a prompt; while these are few, it is what the answer itself took when it was made, give or take a little. Whoever
waits holds no slot of an engine, and no longer than `MOST_S`.
"""

import asyncio
import random
import re
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from backends.chat import Completion, Delta, Usage, replay

MOST_S = 60.0
JITTER = 0.1  # of what an answer took when it was made
FIRST_SHARE = 0.2  # of that, until the first word
MOST_MODELS = 100
MOST_OF_ONE = 32  # generations of one model, the last
ALIKE = 8  # of these, those whose prompts are nearest in length
MOST_PIECES = 4096
_PIECES = 4096
_PIECE = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+")


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one generation."""

    prompt_tokens: int
    first_s: float  # until its first word, from when it was asked for
    token_s: float  # for each token after it


class Paces:
    """How generations of each model have come lately. Belongs to one event loop."""

    def __init__(self, seed: int | None = None) -> None:
        self._lately: OrderedDict[str, deque[Pace]] = OrderedDict()
        self._random = random.Random(seed)  # noqa: S311 - guards no secret

    async def watched(
        self, model: str, deltas: AsyncGenerator[Delta, None], started: float
    ) -> AsyncGenerator[Delta, None]:
        """The same deltas; of a generation that ends by itself its pace is noted, from when it was asked for: looking
        for an answer takes its time, too, and a hit saves that as well."""
        first, usage, pieces = None, Usage(), 0
        async with aclosing(deltas):
            async for delta in deltas:
                usage = delta.usage or usage
                if _says_something(delta):
                    first, pieces = first or time.perf_counter(), pieces + 1
                yield delta
        if first is not None:
            tokens = max(1, (usage.completion_tokens or pieces) - 1)
            self.note(model, Pace(usage.prompt_tokens, first - started, (time.perf_counter() - first) / tokens))

    def note(self, model: str, pace: Pace) -> None:
        self._lately.setdefault(model, deque(maxlen=MOST_OF_ONE)).append(pace)
        self._lately.move_to_end(model)
        if len(self._lately) > MOST_MODELS:
            self._lately.popitem(last=False)

    def due(self, model: str, usage: Usage, elapsed_s: float, num_pieces: int) -> list[float]:
        """Seconds from the start at which each piece of an answer is told that took `elapsed_s` when it was made."""
        newest = reversed(self._lately.get(model, ()))  # of equals the newer are taken
        lately = sorted(newest, key=lambda one: abs(one.prompt_tokens - usage.prompt_tokens))
        if len(lately) >= ALIKE:
            pace = self._random.choice(lately[:ALIKE])
            first_s, rest_s = pace.first_s, pace.token_s * max(0, (usage.completion_tokens or num_pieces) - 1)
        else:
            total_s = elapsed_s * self._random.uniform(1 - JITTER, 1 + JITTER)
            first_s, rest_s = FIRST_SHARE * total_s, (1 - FIRST_SHARE) * total_s
        if (total_s := first_s + rest_s) > MOST_S:
            first_s, rest_s = first_s * MOST_S / total_s, rest_s * MOST_S / total_s
        step_s = rest_s / max(1, num_pieces - 1)
        return [first_s + number * step_s for number in range(num_pieces)]


def even(tokens_per_s: float, num_tokens: int, num_pieces: int) -> list[float]:
    """Seconds from the start at which each piece of an answer is told that is told at this pace."""
    step_s = min(MOST_S, (num_tokens or num_pieces) / tokens_per_s) / max(1, num_pieces - 1)
    return [number * step_s for number in range(num_pieces)]


async def padded(
    completion: Completion, due: Callable[[int], Sequence[float]], started: float
) -> AsyncGenerator[Delta, None]:
    """An answer word by word, each when it is due; `started` is of `perf_counter`."""
    pieces = list(pieces_of(completion))
    for delta, at_s in zip(pieces, due(len(pieces)), strict=True):
        wait_s = started + at_s - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        yield delta


def pieces_of(completion: Completion) -> Iterator[Delta]:
    """The deltas of an answer, its text word by word, and what it used at the end alone, as a model tells them."""
    for delta in replay(completion):
        texts = {name: text for name, text in delta.fields.items() if name != "role" and isinstance(text, str) and text}
        if len(texts) != 1 or delta.logprobs is not None:  # nothing that is told word by word
            yield replace(delta, usage=delta.usage if not delta.fields else None)
            continue
        ((name, text),) = texts.items()
        words = _PIECE.findall(text)
        size = -(-len(words) // MOST_PIECES)
        yield replace(delta, fields={**delta.fields, name: ""}, usage=None)
        for start in range(0, len(words), size):
            yield Delta(delta.index, {name: "".join(words[start : start + size])}, extra=delta.extra)


def _says_something(delta: Delta) -> bool:
    return any(value for name, value in delta.fields.items() if name != "role")
