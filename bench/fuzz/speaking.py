"""A model that says something else every time, in all the forms an answer has: so that a wrong copy is seen."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from backends.base import Health, Model
from backends.chat import EMBEDDINGS, ChatRequest, Delta, Usage
from bench.fuzz.mutate import TEXTS

MODELS = ("m1", "m2")
_CALL: dict[str, Any] = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"a": 1}'},
}


class SpeakingBackend:
    """Never says the same twice."""

    name = "speaking"

    def __init__(self) -> None:
        self.calls = 0

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def models(self) -> Sequence[Model]:
        return [Model(name, "1") for name in MODELS]

    async def health(self) -> Health:
        return Health(True)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        self.calls += 1
        rng = random.Random(self.calls)
        if request.purpose == EMBEDDINGS:
            yield Delta(fields={EMBEDDINGS: [[rng.random(), 0.5] for _ in request.params["input"]]})
            yield Delta(finish_reason="stop")
            yield Delta(usage=Usage(3, 0))
            return
        n = request.params.get("n") or 1
        for index in range(n):
            yield Delta(fields={"role": "assistant", "content": ""}, index=index)
            if rng.random() < 0.2:
                yield Delta(fields={"reasoning_content": f"I think {self.calls}"}, index=index)
            for word in (f"answer {self.calls} {index} ", rng.choice(TEXTS), " \u4f60\u597d"):
                await asyncio.sleep(0)
                yield Delta(fields={"content": word}, index=index)
            if request.params.get("tools") and rng.random() < 0.7:
                yield Delta(fields={"tool_calls": [_CALL]}, index=index)
                yield Delta(finish_reason="tool_calls", index=index)
            else:
                yield Delta(finish_reason=rng.choice(("stop", "stop", "stop", "length")), index=index)
        yield Delta(usage=Usage(7, 5))
