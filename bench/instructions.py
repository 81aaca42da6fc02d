"""Instructions of a request, counted by callgrind in the whole process: interpreter, libraries in C and our code.

    python -m bench instructions       needs valgrind, and says so where it is not

Nothing that neighbours do is in them, so they tell changes apart that no clock on a shared machine does. Counting is
off while the process starts and warms up, and on for `NUM` requests of each kind, one after another. The kernel is left
out. The reference is the bare ASGI application of the exact hits under the same uvicorn, counted in the same way.
"""

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench import ceiling
from bench.http1 import Connection, Timed
from bench.processes import Server, listening, upstream, wait_ready
from bench.rows import Row, Scale

CHAT = "/v1/chat/completions"
BARE = "bare uvicorn, the bytes of a hit"
NUM = 400
WARM = 60  # until a request is known by its bytes, and what is loaded when it is used first is
CHARS = 900
_NUMBERS = count()

Body = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Counted:
    """A server under callgrind, and where it writes what it counted."""

    server: Server
    folder: Path

    def per_request(self, body: Body, num: int) -> tuple[float, Timed]:
        """Instructions of one of `num` requests, after some that are not counted, and the last response."""
        asyncio.run(_ask(self.server.url, body, WARM))
        known = set(self.folder.iterdir())
        self._control("--zero")
        self._control("--instr=on")
        last = asyncio.run(_ask(self.server.url, body, num))
        self._control("--instr=off")
        self._control("--dump")
        return _total(set(self.folder.iterdir()) - known) / num, last

    def _control(self, command: str) -> None:
        subprocess.run(["callgrind_control", command, str(self.server.pid)], check=True, capture_output=True)


def run(scale: Scale) -> list[Row]:
    """Exact hits known by their bytes and not, and requests that are passed through."""
    if not (shutil.which("valgrind") and shutil.which("callgrind_control")):
        return [Row("instructions", "of a request", None, "Ir", note="skipped: valgrind is not installed")]
    num = scale.of(NUM, 50)
    with ExitStack() as stack:
        backend = stack.enter_context(upstream("fast"))
        express = stack.enter_context(_gateway(backend.url, express_mb=12))
        whole = stack.enter_context(_gateway(backend.url, express_mb=0))
        rows: list[Row] = []
        for kind, is_streaming in (("", False), (", streamed", True)):
            body = _same(is_streaming)
            hit, said = express.per_request(body, num)
            assert said.headers["x-twicetold-tier"] == "exact", said.headers
            bare, _ = stack.enter_context(_bare(said)).per_request(body, num)
            unknown, said = whole.per_request(body, num)
            assert said.headers["x-twicetold-tier"] == "exact", said.headers
            through, said = whole.per_request(_new(is_streaming), num)
            assert said.headers["x-twicetold-tier"] == "full", said.headers
            rows += [
                Row("instructions", f"{what}{kind}", value / 1000, "thousand", bare / 1000, BARE)
                for what, value in (
                    ("exact hit, known by its bytes", hit),
                    ("exact hit, the whole road", unknown),
                    ("passed through, its upstream's client included", through),
                )
            ]
        return rows


@contextmanager
def _gateway(url: str, *, express_mb: int) -> Iterator[Counted]:
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as place:
        config = Path(place) / "twicetold.toml"
        config.write_text(f"[cache]\nsemantic = false\nexpress_mb = {express_mb}\n", "utf-8")
        flags = ["--port", "0", "--data-dir", f"{place}/data", "--config", str(config), "--log-level", "warning"]
        with _counted(["-m", "gateway", "serve", "--upstream", url, *flags]) as counted:
            wait_ready(counted.server, wait_semantic=False, within_s=120)
            yield counted


@contextmanager
def _bare(said: Timed) -> Iterator[Counted]:
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as place:
        path = Path(place) / "response.json"
        ceiling.save(path, said.headers, said.body)
        with _counted(["-m", "bench.ceiling", str(path)]) as counted:
            yield counted


@contextmanager
def _counted(arguments: list[str]) -> Iterator[Counted]:
    with tempfile.TemporaryDirectory(prefix="twicetold-callgrind-") as folder:
        tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/counted"]
        with listening(arguments, within_s=300, under=tool) as server:
            yield Counted(server, Path(folder))


async def _ask(url: str, body: Body, num: int) -> Timed:
    async with Connection(url, CHAT) as connection:
        for _ in range(num):
            last = await connection.post(body().encode())
    return last


def _total(dumps: set[Path]) -> int:
    """Instructions in what was dumped, of all threads."""
    said = [re.search(r"^totals: (\d+)", path.read_text("utf-8", "replace"), re.M) for path in dumps]
    return sum(int(found[1]) for found in said if found)


def _same(is_streaming: bool) -> Body:
    said = _body("a question", is_streaming)
    return lambda: said


def _new(is_streaming: bool) -> Body:
    """Never asked before, and nothing of the cache is wanted."""
    return lambda: _body(f"question {next(_NUMBERS)}", is_streaming, cache={"tiers": []})


def _body(words: str, is_streaming: bool, **more: object) -> str:
    messages = [{"role": "user", "content": f"{words} {'x' * CHARS}"}]
    return json.dumps({"model": "test-model", "messages": messages, "stream": is_streaming, **more})
