"""The engine process: `python -m backends.local.worker`, spoken to over its standard input and output.

One thread: read what has arrived, make one step, write what happened. When the parent is gone, the input ends and so
does the process. Standard output is taken for frames before anything else is imported; what a library prints goes to
standard error.
"""

import logging
import os
import select
import signal
import sys
from dataclasses import dataclass, field

from backends.local.config import CheckpointError
from backends.local.wire import Abort, Failed, FrameDecoder, Load, Message, Ready, Submit, encode

READ_BYTES = 1 << 20

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

    def receive(self, *, wait: bool) -> list[Message]:
        """The messages that have arrived; `wait` for some when there are none. Raises `ParentGone`."""
        messages: list[Message] = []
        while select.select([self.reads], [], [], None if wait and not messages else 0)[0]:
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes our input
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(message)s")
    pipe = Pipe.of_standard_streams()
    try:
        load, *received = pipe.receive(wait=True)
        assert isinstance(load, Load), f"the first message is {load}"
        _serve(load, received, pipe)
    except ParentGone:
        return


def _serve(load: Load, received: list[Message], pipe: Pipe) -> None:
    os.putenv("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported: threads that wait must not spin
    from backends.local.assembly import build_engine

    try:
        engine = build_engine(load)
    except (CheckpointError, MemoryError, RuntimeError) as exc:  # torch raises RuntimeError when memory is short
        log.error("cannot load %s: %s", load.checkpoint, exc)
        pipe.send(Failed(str(exc)))
        return
    pipe.send(Ready(), engine.stats())
    while True:
        happened: list[Message] = []
        for message in received:
            match message:
                case Submit():
                    happened += engine.submit(message)
                case Abort():
                    engine.abort(message)
        if engine.has_work:
            happened += engine.step()
        if happened or received:
            pipe.send(*happened, engine.stats())
        received = pipe.receive(wait=not engine.has_work)


if __name__ == "__main__":
    main()
