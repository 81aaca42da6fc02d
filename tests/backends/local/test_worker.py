"""The engine process lives as long as somebody listens."""

import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from backends.local.assembly import build_engine
from backends.local.child import ROOT
from backends.local.wire import Failed, FrameDecoder, Loading, Message, Ready, Stats, Token, Tokens, Warm, encode
from backends.local.worker import too_little
from tests.backends.local.engines import ask, load, run, tokens

Checkpoints = Callable[[str], Path]


def tokens_in(message: Message) -> int:
    """How many tokens a message tells of."""
    return len(message.token_ids) if isinstance(message, Tokens) else int(isinstance(message, Token))


class Worker:
    """A worker and the two ends of its pipes."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "backends.local.worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, bufsize=0
        )
        self._frames = FrameDecoder()
        self._heard: deque[Message] = deque()  # and not asked for yet: frames come several at a time

    def send(self, *messages: Message) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(encode(messages))

    def messages(self) -> Iterator[Message]:
        """What it says, to its end."""
        assert self.process.stdout is not None
        while True:
            while self._heard:
                yield self._heard.popleft()
            chunk = self.process.stdout.read(1 << 16)
            if not chunk:
                return
            self._heard.extend(self._frames.feed(chunk))

    def until_told(self, num_tokens: int) -> Iterator[Message]:
        """What it says up to the message that makes so many tokens."""
        for message in self.messages():
            yield message
            num_tokens -= tokens_in(message)
            if num_tokens <= 0:
                return

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
    assert any(map(tokens_in, worker.messages()))

    worker.hang_up()

    assert worker.process.wait(timeout=30) == 0
    assert sum(map(tokens_in, worker.messages())) < 900


def test_a_signal_meant_for_the_whole_group_is_left_to_the_parent(worker: Worker, checkpoints: Checkpoints) -> None:
    worker.send(load(checkpoints("llama")), ask(tokens(1, 50), max_tokens=100, ignore_eos=True))
    assert any(map(tokens_in, worker.messages()))

    worker.process.send_signal(signal.SIGTERM)

    assert sum(map(tokens_in, worker.until_told(60))) >= 60
    worker.hang_up()
    assert worker.process.wait(timeout=30) == 0


def test_it_says_what_it_has_when_it_is_ready_and_at_the_end_of_an_answer_and_not_with_every_token(
    worker: Worker, checkpoints: Checkpoints
) -> None:
    worker.send(load(checkpoints("llama")))
    said = (message for message in worker.messages() if not isinstance(message, Loading))
    assert next(said) == Ready()
    first = next(said)
    worker.send(ask(tokens(1, 50), max_tokens=400, ignore_eos=True))
    answered = list(worker.until_told(400))
    last = next(worker.messages())

    assert isinstance(first, Stats)
    assert first.kv["blocks_total"] == first.kv["blocks_free"] > 0
    assert sum(isinstance(message, Stats) for message in answered) < 200
    assert isinstance(last, Stats)
    assert (last.running, last.decode_tokens) == (0, 400)


def test_it_says_why_it_cannot_load_and_logs_it_with_a_time_a_level_and_the_name_of_the_model(
    worker: Worker, checkpoints: Checkpoints
) -> None:
    worker.send(load(checkpoints("llama"), checkpoint="/no/such/checkpoint", model="100%"))
    said = [message for message in worker.messages() if not isinstance(message, Loading)]
    assert worker.process.stderr is not None
    line = worker.process.stderr.readline().decode()

    assert said == [Failed("/no/such/checkpoint has no config.json")]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ERROR backends\.local\.worker: 100%: cannot load", line)


def test_too_small_a_limit_of_memory_is_named_with_what_it_should_be(worker: Worker, checkpoints: Checkpoints) -> None:
    worker.send(load(checkpoints("llama"), memory_bytes=10 << 20))

    failed = [message for message in worker.messages() if isinstance(message, Failed)]

    assert re.match(r"engine\.memory_mb is 10 and should be about \d{3,}: \d+ for the program, ", failed[0].reason)


def test_what_it_owes_to_the_disk_is_written_when_its_parent_goes(
    worker: Worker, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    asked = ask(tokens(1, 600), max_tokens=3, ignore_eos=True)
    start = load(checkpoints("llama"), kv_dir=str(tmp_path), kv_disk_bytes=64 << 20)
    worker.send(start, asked)
    assert sum(map(tokens_in, worker.until_told(3))) == 3
    worker.hang_up()
    assert worker.process.wait(timeout=30) == 0

    after = build_engine(start)

    assert run(after, asked).by_tier[1, 0] == {"disk": 599}
    after.close(0)


def test_it_sleeps_when_it_has_nothing_to_do(worker: Worker, checkpoints: Checkpoints, tmp_path: Path) -> None:
    start = load(checkpoints("llama"), kv_dir=str(tmp_path), kv_disk_bytes=64 << 20)
    worker.send(start, ask(tokens(1, 600), max_tokens=3, ignore_eos=True), Warm(2, tokens(2, 300)))
    next(message for message in worker.messages() if isinstance(message, Stats) and message.idle_tasks == 1)
    process = psutil.Process(worker.process.pid)
    time.sleep(0.5)

    before = process.num_ctx_switches().voluntary, sum(process.cpu_times()[:2])
    time.sleep(0.5)
    after = process.num_ctx_switches().voluntary, sum(process.cpu_times()[:2])

    assert after[0] - before[0] < 50  # it is not woken over and over
    assert after[1] - before[1] < 0.1


def test_the_limit_it_suggests_has_room_for_what_waits_for_the_next_turn(checkpoints: Checkpoints) -> None:
    mib = 1 << 20
    message = load(checkpoints("llama"), memory_bytes=10 * mib, kv_budget_bytes=30 * mib, slab_budget_bytes=200 * mib)

    reason = too_little(message, 50 * mib)

    assert message.spare_budget_bytes == 64 * mib
    assert "264 for running requests" in reason
    suggested = re.search(r"should be about (\d+)", reason)
    assert suggested is not None
    assert int(suggested[1]) >= 50 + 30 + 200 + 64
