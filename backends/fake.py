"""A backend that says what it is told to: for tests, demos, and trying the gateway without a model."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

from backends.base import Health, Model
from backends.chat import ChatRequest, Delta, Usage
from backends.errors import BackendError

# What a script is made of: a delta to say, seconds to pause, an event to wait for, an error to end with.
Step = Delta | float | asyncio.Event | BackendError
Script = Iterable[Step] | Callable[[ChatRequest], Iterable[Step]]


def say(text: str, *, finish_reason: str = "stop", prompt_tokens: int = 5) -> list[Delta]:
    """Deltas that spell `text` word by word, end, and tell their usage (a word is a token)."""
    words = [f" {word}" if number else word for number, word in enumerate(text.split(" "))]
    return [
        Delta(fields={"role": "assistant", "content": ""}),
        *(Delta(fields={"content": word}) for word in words),
        Delta(finish_reason=finish_reason),
        Delta(usage=Usage(prompt_tokens, len(words))),
    ]


def echo(request: ChatRequest) -> list[Delta]:
    """Deltas that repeat the text of the last message."""
    content = request.messages[-1].get("content") if request.messages else None
    return say(f"You said: {content}" if isinstance(content, str) else "You said something else than text.")


class ScriptedBackend:
    """Plays its script for every request, and counts."""

    def __init__(
        self,
        script: Script = echo,
        *,
        name: str = "scripted",
        model_names: Sequence[str] = ("scripted",),
        revision: str = "",
    ) -> None:
        self.name = name
        self.script = script
        self.requests: list[ChatRequest] = []
        self.active = 0  # streams begun and not ended
        self.cancelled = 0  # streams closed or cancelled before their end
        self.is_open = False
        self.health_now = Health(True)
        self._model_names = tuple(model_names)
        self._revision = revision or f"{name}-1"

    @property
    def calls(self) -> int:
        return len(self.requests)

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    def model(self, name: str) -> Model:
        """The model of this name; a script answers under any."""
        return Model(name, revision=self._revision, owned_by=self.name)

    async def models(self) -> Sequence[Model]:
        return [self.model(name) for name in self._model_names]

    async def health(self) -> Health:
        return self.health_now

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Play the script, one pass of the event loop per step."""
        self.requests.append(request)
        self.active += 1
        try:
            for step in self.script(request) if callable(self.script) else self.script:
                await _wait(step)
                if isinstance(step, BackendError):
                    raise step
                if isinstance(step, Delta):
                    yield step
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += 1
            raise
        finally:
            self.active -= 1


async def _wait(step: Step) -> None:
    if isinstance(step, asyncio.Event):
        await step.wait()
    else:
        await asyncio.sleep(step if isinstance(step, float | int) else 0)
