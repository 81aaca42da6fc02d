"""The balancer of deploy/, as the very file says, with ports of a test's own."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.loopback import LOOPBACK

DEPLOY = Path(__file__).parents[2] / "deploy"
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")


@dataclass(frozen=True)
class Balancer:
    url: str
    numbers_url: str

    def states(self) -> dict[str, bool]:
        """Which gateways it finds ready."""
        told = httpx.get(f"{self.numbers_url}/metrics", **LOOPBACK).text
        found = re.findall(r'haproxy_server_status\{proxy="gateways",server="(\w+)",state="UP"\} (\d)', told)
        return {name: number == "1" for name, number in found}

    def wait(self, num_ready: int, within_s: float = 20.0) -> None:
        """Until it finds so many of them ready."""
        until = time.monotonic() + within_s
        while sum(self.states().values()) != num_ready:
            assert time.monotonic() < until, self.states()
            time.sleep(0.05)


@contextmanager
def balancing(folder: Path, gateways: Sequence[str]) -> Iterator[Balancer]:
    """A balancer before the gateways at these addresses (host:port), which no DNS knows here."""
    assert HAPROXY is not None
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text("utf-8")
    servers = "\n".join(f"    server gateway{number} {address}" for number, address in enumerate(gateways))
    text, num_replaced = re.subn(r"^    server-template .*$", servers, text, flags=re.MULTILINE)
    assert num_replaced == 1
    config = folder / "haproxy.cfg"
    config.write_text(text, "utf-8")
    chat, numbers = (f"127.0.0.1:{_free_port()}" for _ in range(2))
    process = subprocess.Popen([HAPROXY, "-db", "-q", "-f", str(config)], env={"BIND": chat, "BIND_NUMBERS": numbers})
    try:
        balancer = Balancer(f"http://{chat}", f"http://{numbers}")
        until = time.monotonic() + 10
        while not _lives(balancer):
            assert process.poll() is None, "haproxy ended"
            assert time.monotonic() < until
            time.sleep(0.02)
        yield balancer
    finally:
        process.terminate()
        process.wait()


def _lives(balancer: Balancer) -> bool:
    try:
        return httpx.get(f"{balancer.numbers_url}/alive", **LOOPBACK).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
