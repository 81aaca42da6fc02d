"""vLLM's CPU build, in an environment of its own: BENCH_VLLM_PYTHON names its interpreter.

BENCH_VLLM_EAGER=1 leaves out compilation, which takes minutes when the server starts.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.engine.serving import THREADS, NotAvailable
from bench.peers.server import Dialect, Peer, Wish, free_port, running

CONTEXT_TOKENS = 3072
KV_GIB = 2


def _body(wish: Wish) -> dict[str, Any]:
    return {
        "model": "model",
        "prompt": list(wish.token_ids),
        "max_tokens": wish.max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _read(events: list[dict[str, Any]], wish: Wish) -> tuple[int, int]:
    usage = events[-1]["usage"]
    assert usage["prompt_tokens"] == len(wish.token_ids), usage
    details = usage.get("prompt_tokens_details") or {}
    return int(details.get("cached_tokens") or 0), int(usage["completion_tokens"])


DIALECT = Dialect("/v1/completions", _body, _read)


@contextmanager
def vllm_server(checkpoint: Path) -> Iterator[Peer]:
    """vLLM over `checkpoint` in bfloat16, with its prefix cache. Raises `NotAvailable`."""
    python = os.environ.get("BENCH_VLLM_PYTHON", "")
    if not python or not Path(python).is_file():
        raise NotAvailable("vLLM: BENCH_VLLM_PYTHON names no interpreter (bench/peers/README.md)")
    is_eager = os.environ.get("BENCH_VLLM_EAGER", "") not in ("", "0")
    port = free_port()
    command = [
        python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint), "--served-model-name", "model",
        "--port", str(port), "--dtype", "bfloat16", "--max-model-len", str(CONTEXT_TOKENS), "--max-num-seqs", "8",
        "--enable-prefix-caching", "--enable-prompt-tokens-details", *(["--enforce-eager"] if is_eager else []),
    ]  # fmt: skip
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": str(KV_GIB),
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{THREADS - 1}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    openmp = Path(python).parents[1] / "lib" / "libiomp5.so"  # comes with the package; its documentation wants it first
    if openmp.is_file():
        environment["LD_PRELOAD"] = str(openmp)
    name = f"vLLM bfloat16, {'eager' if is_eager else 'compiled'}"
    with running(name, command, port, DIALECT, environment, within_s=600.0) as peer:
        yield peer
