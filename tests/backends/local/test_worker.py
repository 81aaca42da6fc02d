"""The engine process lives as long as somebody listens."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.local.process import ROOT
from backends.local.wire import Failed, FrameDecoder, Loading, Message, Ready, Stats, Token, encode
from tests.backends.local.engines import ask, load, tokens

Checkpoints = Callable[[str], Path]


class Worker:
    """A worker and the two ends of its pipes."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "backends.local.worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, bufsize=0
        )
        self._frames = FrameDecoder()

    def send(self, *messages: Message) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(encode(messages))

    def messages(self) -> Iterator[Message]:
        """What it says, to its end."""
        assert self.process.stdout is not None
        while chunk := self.process.stdout.read(1 << 16):
            yield from self._frames.feed(chunk)

    def hang_up(self) -> None:
        """What the kernel does when the parent is killed."""
        assert self.process.stdin is not None
        self.process.stdin.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    with worker.process:  # closes the pipes and waits
        yield worker
        worker.process.kill()


def test_it_dies_with_its_parent_in_the_middle_of_an_answer(worker: Worker, checkpoints: Checkpoints) -> None:
    worker.send(load(checkpoints("llama")), ask(tokens(1, 50), max_tokens=900, ignore_eos=True))
    assert any(isinstance(message, Token) for message in worker.messages())

    worker.hang_up()

    assert worker.process.wait(timeout=30) == 0
    assert sum(isinstance(message, Token) for message in worker.messages()) < 900


def test_it_says_that_it_is_ready_and_what_it_has(worker: Worker, checkpoints: Checkpoints) -> None:
    worker.send(load(checkpoints("llama")))
    said = (message for message in worker.messages() if not isinstance(message, Loading))

    assert next(said) == Ready()
    stats = next(said)

    assert isinstance(stats, Stats)
    assert stats.kv["blocks_total"] == stats.kv["blocks_free"] > 0


def test_it_says_why_it_cannot_load(worker: Worker, checkpoints: Checkpoints) -> None:
    worker.send(load(checkpoints("llama"), checkpoint="/no/such/checkpoint"))

    said = [message for message in worker.messages() if not isinstance(message, Loading)]
    assert said == [Failed("/no/such/checkpoint has no config.json")]
