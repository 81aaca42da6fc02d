"""The KV cache of an engine: which model its blocks belong to, to the bit, and where they go when RAM is not enough."""

import logging
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from backends.local.decoder.device import choose_device
from backends.local.decoder.rows import MOST_ROWS, has_rows
from backends.local.decoder.softmax import has_columns
from backends.local.wire import Load
from kvtier.arena import DTYPES
from kvtier.cache import KVCache
from kvtier.eviction import KNEE_TOKENS
from kvtier.geometry import KVGeometry
from kvtier.tiers.base import Tier, TierError
from kvtier.tiers.codec import CODECS
from kvtier.tiers.disk import DiskTier
from kvtier.tiers.segment import SegmentForm

if TYPE_CHECKING:
    from kvtier.tiers.sealing import SegmentSeal

log = logging.getLogger(__name__)


def build_cache(load: Load, geometry: KVGeometry, knee_tokens: float = KNEE_TOKENS) -> KVCache:
    """The cache a `Load` asks for, of a model whose tokens cost twice as much `knee_tokens` into a prompt.

    Raises RuntimeError when a package of a tier is not installed.
    """
    identity = model_identity(load)
    tiers: list[Tier] = []
    if load.kv_budget_bytes >= geometry.block_bytes:
        form = SegmentForm(
            geometry,
            secret=bytes.fromhex(load.secret),
            model=identity,
            tokenizer=load.fingerprint,
            codec=next(codec for codec in CODECS if codec == load.kv_codec),
            seal=_seal(load.seal_keys),
        )
        if load.kv_dir and load.kv_disk_bytes:
            try:
                tiers.append(DiskTier(Path(load.kv_dir), load.kv_disk_bytes, form))
            except TierError as error:  # a cache that is broken is a miss
                log.warning("going on without the disk tier: %s", error)
        if load.kv_redis:
            tiers.append(_redis(load.kv_redis, form))
    return KVCache(
        geometry,
        load.kv_budget_bytes,
        secret=bytes.fromhex(load.secret),
        model=identity,
        tokenizer=load.fingerprint,  # it covers the tokenizer's files
        tiers=tiers,
        policy=load.kv_policy,
        knee_tokens=knee_tokens,
    )


def model_identity(load: Load) -> str:
    """Everything that changes bits of keys and values: what differs in any of it finds nothing of the other's."""
    device = choose_device(load.device, load.weights)
    parts = [
        load.fingerprint,
        load.dtype,
        f"weights={load.weights or 'own'}",
        f"kv={load.kv_codec}",
        f"chunk={load.prefill_chunk}",
        f"device={device.type}",
        "exact" if load.exact else "fast",
    ]
    if load.exact:
        parts += [f"threads={load.threads}", f"torch={torch.__version__}", f"columns={has_columns()}"]
        is_cuda = device.type == "cuda"
        parts.append(torch.cuda.get_device_name(device) if is_cuda else processor(torch.cpu.get_capabilities()))
        if load.prefill_chunk <= MOST_ROWS:  # by our own kernels, where there are any
            parts.append(f"rows={has_rows(DTYPES[load.dtype], load.weights, device)}")
    return " ".join(parts)


def processor(capabilities: Mapping[str, object]) -> str:
    """Which processors give the same bits: torch and oneDNN choose their ways by what it can do and by its caches."""
    told = " ".join(f"{name}={value}" for name, value in sorted(capabilities.items()))
    return f"{torch.backends.cpu.get_cpu_capability()}-{blake2b(told.encode(), digest_size=8).hexdigest()}"


def _seal(keys: Sequence[str]) -> "SegmentSeal | None":
    if not keys:
        return None
    try:
        from kvtier.tiers.sealing import SegmentSeal
    except ImportError as error:
        raise RuntimeError(f"[seal] needs {error.name}: pip install 'twicetold-server[seal]'") from error
    return SegmentSeal([bytes.fromhex(key) for key in keys])


def _redis(url: str, form: SegmentForm) -> Tier:
    try:
        from kvtier.tiers.redis import RedisTier
    except ImportError as error:
        raise RuntimeError(f"engine.kv_redis needs {error.name}: pip install 'twicetold-server[redis]'") from error
    return RedisTier(url, form)
