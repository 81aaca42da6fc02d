"""From a `Load` message to a running engine; the only place that knows all its parts."""

from pathlib import Path

import torch

from backends.local import checkpoint
from backends.local.engine import Engine
from backends.local.model import Decoder
from backends.local.runner import Runner
from backends.local.scheduler import Limits
from backends.local.weights import load_weights
from backends.local.wire import Load
from kvtier.cache import KVCache
from kvtier.geometry import KVGeometry

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build_engine(load: Load) -> Engine:
    """Load the weights and wire the parts. Raises `CheckpointError`."""
    torch.set_num_threads(load.threads)
    path = Path(load.checkpoint)
    config = checkpoint.read_config(path)
    decoder = Decoder(config, load_weights(checkpoint.weight_files(path), config, DTYPES[load.dtype]))
    geometry = KVGeometry(config.num_layers, config.num_kv_heads, config.head_dim, load.dtype)
    cache = KVCache(
        geometry,
        load.kv_budget_bytes,
        secret=bytes.fromhex(load.secret),
        model=load.fingerprint,
        tokenizer=load.fingerprint,  # it covers the tokenizer's files
    )
    limits = Limits(
        max_running=load.max_running,
        max_waiting=load.max_waiting,
        chunk_tokens=load.prefill_chunk,
        slab_tokens=max(load.slab_budget_bytes // geometry.bytes_per_token, load.context_tokens),
        block_tokens=geometry.block_tokens,
    )
    return Engine(
        Runner(decoder, cache, exact_chunk=load.prefill_chunk if load.exact else None),
        limits,
        context_tokens=load.context_tokens,
        eos_token_ids=frozenset(load.eos_token_ids),
    )
