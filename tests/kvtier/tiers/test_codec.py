import numpy as np
import pytest
import torch

from kvtier.arena import DTYPES
from kvtier.geometry import KVGeometry
from kvtier.tiers.base import Rows
from kvtier.tiers.codec import NotFinite, decode, encode, payload_bytes


def rows_of(geometry: KVGeometry, num_tokens: int, *, scale: float = 1.0) -> tuple[torch.Tensor, Rows]:
    shape = (geometry.num_layers, 2, geometry.num_kv_heads, num_tokens, geometry.head_dim)
    values = (torch.randn(shape, generator=torch.Generator().manual_seed(3)) * scale).to(DTYPES[geometry.dtype])
    return values, values.view(torch.uint8).reshape(-1).numpy()


def through_int8(geometry: KVGeometry, rows: Rows) -> torch.Tensor:
    back = np.empty_like(rows)
    decode(geometry, encode(geometry, "int8", rows), back)
    return torch.from_numpy(back).view(DTYPES[geometry.dtype])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_int8_is_within_half_a_step_of_each_token_and_head(dtype: str, scale: float) -> None:
    geometry = KVGeometry(3, 2, 64, dtype)
    values, rows = rows_of(geometry, 37, scale=scale)
    back = through_int8(geometry, rows).view(values.shape)

    step = values.float().abs().amax(dim=-1, keepdim=True) / 127
    rounding = values.float().abs() * {"float32": 1e-6, "bfloat16": 2**-8, "float16": 2**-10}[dtype] + step * 2**-7
    assert bool(((back.float() - values.float()).abs() <= step / 2 + rounding).all())


def test_an_outlier_spoils_only_its_own_token_and_head() -> None:
    geometry = KVGeometry(1, 1, 4, "float32")
    values = torch.ones(1, 2, 1, 3, 4)
    values[0, 0, 0, 1, 2] = 1e6
    back = through_int8(geometry, values.view(torch.uint8).reshape(-1).numpy()).view(values.shape)

    assert torch.allclose(back[:, :, :, [0, 2]], values[:, :, :, [0, 2]])


def test_zeros_stay_zeros() -> None:
    geometry = KVGeometry(1, 2, 8, "bfloat16")
    rows = np.zeros(geometry.bytes_per_token * 5, np.uint8)

    assert not through_int8(geometry, rows).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_has_no_int8_form(bad: float) -> None:
    geometry = KVGeometry(1, 1, 4, "float32")
    values = torch.ones(1, 2, 1, 3, 4)
    values[0, 1, 0, 1, 2] = bad

    with pytest.raises(NotFinite):
        encode(geometry, "int8", values.view(torch.uint8).reshape(-1).numpy())


def test_int8_takes_little_more_than_half_of_bfloat16() -> None:
    geometry = KVGeometry(30, 3, 64, "bfloat16")
    _, rows = rows_of(geometry, 256)

    assert encode(geometry, "int8", rows).size == payload_bytes(geometry, "int8", 256)
    assert payload_bytes(geometry, "raw", 256) / payload_bytes(geometry, "int8", 256) == pytest.approx(1.88, abs=0.01)
