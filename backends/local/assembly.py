"""From a `Load` message to a running engine; the only place that knows all its parts."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from backends.local.decoder import checkpoint
from backends.local.decoder.base import Decoder
from backends.local.decoder.config import CheckpointError, ModelConfig
from backends.local.decoder.device import choose_device
from backends.local.decoder.model import LlamaDecoder
from backends.local.decoder.rows import few_rows, has_rows
from backends.local.decoder.weights import load_weights
from backends.local.engine.choosing import Drafting
from backends.local.engine.engine import Engine
from backends.local.engine.headroom import free_bytes
from backends.local.engine.kv import build_cache
from backends.local.engine.matcher import Grammars
from backends.local.engine.pace import Pace
from backends.local.engine.runner import Runner
from backends.local.engine.scheduler import Limits
from backends.local.wire import Load, Loading
from kvtier.eviction import KNEE_TOKENS
from kvtier.geometry import KVGeometry

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FEW_THREADS = 3  # up to so many, our own kernels on one of them are faster than torch on all (docs/decisions.md)


def build_engine(
    load: Load,
    tell: Callable[[Loading], None] = lambda _: None,
    *,
    pace: Pace | None = None,
    clock: Callable[[], float] = time.monotonic,
    free_bytes: Callable[[], int | None] = free_bytes,
) -> Engine:
    """Load the weights and wire the parts, and tell how far that is. Raises `CheckpointError`.

    `pace` decides how many drafts are checked; None: what the machine makes of it. `free_bytes` is the memory of the
    machine.
    """
    tell(Loading("reading weights"))
    torch.set_num_threads(load.threads)
    grammars = Grammars(Path(load.checkpoint), load.eos_token_ids)
    decoder = _load_decoder(load, tell)
    slab = decoder.new_slab(0)
    num_layers, _, num_kv_heads, _, head_dim = slab.shape
    cost_clock = time.thread_time if slab.device.type == "cpu" else time.perf_counter
    geometry = KVGeometry(num_layers, num_kv_heads, head_dim, load.dtype)
    tell(Loading("opening the kept prefixes"))
    knee_tokens = decoder.config.knee_tokens if isinstance(decoder, LlamaDecoder) else KNEE_TOKENS
    cache = build_cache(load, geometry, knee_tokens)
    limits = Limits(
        max_running=load.max_running,
        max_waiting=load.max_waiting,
        chunk_tokens=load.prefill_chunk,
        slab_tokens=max(load.slab_budget_bytes // geometry.bytes_per_token, load.context_tokens),
        block_tokens=geometry.block_tokens,
        is_exact=load.exact,
    )
    return Engine(
        Runner(
            decoder,
            cache,
            exact_chunk=load.prefill_chunk if load.exact else None,
            warm_tokens=min(load.context_tokens, limits.slab_tokens),
            spare_bytes=load.spare_budget_bytes,
        ),
        limits,
        grammars,
        context_tokens=load.context_tokens,
        vocab_size=checkpoint.read_config(Path(load.checkpoint)).vocab_size,
        eos_token_ids=frozenset(load.eos_token_ids),
        idle_work=load.idle_work,
        clock=clock,
        free_bytes=free_bytes,
        drafting=Drafting(pace or Pace(), cost_clock) if load.drafts and not load.exact else None,
    )


def _load_decoder(load: Load, tell: Callable[[Loading], None] = lambda _: None) -> Decoder:
    """Our own decoder where it can compute the model, else transformers' class of it."""
    path, dtype = Path(load.checkpoint), DTYPES[load.dtype]
    device = choose_device(load.device, load.weights)
    config = checkpoint.read_config(path)
    if isinstance(config, ModelConfig):
        num_layers = config.num_layers

        def on_layer(number: int) -> None:
            tell(Loading("reading layers", number, num_layers))

        tell(Loading("preparing kernels"))  # the first start on a machine compiles them
        files = checkpoint.weight_files(path)
        few = load.threads <= FEW_THREADS and has_rows(dtype, load.weights, device)
        weights = load_weights(files, config, dtype, on_layer, weights=load.weights, device=device, has_rows=few)
        return LlamaDecoder(config, weights, few_rows(config, weights) if few else None)
    if load.weights:
        raise CheckpointError(f"{load.weights} weights are for the models our own decoder computes; leave them out")
    from backends.local.decoder.foreign import load_foreign  # its imports take seconds

    return load_foreign(path, dtype, device)
