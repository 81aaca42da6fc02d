"""The most shared prefixes of an engine, told with the beginnings of their texts."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.errors import BackendUnavailable
from backends.local.child import EngineDied
from backends.local.process import EngineProcess
from backends.local.speech.tokenizer import ChatTokenizer
from backends.local.wire import Survey

FRESH_S = 1.0  # who asks again so soon is told the same
TEXT_CHARS = 240  # of a node
BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(eq=False)
class SharedPrefixes:
    """Asks one engine, one question at a time: however many look at a dashboard, it makes one survey a second."""

    engine: EngineProcess
    tokenizer: ChatTokenizer
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asked: tuple[float, int] = (float("-inf"), 0)  # when, and for how many nodes
    _told: dict[str, Any] = field(default_factory=dict)

    async def look(self, request: int, most_nodes: int) -> dict[str, Any]:
        """The report. Raises `BackendNotReady` and `BackendUnavailable`."""
        async with self._lock:
            at, asked = self._asked
            if asked != most_nodes or time.monotonic() - at > FRESH_S:
                try:
                    surveyed = await self.engine.survey(Survey(request, most_nodes))
                except EngineDied as death:
                    raise BackendUnavailable(f"the engine process {death.reason} meanwhile") from death
                self._told = await asyncio.to_thread(self._with_texts, surveyed.report)
                self._asked = (time.monotonic(), most_nodes)
            return self._told

    def forget(self) -> None:
        """What was told last is not so any more."""
        self._asked = (float("-inf"), 0)

    def _with_texts(self, report: Mapping[str, Any]) -> dict[str, Any]:
        return {**report, "nodes": [self._with_text(node) for node in report["nodes"]]}

    def _with_text(self, node: Mapping[str, Any]) -> dict[str, Any]:
        head: Sequence[int] = node["head"]
        told = {name: value for name, value in node.items() if name != "head"}
        text = self.tokenizer.decode_all(head).strip(BROKEN)  # a node may begin and end inside a character
        is_cut = len(text) > TEXT_CHARS or node["skipped"] + len(head) < node["tokens"]
        return {**told, "text": ("…" if node["skipped"] else "") + text[:TEXT_CHARS] + ("…" if is_cut else "")}
