from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backends.local.engine.kv import build_cache, model_identity, processor
from backends.local.settings import LocalSettings
from backends.local.wire import Load
from kvtier.geometry import KVGeometry

GEOMETRY = KVGeometry(2, 2, 16, "float32")
LOAD = Load(
    checkpoint="",
    fingerprint="weights",
    dtype="float32",
    threads=1,
    context_tokens=512,
    eos_token_ids=[0],
    kv_budget_bytes=1 << 20,
    slab_budget_bytes=1 << 20,
    max_running=4,
    max_waiting=4,
    prefill_chunk=64,
    exact=True,
    secret="00ff",
    device="cpu",
)
CHANGES: list[dict[str, object]] = [
    {"fingerprint": "others"},
    {"dtype": "bfloat16"},
    {"weights": "int8"},
    {"prefill_chunk": 128},
    {"exact": False},
]


@pytest.mark.parametrize("change", [*CHANGES, {"threads": 2}])
def test_what_changes_bits_changes_the_identity(change: dict[str, object]) -> None:
    assert model_identity(replace(LOAD, **change)) != model_identity(LOAD)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"amx_tile": True}, {"avx512_bf16": False}, {"l2_cache_size": 1 << 21}])
def test_exact_numbers_are_of_one_kind_of_processor(change: dict[str, object]) -> None:
    here = {"avx512_bf16": True, "amx_tile": False, "l2_cache_size": 1 << 20}

    assert processor(here | change) != processor(here)
    assert processor(torch.cpu.get_capabilities()) in model_identity(LOAD).split()
    assert processor(torch.cpu.get_capabilities()) not in model_identity(replace(LOAD, exact=False))


def test_without_exact_numbers_the_number_of_threads_is_no_matter() -> None:
    fast = replace(LOAD, exact=False)

    assert model_identity(replace(fast, threads=2)) == model_identity(fast)
    assert model_identity(replace(fast, kv_codec="int8")) != model_identity(fast)


def test_int8_and_exact_numbers_are_refused_together_by_name() -> None:
    with pytest.raises(ValueError, match=r"kv_codec int8 .* exact"):
        LocalSettings(secret=b"s", exact=True, kv_codec="int8")


def test_a_folder_that_cannot_be_used_leaves_the_engine_without_its_tier(tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("a file")
    cache = build_cache(replace(LOAD, kv_dir=str(tmp_path / "kv"), kv_disk_bytes=1 << 20), GEOMETRY)

    assert cache.blocks.total > 0
    assert "disk_hits" not in cache.snapshot()
    cache.close()


def test_an_engine_without_blocks_has_no_tiers(tmp_path: Path) -> None:
    load = replace(LOAD, kv_budget_bytes=0, kv_dir=str(tmp_path / "kv"), kv_disk_bytes=1 << 20)
    build_cache(load, GEOMETRY).close()

    assert not (tmp_path / "kv").exists()


@pytest.mark.parametrize(
    ("kv_mb", "slabs_mb", "spare_mb"), [(1024, 1024, 512), (256, 1024, 256), (8, 1024, 64), (8, 64, 32)]
)
def test_spare_slabs_take_no_more_than_kept_prefixes_may(kv_mb: int, slabs_mb: int, spare_mb: int) -> None:
    load = replace(LOAD, kv_budget_bytes=kv_mb << 20, slab_budget_bytes=slabs_mb << 20)

    assert load.spare_budget_bytes == spare_mb << 20
