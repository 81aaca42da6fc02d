"""A shared answer as slow as the generation that it saves, so nobody sees from the time who has asked it before.

    due    0 .... first piece ................................. last piece
           |  as long as lately |   the rest, evenly          |  what the generation took, give or take a little

How much of a generation goes by before its first word is told by the last ones of that model. Whoever waits holds no
slot of an engine, and no longer than `MOST_S`.
"""

import asyncio
import random
import re
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from backends.chat import Completion, Delta, replay

MOST_S = 60.0
JITTER = 0.1  # of the whole: no two generations take the same
FIRST_SHARE = 0.2  # of a generation's time, while nothing is known of its model
MOST_MODELS = 100
MOST_SHARES = 64  # of one model, the last
MOST_PIECES = 4096
_PIECE = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+")


class Paces:
    """How generations of each model have come lately. Belongs to one event loop."""

    def __init__(self, seed: int | None = None) -> None:
        self._shares: OrderedDict[str, deque[float]] = OrderedDict()
        self._random = random.Random(seed)  # noqa: S311 - guards no secret

    async def watched(self, model: str, deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
        """The same deltas; of a generation that ends by itself it is noted when its first word came."""
        started, first_s = time.perf_counter(), None
        async with aclosing(deltas):
            async for delta in deltas:
                if first_s is None and _says_something(delta):
                    first_s = time.perf_counter() - started
                yield delta
        if first_s is not None:
            self.note(model, first_s, time.perf_counter() - started)

    def note(self, model: str, first_s: float, total_s: float) -> None:
        shares = self._shares.setdefault(model, deque(maxlen=MOST_SHARES))
        shares.append(min(1.0, first_s / total_s) if total_s > 0 else FIRST_SHARE)
        self._shares.move_to_end(model)
        if len(self._shares) > MOST_MODELS:
            self._shares.popitem(last=False)

    def due(self, model: str, elapsed_s: float, num_pieces: int) -> list[float]:
        """Seconds from the start at which each piece is told."""
        total_s = min(MOST_S, elapsed_s * self._random.uniform(1 - JITTER, 1 + JITTER))
        known = self._shares.get(model)
        first_s = total_s * (self._random.choice(known) if known else FIRST_SHARE)
        if num_pieces < 2:
            return [total_s] * num_pieces
        step_s = (total_s - first_s) / (num_pieces - 1)
        return [first_s + number * step_s for number in range(num_pieces)]


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
