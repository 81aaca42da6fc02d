"""Products by every kernel are products with the same weight."""

import pytest
import torch
from torch.nn import functional as F

from backends.local.decoder.linear import (
    INT4_GROUP,
    INT4_ROWS,
    INT8_ROWS,
    Int4Linear,
    Int8Linear,
    PlainLinear,
    from_int4,
    from_int8,
    has_int4_kernel,
    has_int8_kernel,
    linear,
    to_int4,
    to_int8,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
ROWS = pytest.mark.parametrize("rows", [1, INT8_ROWS, INT8_ROWS + 1, INT4_ROWS, INT4_ROWS + 1, 64])
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}


def some(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far, relative to how large."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@DTYPES
@ROWS
@pytest.mark.parametrize("kind", [PlainLinear, Int8Linear, Int4Linear])
def test_any_number_of_rows_meets_the_weight_the_codes_stand_for(
    kind: type[PlainLinear | Int8Linear | Int4Linear], rows: int, dtype: torch.dtype
) -> None:
    weight, bias, inputs = (
        some(96, 160, dtype=dtype),
        some(96, dtype=dtype, seed=1),
        some(rows, 160, dtype=dtype, seed=2),
    )
    stored = {PlainLinear: weight, Int8Linear: from_int8(*to_int8(weight)), Int4Linear: from_int4(to_int4(weight))}[
        kind
    ]

    found = kind(weight, bias)(inputs)

    assert off(found, F.linear(inputs.float(), stored.float(), bias.float())) < TOLERANCE[dtype]


def test_kernels_are_there_on_this_machine() -> None:
    assert has_int8_kernel()
    assert has_int4_kernel()


@DTYPES
def test_8_bits_are_within_half_a_step_of_each_weight(dtype: torch.dtype) -> None:
    weight = some(64, 128, dtype=dtype)

    codes, scales = to_int8(weight)

    stored = codes.float() * scales.float().unsqueeze(1)
    assert bool(((stored - weight.float()).abs() <= 0.505 * scales.float().unsqueeze(1)).all())
    assert off(stored, weight) < 0.01


def test_4_bits_are_nearer_than_codes_from_least_to_largest() -> None:
    weight = some(256, 512)
    groups = weight.view(-1, INT4_GROUP)
    least, step = groups.amin(1, keepdim=True), (groups.amax(1, keepdim=True) - groups.amin(1, keepdim=True)) / 15
    plain = (((groups - least) / step).round() * step + least).view_as(weight)

    assert off(from_int4(to_int4(weight)), weight) < 0.97 * off(plain, weight) < 0.08


@pytest.mark.parametrize("value", [0.0, 1.0, -0.375])
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_equal_weights_stay_what_they_are(kind: str, value: float) -> None:
    product = linear(torch.full((16, 64), value), None, kind)

    torch.testing.assert_close(product(torch.ones(1, 64)), torch.full((1, 16), 64 * value))
    torch.testing.assert_close(product(torch.ones(9, 64)), torch.full((9, 16), 64 * value))


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_many_rows_meet_the_weight_that_our_own_kernels_read_for_a_few(weights: str) -> None:
    weight, bias, inputs = some(96, 160).bfloat16(), some(96, seed=1).bfloat16(), some(64, 160, seed=2).bfloat16()
    stored = from_int4(to_int4(weight)) if weights == "int4" else from_int8(*to_int8(weight))

    found = linear(weight, bias, weights, has_rows=True)(inputs)

    assert off(found, F.linear(inputs.float(), stored.float(), bias.float())) < TOLERANCE[torch.bfloat16]


@pytest.mark.parametrize(
    ("shape", "weights", "kind"),
    [
        ((32, 64), "", PlainLinear),
        ((32, 64), "int8", Int8Linear),
        ((32, 64), "int4", Int4Linear),
        ((24, 64), "int4", Int8Linear),  # the kernel takes sixteen outputs at a time
        ((32, 72), "int4", Int8Linear),  # and whole groups
    ],
)
def test_what_does_not_fit_4_bits_gets_8(shape: tuple[int, int], weights: str, kind: type) -> None:
    assert type(linear(some(*shape), None, weights)) is kind
