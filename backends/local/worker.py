"""The engine process: `python -m backends.local.worker`, spoken to over its standard input and output.

One thread: read what has arrived, make one step, write what happened. When the parent is gone, the input ends and so
does the process. Standard output is taken for frames before anything else is imported; what a library prints goes to
standard error.
"""

import gc
import logging
import os
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from backends.local.decoder.config import CheckpointError
from backends.local.erasures import Erasures
from backends.local.memory import give_back_free_memory, held_bytes, is_out_of_memory, limit_memory
from backends.local.surveys import Surveys
from backends.local.telling import Telling
from backends.local.wire import (
    Abort,
    Clear,
    Erase,
    Event,
    Failed,
    FrameDecoder,
    Load,
    Loading,
    Message,
    Ready,
    Submit,
    Survey,
    Warm,
    encode,
)

if TYPE_CHECKING:
    from backends.local.engine.engine import Engine

READ_BYTES = 1 << 20
MIB = 1 << 20
CLOSE_S = 2.0  # to write what is owed to slower tiers; the parent waits longer
STATS_EVERY_S = 0.1  # while tokens come; whatever else happens is told with new figures
TIDY_AFTER_S = 1.0  # of rest, once after every burst
TIDY_EVERY_S = 60.0  # without any

log = logging.getLogger("backends.local.worker")


class ParentGone(Exception):
    """Nobody listens any more."""


@dataclass(frozen=True, slots=True)
class Pipe:
    """Messages over two file descriptors."""

    reads: int
    writes: int
    _frames: FrameDecoder = field(default_factory=FrameDecoder)

    @classmethod
    def of_standard_streams(cls) -> "Pipe":
        """Take over standard input and output; what else is printed goes to standard error."""
        pipe = cls(os.dup(0), os.dup(1))
        os.dup2(2, 1)
        return pipe

    def receive(self, wait_s: float | None = None) -> list[Message]:
        """The messages that have arrived; when none has, wait so long, or until one does. Raises `ParentGone`."""
        messages: list[Message] = []
        while select.select([self.reads], [], [], 0 if messages else wait_s)[0]:
            chunk = os.read(self.reads, READ_BYTES)
            if not chunk:
                raise ParentGone
            messages += self._frames.feed(chunk)
        return messages

    def send(self, *messages: Message) -> None:
        """Write one frame, all of it. Raises `ParentGone`."""
        frame = memoryview(encode(messages))
        try:
            while frame:
                frame = frame[os.write(self.writes, frame) :]
        except BrokenPipeError as exc:
            raise ParentGone from exc


def main() -> None:
    """Serve one parent until it goes."""
    for meant_for_the_parent in (signal.SIGINT, signal.SIGTERM):  # it closes our input when it has done with us
        signal.signal(meant_for_the_parent, signal.SIG_IGN)
    _log_as("engine")
    pipe = Pipe.of_standard_streams()
    try:
        load, *received = pipe.receive()
        assert isinstance(load, Load), f"the first message is {load}"
        _log_as(load.model or load.checkpoint)
        _serve(load, received, pipe)
    except ParentGone:
        return


def _log_as(model: str) -> None:
    """Write log lines as the gateway does, with the name of the model."""
    said = model.replace("%", "%%")
    line = f"%(asctime)s %(levelname)s %(name)s: {said}: %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=line, force=True)


def _serve(load: Load, received: list[Message], pipe: Pipe) -> None:
    # Read when torch is imported: threads that wait must not spin; and what is compiled for a product of every shape,
    # 0.55 MB each, is not kept by thousands. Two keep it: oneDNN, and torch above it, 1,024 for each kind of product.
    os.putenv("OMP_WAIT_POLICY", "PASSIVE")
    os.putenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    os.putenv("LRU_CACHE_CAPACITY", "32")  # a miss here that is a hit there costs 2 us
    pipe.send(Loading("importing torch"))
    gc.disable()  # what is imported stays: to look for garbage in it is a tenth of the import
    from backends.local.assembly import build_engine

    gc.freeze()
    gc.enable()
    held = held_bytes()
    try:
        limit_memory(load.memory_bytes)
        engine = build_engine(load, pipe.send)
    except (CheckpointError, MemoryError, RuntimeError) as exc:  # torch raises RuntimeError when memory is short
        is_too_little = load.memory_bytes and not isinstance(exc, CheckpointError)
        reason = f"{too_little(load, held)} ({exc})" if is_too_little else str(exc)
        log.error("cannot load %s: %s", load.checkpoint, reason)
        pipe.send(Failed(reason))
        return
    pipe.send(Ready(), engine.stats())
    try:
        _drive(engine, received, pipe)
    finally:
        engine.close(CLOSE_S)


def _drive(engine: "Engine", received: list[Message], pipe: Pipe) -> NoReturn:
    """Take what arrives, make a step, say what happened, for ever. Raises `ParentGone`."""
    figures_at = time.monotonic()
    telling = Telling()
    rests = _Rests(pipe)
    surveys, erasures = Surveys(engine), Erasures(engine)
    while True:
        for message in received:
            match message:
                case Submit():
                    telling.add(engine.submit(message))
                case Abort():
                    engine.abort(message)
                case Warm():
                    telling.add(engine.warm(message))
                case Clear():
                    engine.clear()
                case Erase():
                    erasures.add(message)
                case Survey():
                    surveys.add(message)
        has_worked = engine.pause_s is not None
        if has_worked:
            telling.add(careful_step(engine))
        is_at_rest = has_worked and engine.pause_s is None
        now = time.monotonic()
        has_figures = received or is_at_rest or telling.is_urgent or now - figures_at > STATS_EVERY_S
        due: list[Message] = [*telling.due(now, is_last=engine.pause_s != 0)]
        if has_figures:
            due.append(engine.stats())
            figures_at = now
        due += [*surveys.step(), *erasures.done(now)]
        if due:
            pipe.send(*due)
        received = rests.receive(0.0 if surveys.has_work else erasures.pause(engine.pause_s))


def too_little(load: Load, held: int) -> str:
    """What the limit would have to be, when loading has failed under it."""
    weights = sum(file.stat().st_size for file in Path(load.checkpoint).glob("*.safetensors"))
    parts = (held, weights, load.kv_budget_bytes, load.slab_budget_bytes + load.spare_budget_bytes)
    code, weights_mb, kv, slabs = (-(-size // MIB) for size in parts)
    return (
        f"engine.memory_mb is {load.memory_bytes // MIB} and should be about {code + weights_mb + kv + slabs}: "
        f"{code} for the program, {weights_mb} for the weights, {kv} for kept prefixes (engine.kv_mb), "
        f"{slabs} for running requests and the next turns of those before"
    )


class _Rests:
    """Waits for messages, and uses the wait to give free memory back; where there is none, it takes the time."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._is_tidy = False
        self._tidied_at = time.monotonic()

    def receive(self, pause_s: float | None) -> list[Message]:
        """The messages that have arrived; when none has, wait as long as `pause_s` says. Raises `ParentGone`."""
        if pause_s is not None:
            self._is_tidy = False
            if time.monotonic() - self._tidied_at > TIDY_EVERY_S:
                self._tidy()
            return self._pipe.receive(pause_s)
        if not self._is_tidy:
            if received := self._pipe.receive(TIDY_AFTER_S):
                return received
            self._tidy()
            self._is_tidy = True
        return self._pipe.receive()

    def _tidy(self) -> None:
        give_back_free_memory()
        self._tidied_at = time.monotonic()


def careful_step(engine: "Engine") -> list[Event]:
    """One step; when memory is short, the largest sequence gives way, and the process lives on."""
    try:
        return engine.step()
    except (MemoryError, RuntimeError) as exc:
        if not is_out_of_memory(exc):
            raise
        log.warning("memory is short: %s", exc)
        return engine.shed("the engine has not enough memory for this request and was rid of it")


if __name__ == "__main__":
    main()
