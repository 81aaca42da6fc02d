"""One life of the engine process: its start, what is said both ways, its silence and its end."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from backends.local.wire import Event, FrameDecoder, Message, Ping, encode

ROOT = Path(__file__).parents[2]  # from where `backends` is importable
READ_BYTES = 1 << 16
GRACE_S = 5.0  # to finish a step and what is owed to the disk
CLEAN_END = "ended with status 0"


class EngineDied(Exception):
    """The engine process ended while a request was in flight; `has_begun`: tokens of its answer were told."""

    def __init__(self, reason: str, *, has_begun: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.has_begun = has_begun


class Hung(Exception):
    """The process is there and says nothing."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How long the process may say nothing: with a Ping after a while, or without."""

    most_s: float
    ping_after_s: float | None


@dataclass(slots=True)
class Child:
    """A running process, and who waits for what it says."""

    process: asyncio.subprocess.Process
    queues: "dict[int, asyncio.Queue[Event | EngineDied]]" = field(default_factory=dict)
    silent_since_s: float | None = None  # while a Ping is under way

    @classmethod
    async def start(cls) -> "Child":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "backends.local.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        return cls(process)

    def send(self, message: Message) -> None:
        """Hand a message over without waiting; a dead process takes it as well as a living one."""
        assert self.process.stdin is not None
        if not self.process.stdin.is_closing():
            self.process.stdin.write(encode([message]))

    async def said(self, silence: Callable[[], Silence]) -> AsyncGenerator[Message, None]:
        """What the process says, until it ends. Raises `Hung` when it says nothing for too long."""
        assert self.process.stdout is not None
        frames = FrameDecoder()
        is_asked = False  # a Ping is under way
        while True:
            most = silence()
            wait_s = most.most_s if is_asked or most.ping_after_s is None else most.ping_after_s
            try:
                async with asyncio.timeout(wait_s):
                    chunk = await self.process.stdout.read(READ_BYTES)
            except TimeoutError:
                if is_asked or most.ping_after_s is None:
                    raise Hung(f"gave no sign of life for {most.most_s:g} s and was ended") from None
                is_asked = True
                self.silent_since_s = time.monotonic() - wait_s
                self.send(Ping())
                continue
            self.silent_since_s = None
            if not chunk:
                return
            is_asked = False
            for message in frames.feed(chunk):
                yield message

    def tell(self, event: Event) -> None:
        """Pass an event to who waits for it; nobody does when the request was aborted after the event had left."""
        queue = self.queues.get(event.request)
        if queue is not None:
            queue.put_nowait(event)

    def bury(self, reason: str) -> None:
        """Tell everybody who waits that the process is gone."""
        for queue in self.queues.values():
            queue.put_nowait(EngineDied(reason))

    async def end(self) -> str:
        """Close the input, which ends a healthy process; kill one that does not listen. What became of it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(GRACE_S):
                return _cause(await self.process.wait())
        except TimeoutError:
            self.process.kill()
            return _cause(await self.process.wait())


def _cause(code: int) -> str:
    """What became of a process, in words that go after its name."""
    if code == -signal.SIGKILL:
        return "was killed (perhaps for want of memory)"
    if code < 0:
        return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"ended with status {code}"
