"""llama.cpp: its own server on the same weights as GGUF.

BENCH_LLAMA_BIN names the folder of llama-server and llama-quantize; BENCH_LLAMA_GGUF, where the `gguf` package is not
installed, the folder it can be imported from (gguf-py in llama.cpp's tree).
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.engine.models import FOLDER
from bench.engine.serving import THREADS, NotAvailable
from bench.peers.server import Dialect, Peer, Wish, free_port, running
from bench.processes import ROOT

FORMATS = ("BF16", "Q8_0", "Q4_0")
SLOTS, SLOT_TOKENS = 8, 3072


def _body(wish: Wish) -> dict[str, Any]:
    return {
        "prompt": list(wish.token_ids),
        "n_predict": wish.max_tokens,
        "cache_prompt": not wish.is_cold,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }


def _read(events: list[dict[str, Any]], wish: Wish) -> tuple[int, int]:
    timings = events[-1]["timings"]
    return len(wish.token_ids) - timings["prompt_n"], timings["predicted_n"]


DIALECT = Dialect("/completion", _body, _read)


@contextmanager
def llama_server(name: str, checkpoint: Path, kind: str, slots: int = SLOTS) -> Iterator[Peer]:
    """llama-server over `checkpoint` in one of `FORMATS`. Raises `NotAvailable`."""
    model = _gguf(name, checkpoint, kind)
    port = free_port()
    command = [
        str(_binary("llama-server")), "--model", str(model), "--port", str(port), "--threads", str(THREADS),
        "--threads-batch", str(THREADS), "--parallel", str(slots), "--ctx-size", str(slots * SLOT_TOKENS),
    ]  # fmt: skip
    with running(f"llama.cpp {kind}", command, port, DIALECT, {}, within_s=120.0) as peer:
        yield peer


def _binary(name: str) -> Path:
    folder = os.environ.get("BENCH_LLAMA_BIN", "")
    path = Path(folder) / name
    if not folder or not path.is_file():
        raise NotAvailable(f"llama.cpp: BENCH_LLAMA_BIN names no folder with {name} (bench/peers/README.md)")
    return path


def _gguf(name: str, checkpoint: Path, kind: str) -> Path:
    """The weights as GGUF, made once."""
    quantize = _binary("llama-quantize")
    whole, wanted = (FOLDER / f"{name}-{each}.gguf" for each in (FORMATS[0], kind))
    if not whole.is_file():
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("BENCH_LLAMA_GGUF", "")]))
        part = whole.with_suffix(".part")
        _run([sys.executable, "-m", "bench.peers.gguf_file", str(checkpoint), str(part)], {"PYTHONPATH": paths})
        part.rename(whole)
    if not wanted.is_file():
        part = wanted.with_suffix(".part")
        _run([str(quantize), str(whole), str(part), kind], {})
        part.rename(wanted)
    return wanted


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, check=False)
    if done.returncode:
        raise NotAvailable(f"{Path(command[0]).name} failed: {done.stderr.decode('utf-8', 'replace').strip()[-300:]}")
