"""The gateway's side of the engine process: start it, watch it, restart it when it dies, carry requests over and events
back.

One task reads everything the engine says and puts each event into the queue of its request; nothing here blocks the
event loop. Whatever the process says is a sign of life; one that stays silent too long is ended like one that died.
When it dies, a request that has no token yet is put to the next process, once; every other one learns it at once.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from backends.errors import BackendNotReady, BackendUnavailable
from backends.local.child import CLEAN_END, Child, EngineDied, Hung, Silence
from backends.local.wire import (
    Abort,
    Admitted,
    Clear,
    Erase,
    Erased,
    Event,
    Failed,
    Load,
    Loading,
    Message,
    Ping,
    Ready,
    Stats,
    Submit,
    Survey,
    Surveyed,
    Token,
    Tokens,
    Warm,
)

BACK_OFF_S = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0)
LONG_LIFE_S = 60.0  # a process that lived so long is restarted at once
RETRY_AFTER_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long others wait for the engine, in seconds."""

    ready_wait_s: float = 30.0  # a request, for an engine that is loading
    load_s: float = 300.0  # between two signs of progress while it loads
    hang_s: float = 60.0  # for one step


class EngineProcess:
    """An engine process that is there again when it dies. Owned by one event loop."""

    def __init__(self, load: Load, patience: Patience) -> None:
        self.stats = Stats()
        self.restarts = 0
        self.hangs = 0  # processes ended because they were silent
        self.retries = 0  # requests put to a second process
        self.is_ready = False
        self.detail = "the engine is starting"  # why it is not ready
        self.loading: Loading | None = None  # how far it is
        self._load = load
        self._patience = patience
        self._settled = asyncio.Event()  # ready, or failed to load
        self._child: Child | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._suspects = asyncio.Lock()  # held by one retried request until its first token
        self._in_flight = 0
        self._is_leaving = False

    @property
    def pid(self) -> int | None:
        return self._child.process.pid if self._child is not None else None

    @property
    def silent_s(self) -> float:
        """For how long a loaded process has said nothing, to a Ping either; 0 while it may just be at work."""
        since_s = self._child.silent_since_s if self.is_ready and self._child is not None else None
        silent_s = 0.0 if since_s is None else time.monotonic() - since_s
        return silent_s if silent_s > self._patience.hang_s / 2 else 0.0

    def open(self) -> None:
        """Start the process; it loads while others go on."""
        self._supervisor = asyncio.create_task(self._supervise())

    async def close(self) -> None:
        """End the process and wait for it."""
        self._is_leaving = True
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])  # also when somebody else is closing it already
        self._settled.set()

    async def drain(self, within_s: float) -> bool:
        """Take no new request, and wait for those in flight; returns whether all have ended."""
        self._is_leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._in_flight:  # noqa: ASYNC110 - the rare unloading is not worth an event at every request
                    await asyncio.sleep(0.02)
        return not self._in_flight

    async def events(self, submit: Submit) -> AsyncGenerator[Event, None]:
        """Submit a request; its events up to the last token of every choice. Closing the generator aborts the request.

        Admissions are told with the first token: until then the request may be put to another process. Raises
        `BackendUnavailable` when no engine gets ready, `EngineDied` when it dies on the way, twice before a token.
        """
        self._in_flight += 1
        try:
            try:
                async with aclosing(self._held(submit)) as events:
                    async for event in events:
                        yield event
                return
            except EngineDied as death:
                if death.has_begun or self._is_leaving:
                    raise
            self.retries += 1
            async with aclosing(self._held(submit)) as events:
                async with self._suspects:  # one at a time: who kills the engine again takes no innocent with it
                    first = await anext(events)
                yield first
                async for event in events:
                    yield event
        finally:
            self._in_flight -= 1

    def has_more(self, request: int) -> bool:
        """Whether the next event of a request is here already."""
        queue = self._child.queues.get(request) if self._child is not None else None
        return queue is not None and not queue.empty()

    def abort(self, request: int, index: int) -> None:
        """End one choice at a stop string."""
        if self._child is not None:
            self._child.send(Abort(request, index, keep_tail=True))

    def clear(self) -> None:
        """Forget every kept prefix. Raises `BackendNotReady`."""
        if self._child is None or not self.is_ready:
            raise BackendNotReady(self.detail, retry_after_s=RETRY_AFTER_S)
        self._child.send(Clear())

    def send(self, message: Warm) -> None:
        """Say something that nobody waits for; a process that is not ready does not hear it."""
        if self._child is not None and self.is_ready:
            self._child.send(message)

    async def warm(self, warm: Warm) -> Event:
        """Have a prompt computed and kept; the one event that answers it. Raises as `events` does."""
        return await self._one_answer(await self._ready_child(), warm)

    async def survey(self, survey: Survey) -> Surveyed:
        """Which prefixes are shared most. Raises `BackendNotReady` at once, and `EngineDied`."""
        if self._child is None or not self.is_ready:
            raise BackendNotReady(self.detail, retry_after_s=RETRY_AFTER_S)
        event = await self._one_answer(self._child, survey)
        assert isinstance(event, Surveyed), event
        return event

    async def erase(self, erase: Erase) -> Erased:
        """Forget what is kept for one owner. Raises `BackendNotReady` at once, and `EngineDied`."""
        if self._child is None or not self.is_ready:
            raise BackendNotReady(self.detail, retry_after_s=RETRY_AFTER_S)
        event = await self._one_answer(self._child, erase)
        assert isinstance(event, Erased), event
        return event

    async def _one_answer(self, child: Child, asked: Warm | Survey | Erase) -> Event:
        """Say something that one event answers. Raises `EngineDied`."""
        queue = child.queues[asked.request] = asyncio.Queue()
        event: Event | EngineDied | None = None
        try:
            child.send(asked)
            event = await queue.get()
        finally:
            del child.queues[asked.request]
            if event is None:  # who asked has gone
                child.send(Abort(asked.request))
        if isinstance(event, EngineDied):
            raise event
        return event

    async def _held(self, submit: Submit) -> AsyncGenerator[Event, None]:
        """The events of one process, admissions held back until a token follows; without one they are nothing."""
        held: list[Event] = []
        has_begun = False
        try:
            async with aclosing(self._events(submit)) as events:
                async for event in events:
                    if not has_begun and isinstance(event, Admitted):
                        held.append(event)
                        continue
                    has_begun = True
                    for admission in held if isinstance(event, Token | Tokens) else ():
                        yield admission
                    held.clear()
                    yield event
        except EngineDied as death:
            raise EngineDied(death.reason, has_begun=has_begun) from death

    async def _events(self, submit: Submit) -> AsyncGenerator[Event, None]:
        child = await self._ready_child()
        queue = child.queues[submit.request] = asyncio.Queue()
        child.send(submit)
        open_choices = submit.n
        try:
            while open_choices:
                event = await queue.get()
                if isinstance(event, EngineDied):
                    raise event
                open_choices -= isinstance(event, Token) and event.finish_reason is not None
                yield event
        finally:
            del child.queues[submit.request]
            if open_choices:
                child.send(Abort(submit.request))

    async def _ready_child(self) -> Child:
        """The process, once it has loaded; one that has failed to is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience.ready_wait_s):
                await self._settled.wait()
        if self._is_leaving:
            raise BackendNotReady("the model is being unloaded")
        if self.is_ready and self._child is not None:
            return self._child
        if self._settled.is_set():
            raise BackendUnavailable(self.detail, retry_after_s=RETRY_AFTER_S)
        raise BackendNotReady(self.detail, retry_after_s=RETRY_AFTER_S)

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
        child = self._child = await Child.start()
        self._settled.clear()
        self._take(Loading("starting"), child)
        reason = ""
        try:
            child.send(self._load)
            async with aclosing(child.said(self._silence)) as messages:
                async for message in messages:
                    self._take(message, child)
        except Hung as hung:
            self.hangs += 1
            reason = str(hung)
            child.process.kill()  # also ends one that is stopped
        finally:
            was_ready, self.is_ready = self.is_ready, False
            if was_ready:
                self._settled.clear()  # before anything is awaited: who comes now waits for the next process
            cause = await child.end()
            reason = reason or cause
            is_sudden = was_ready and reason != CLEAN_END
            log.log(logging.WARNING if is_sudden else logging.INFO, "engine process %s %s", child.process.pid, reason)
            self._bury(child, reason, was_ready)

    def _silence(self) -> Silence:
        patience = self._patience
        return Silence(patience.hang_s, patience.hang_s / 4) if self.is_ready else Silence(patience.load_s, None)

    def _bury(self, child: Child, reason: str, was_ready: bool) -> None:
        """Forget the process, and tell everybody why."""
        self._child = None
        self.stats = Stats()
        self.loading = None
        if was_ready:
            self.detail = f"the engine process {reason} and is being restarted"
        elif not self._settled.is_set():
            self._settled.set()
            limit = f"; engine.memory_mb is {self._load.memory_bytes >> 20}" if self._load.memory_bytes else ""
            self.detail = f"the engine process {reason} while it was loading and is being restarted{limit}"
        child.bury(reason)

    def _take(self, message: Message, child: Child) -> None:
        match message:
            case Stats():
                self.stats = message
            case Loading():
                is_news = self.loading is None or self.loading.stage != message.stage
                self.loading, self.detail = message, _progress(message)
                log.log(
                    logging.INFO if is_news else logging.DEBUG, "engine process %s %s", child.process.pid, self.detail
                )
            case Ready():
                log.info("engine process %s is ready", child.process.pid)
                self.is_ready, self.detail, self.loading = True, "", None
                self._settled.set()
            case Failed():
                self.detail = f"the engine cannot load the model: {message.reason}"
                self._settled.set()
            case Load() | Submit() | Abort() | Warm() | Clear() | Erase() | Survey() | Ping():
                raise RuntimeError(f"the engine process sent {type(message).__name__}")
            case event:
                child.tell(event)


def _progress(loading: Loading) -> str:
    share = f" ({loading.done} of {loading.total})" if loading.total else ""
    return f"loading: {loading.stage}{share}"
