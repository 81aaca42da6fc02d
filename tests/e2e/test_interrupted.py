"""Commands that are looked at, and commands that are cut off: real processes, on terminals and under signals."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx

from tests.e2e.server import Gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

QUESTIONS = [f"What is number {number}?" for number in range(6)]


@contextmanager
def started(*words: str, terminal: int | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A command; its error output may be a terminal. It minds an interruption also where the suite runs in the
    background of a shell, which has those ignored."""
    command = [sys.executable, "-m", "gateway", *words]
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    error = subprocess.PIPE if terminal is None else terminal
    interruptible = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=error, preexec_fn=interruptible
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Stalling:
    """Stands before a gateway and lets some bytes of its first answer through, then no more."""

    def __init__(self, gateway: Gateway, size: int) -> None:
        self._address = httpx.URL(gateway.url)
        self._size = size
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.has_stalled = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        here, _ = self._listener.accept()
        with here, socket.create_connection((self._address.host, self._address.port)) as there:
            there.sendall(here.recv(65_536))
            passed = b""
            while len(passed) < self._size:
                passed += there.recv(65_536)
            here.sendall(passed[: self._size])
            self.has_stalled.set()
            with suppress(ConnectionError):
                here.recv(1)  # until the command is gone

    def close(self) -> None:
        self._listener.close()


def test_a_warm_that_is_interrupted_goes_on_by_the_same_command(
    gateway: Gateway, upstream: RunningUpstream, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.txt"
    asked.write_text("\n".join(QUESTIONS))
    words = ("warm", str(asked), "--model", "m", "--concurrency", "1", "--url", gateway.url, "--json")
    upstream.control(mode="hang", next=["normal", "normal"], reset=True)
    with started(*words) as cut:
        asyncio.run(upstream.until("requests", 3, within_s=30))
        cut.send_signal(signal.SIGINT)
        _, wrong = cut.communicate(timeout=30)
    upstream.control(mode="normal", next=[])
    with started(*words) as again:
        told = json.loads(again.communicate(timeout=60)[0])

    assert (cut.returncode, wrong) == (130, b"")
    assert (again.returncode, told["present"], told["stored"]) == (0, 2, 4)


def test_an_export_that_is_interrupted_goes_on_by_the_same_command(gateway: Gateway, tmp_path: Path) -> None:
    for question in QUESTIONS:
        body = {"model": "m", "messages": [{"role": "user", "content": question}], "cache": {"tags": ["cut"]}}
        gateway.post(body, authorization="Bearer sk-export")
    file = tmp_path / "answers.jsonl"
    whole = httpx.get(f"{gateway.url}/admin/api/export?tag=cut", **LOOPBACK).text.splitlines()
    stalling = Stalling(gateway, sum(len(line) + 1 for line in whole[:4]))  # and the head of the answer: not quite
    with started("export", str(file), "--tag", "cut", "--url", stalling.url) as cut:
        assert stalling.has_stalled.wait(30)
        part = tmp_path / "answers.jsonl.part"
        time.sleep(2)  # what was let through is on its way to the command, which says nothing before it is written
        cut.send_signal(signal.SIGINT)
        _, wrong = cut.communicate(timeout=30)
    stalling.close()
    assert (cut.returncode, wrong, file.exists()) == (130, b"", False)
    begun = part.read_bytes().splitlines()

    with started("export", str(file), "--tag", "cut", "--url", gateway.url) as again:
        again.communicate(timeout=60)
    ids = [line.get("id") for line in map(json.loads, file.read_text().splitlines())]

    assert again.returncode == 0
    assert len(begun) >= 2
    assert file.read_bytes().splitlines()[: len(begun)] == begun
    assert ids == [json.loads(line).get("id") for line in whole]


def test_progress_is_drawn_on_a_terminal_and_nowhere_else(gateway: Gateway, tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    asked.write_text("\n".join(QUESTIONS))
    words = ("warm", str(asked), "--model", "m", "--url", gateway.url)
    ours, theirs = os.openpty()
    with started(*words, terminal=theirs) as watched:
        said, _ = watched.communicate(timeout=60)
    os.close(theirs)
    drawn = os.read(ours, 100_000)
    os.close(ours)
    with started(*words) as alone:
        silent = alone.communicate(timeout=60)

    assert b"warmed" in drawn
    assert b"6/6" in drawn
    assert b"\x1b" not in said
    assert silent == (b"6 there already\n", b"")


def test_stats_of_a_running_gateway_as_json(gateway: Gateway) -> None:
    with started("stats", "--json", "--url", gateway.url) as process:
        told = json.loads(process.communicate(timeout=60)[0])

    assert process.returncode == 0
    assert set(told["tiers"]) == {"exact", "semantic", "kv", "full"}


def test_a_warm_of_which_nothing_can_be_asked_is_a_wrong_command(gateway: Gateway, tmp_path: Path) -> None:
    asked = tmp_path / "asked.txt"
    asked.write_text("\n".join(QUESTIONS))
    with started("warm", str(asked), "--url", gateway.url) as process:
        _, wrong = process.communicate(timeout=60)

    assert process.returncode == 2
    assert wrong.count(b"model is missing") == len(QUESTIONS)
