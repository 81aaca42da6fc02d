"""What the processor can do at most, and what a prompt takes: to tell a slow engine from a goal out of reach.

The peak is a large product in bfloat16 through torch, which is oneDNN: nothing in bfloat16 is faster.
"""

import time
from importlib import import_module
from pathlib import Path

from backends.local.decoder import checkpoint
from backends.local.decoder.config import ModelConfig
from bench.engine.serving import THREADS

SIZE, ROUNDS = 2048, 6


def peak_gflops() -> float:
    """Of the threads the engine has, the best of a few."""
    torch = import_module("torch")
    torch.set_num_threads(THREADS)
    one = torch.randn(SIZE, SIZE, dtype=torch.bfloat16)
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        torch.mm(one, one)
        seconds.append(time.perf_counter() - started)
    return float(2 * SIZE**3 / min(seconds) / 1e9)


def prompt_gflops(path: Path, num_tokens: int) -> float:
    """Of one prompt from nothing: products, and attention over the rows before each; no norms, no head."""
    config = checkpoint.read_config(path)
    assert isinstance(config, ModelConfig)
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    weights = config.hidden_size * (2 * queries + 2 * keys + 3 * config.intermediate_size)
    attention = queries * (num_tokens + 1)  # scores and values, over half of the rows on average
    return 2 * config.num_layers * num_tokens * (weights + attention) / 1e9
