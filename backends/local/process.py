"""The gateway's side of the engine process: start it, restart it when it dies, carry requests over and events back.

One task reads everything the engine says and puts each event into the queue of its request; nothing here blocks the
event loop. When the process dies, every request in flight learns it at once.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

from backends.errors import BackendUnavailable
from backends.local.wire import Abort, Event, Failed, FrameDecoder, Load, Message, Ready, Stats, Submit, Token, encode

ROOT = Path(__file__).parents[2]  # from where `backends` is importable
READ_BYTES = 1 << 16
BACK_OFF_S = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0)
LONG_LIFE_S = 60.0  # a process that lived so long is restarted at once
GRACE_S = 1.0

log = logging.getLogger(__name__)


class EngineDied(Exception):
    """The engine process ended while a request was in flight."""


@dataclass(slots=True)
class _Child:
    """One life of the engine process."""

    process: asyncio.subprocess.Process
    queues: "dict[int, asyncio.Queue[Event | None]]" = field(default_factory=dict)  # None: it died

    def send(self, message: Message) -> None:
        """Hand a message over without waiting; a dead process takes it as well as a living one."""
        assert self.process.stdin is not None
        if not self.process.stdin.is_closing():
            self.process.stdin.write(encode([message]))


class EngineProcess:
    """An engine process that is there again when it dies. Owned by one event loop."""

    def __init__(self, load: Load, *, ready_wait_s: float) -> None:
        self.stats = Stats()
        self.restarts = 0
        self.is_ready = False
        self.detail = "the engine is loading"  # why it is not ready
        self._load = load
        self._ready_wait_s = ready_wait_s
        self._settled = asyncio.Event()  # ready, or failed to load
        self._child: _Child | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._child.process.pid if self._child is not None else None

    def open(self) -> None:
        """Start the process; it loads while others go on."""
        self._supervisor = asyncio.create_task(self._supervise())

    async def close(self) -> None:
        """End the process and wait for it."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None

    async def events(self, submit: Submit) -> AsyncGenerator[Event, None]:
        """Submit a request; its events up to the last token of every choice. Closing the generator aborts the request.

        Raises `BackendUnavailable` when no engine gets ready, `EngineDied` when it dies on the way.
        """
        child = await self._ready_child()
        queue = child.queues[submit.request] = asyncio.Queue()
        child.send(submit)
        open_choices = submit.n
        try:
            while open_choices:
                event = await queue.get()
                if event is None:
                    raise EngineDied
                open_choices -= isinstance(event, Token) and event.finish_reason is not None
                yield event
        finally:
            del child.queues[submit.request]
            if open_choices:
                child.send(Abort(submit.request))

    def abort(self, request: int, index: int) -> None:
        """Stop one choice of a request that goes on."""
        if self._child is not None:
            self._child.send(Abort(request, index))

    async def _ready_child(self) -> _Child:
        """The process, once it has loaded; one that has failed to is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._ready_wait_s):
                await self._settled.wait()
        if not self.is_ready or self._child is None:
            raise BackendUnavailable(self.detail, retry_after_s=5.0)
        return self._child

    async def _supervise(self) -> None:
        deaths = 0
        clock = asyncio.get_running_loop().time
        while True:
            born = clock()
            try:
                await self._live()
            except Exception:  # the root of this task: whatever it was, the engine must come back
                log.exception("the engine process cannot be run")
                self.detail = "the engine process cannot be run"
            deaths = 0 if clock() - born > LONG_LIFE_S else deaths + 1
            await asyncio.sleep(BACK_OFF_S[min(deaths, len(BACK_OFF_S)) - 1] if deaths else 0)
            self.restarts += 1

    async def _live(self) -> None:
        """One life of the process, from its start to its end."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "backends.local.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        child = self._child = _Child(process)
        self._settled.clear()
        try:
            child.send(self._load)
            await self._listen(child)
        finally:
            if self.is_ready:
                self._settled.clear()
                self.detail = "the engine process died and is being restarted"
            elif not self._settled.is_set():
                self._settled.set()
                self.detail = "the engine process died while it was loading and is being restarted"
            self.is_ready = False
            self._child = None
            self.stats = Stats()
            for queue in child.queues.values():
                queue.put_nowait(None)
            code = await _end(process)
            log.log(logging.INFO if code == 0 else logging.WARNING, "engine process %s ended: %s", process.pid, code)

    async def _listen(self, child: _Child) -> None:
        assert child.process.stdout is not None
        frames = FrameDecoder()
        while chunk := await child.process.stdout.read(READ_BYTES):
            for message in frames.feed(chunk):
                self._take(message, child)

    def _take(self, message: Message, child: _Child) -> None:
        match message:
            case Stats():
                self.stats = message
            case Ready():
                self.is_ready, self.detail = True, ""
                self._settled.set()
            case Failed():
                self.detail = f"the engine cannot load the model: {message.reason}"
                self._settled.set()
            case Load() | Submit() | Abort():
                raise RuntimeError(f"the engine process sent {type(message).__name__}")
            case event:
                queue = child.queues.get(event.request)
                if queue is not None:  # else it was aborted, and this event had already left
                    queue.put_nowait(event)


async def _end(process: asyncio.subprocess.Process) -> int:
    """Close the input, which ends a healthy process; kill one that does not listen."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(GRACE_S):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
