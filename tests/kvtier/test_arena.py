import resource
from pathlib import Path

import pytest
import torch

from kvtier.arena import DTYPES, KVArena
from kvtier.cache import KVCache
from kvtier.geometry import KVGeometry

MIB = 1 << 20
STATM = Path("/proc/self/statm")


def random_slab(geometry: KVGeometry, capacity: int) -> torch.Tensor:
    shape = (geometry.num_layers, 2, geometry.num_kv_heads, capacity, geometry.head_dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)).to(DTYPES[geometry.dtype])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("blocks", [[0, 1, 2], [5, 3, 1], [4, 5, 0], [0, 2, 5], [2]])
@pytest.mark.parametrize("missing", [0, 1, 3])
def test_rows_come_back_bit_for_bit(dtype: str, blocks: list[int], missing: int) -> None:
    geometry = KVGeometry(3, 2, 8, dtype, block_tokens=4)
    arena = KVArena(geometry, 6)
    num_rows = len(blocks) * 4 - missing
    slab, back = random_slab(geometry, 20), torch.zeros_like(random_slab(geometry, 16))
    arena.store(blocks, slab, 5, num_rows)
    arena.load(blocks, back, num_rows)

    assert torch.equal(back[:, :, :, :num_rows], slab[:, :, :, 5 : 5 + num_rows])
    assert not back[:, :, :, num_rows:].any()


def test_a_slab_may_be_a_slice_of_a_larger_tensor() -> None:
    geometry = KVGeometry(3, 2, 8, "float32", block_tokens=4)
    arena = KVArena(geometry, 4)
    batch = torch.stack([random_slab(geometry, 12), random_slab(geometry, 12) + 1], dim=3)  # [L, 2, H, batch, 12, D]
    arena.store([2, 3, 0], batch[:, :, :, 1], 0, 10)
    arena.load([2, 3, 0], batch[:, :, :, 0], 10)

    assert torch.equal(batch[:, :, :, 0, :10], batch[:, :, :, 1, :10])


def test_an_inference_tensor_is_a_slab_too() -> None:
    geometry = KVGeometry(3, 2, 8, "float32", block_tokens=4)
    arena = KVArena(geometry, 2)
    with torch.inference_mode():
        slab = random_slab(geometry, 8)
    arena.store([1, 0], slab, 0, 8)
    arena.load([0], slab, 4)

    assert torch.equal(slab[:, :, :, :4], slab[:, :, :, 4:])


@pytest.mark.parametrize(
    ("slab", "num_rows", "complaint"),
    [
        (torch.zeros(3, 2, 2, 8, 8, dtype=torch.bfloat16), 4, "bfloat16"),
        (torch.zeros(2, 2, 2, 8, 8), 4, "is not"),
        (torch.zeros(3, 2, 2, 8, 4), 4, "is not"),
        (torch.zeros(3, 2, 2, 8), 4, "is not"),
        (torch.zeros(3, 2, 2, 8, 8), 9, "holds 8 rows, not 9"),
        (torch.zeros(3, 2, 2, 8, 8), -1, "not -1"),
    ],
)
def test_a_slab_of_another_shape_is_refused(slab: torch.Tensor, num_rows: int, complaint: str) -> None:
    arena = KVArena(KVGeometry(3, 2, 8, "float32", block_tokens=4), 2)

    with pytest.raises(ValueError, match=complaint):
        arena.check_slab(slab, num_rows)


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc")
def test_a_large_budget_costs_no_memory_before_it_is_used() -> None:
    before = resident_bytes()
    cache = KVCache(KVGeometry(30, 3, 64, "bfloat16"), 1024 * MIB, secret=b"s", model="m", tokenizer="t")

    assert cache.blocks.total == 1024 * MIB // 737_280
    assert resident_bytes() - before < 64 * MIB
