"""GPTCache from its own environment (`make peers`): a server over stored questions, started once it has them."""

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b

from bench.engine.serving import NotAvailable
from bench.peers.starting import pin_all, started
from bench.processes import ROOT, Server

PYTHON = ROOT / "build" / "peers" / "gptcache" / "bin" / "python"
KEPT = ROOT / "bench" / "out" / "gptcache"  # what it has imported, for the next run
START_S = 600.0  # the first time, of 10,000 questions


@contextmanager
def gptcache(pairs: Sequence[tuple[str, str]], *, cpu: int | None) -> Iterator[Server]:
    """A server that has these questions and answers. Raises `NotAvailable` where it is not installed or not ready."""
    if not PYTHON.exists():
        raise NotAvailable("GPTCache is not installed; `make peers`")
    asked = json.dumps(pairs)
    folder = KEPT / blake2b(asked.encode(), digest_size=8).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "questions.json").write_text(asked, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(PYTHON), "-P", str(ROOT / "bench" / "peers" / "gptcache_server.py"), str(folder)]
    command += [str(folder / "questions.json"), str(port)]
    url, more = f"http://127.0.0.1:{port}", {"OMP_NUM_THREADS": "1"}
    with started("GPTCache", command, url, "", folder=folder, more=more, within_s=START_S) as server:
        pin_all(server.pid, cpu)
        yield server
