"""Following what engines say of their KV blocks, one task for each that is to be followed.

The router keys prompts by their text, so of all that is said it takes a restart or a flush, which make it forget what
the engine held, and how much room an engine had when it began to push prefixes out.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backends.routing.prompt import Prompt

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventSource:
    """Where an engine publishes its KV events, and where it repeats those that were missed."""

    endpoint: str
    replay: str = ""


@dataclass(frozen=True, slots=True)
class _Told:
    """The listener of prompts keyed by text."""

    reset: Callable[[str], None]
    room: Callable[[int], None]

    def held(self, replica: str, prompt: Prompt) -> None:
        """Nobody could tell whose text it was."""

    def lost(self, replica: str, prompt: Prompt, num_chunks: int) -> None:
        """Likewise."""


class Listening:
    """Belongs to one event loop. `forget` a replica's prefixes; learn an engine's `room` in tokens."""

    def __init__(self, forget: Callable[[str], None], room: Callable[[int], None]) -> None:
        self._told = _Told(forget, room)
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, sources: Mapping[str, EventSource]) -> None:
        """Follow these replicas, until closed."""
        for replica, source in sources.items():
            self._tasks.add(asyncio.create_task(self._follow(replica, source)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()

    async def _follow(self, replica: str, source: EventSource) -> None:
        try:
            from backends.routing.kv_blocks import EngineBlocks
            from backends.routing.kv_events import KVEvents  # an extra: who follows nobody needs no ZeroMQ
        except ImportError as error:
            log.warning("the KV events of %s are not followed: %s; install the extra kv-events", replica, error)
            return
        blocks = EngineBlocks(replica, self._told, by_tokens=False)
        try:
            await KVEvents(blocks, source.endpoint, replay=source.replay).follow()
        except Exception:  # the root of a task: routing goes on without
            log.exception("the KV events of %s are followed no more", replica)
