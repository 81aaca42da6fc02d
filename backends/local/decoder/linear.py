"""Products with a weight, each by the kernel that is fastest for its number of rows.

A step of decoding reads every weight once for a few rows, so it is as fast as memory: weights of 8 or 4 bits take
torch's own weight-only kernels there. Those compute in float32 what oneDNN computes in pairs of bfloat16, and lose
beyond a few rows (measured in docs/decisions.md). Chunks of a prompt take the same weights, dequantised once and laid
out for oneDNN: quantised weights buy speed, not memory.
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch.nn import functional as F

from backends.local.decoder.device import has_onednn
from backends.local.decoder.packing import Packed, pack_int4, pack_int8, pack_plain

INT8_ROWS, INT4_ROWS = 2, 4  # up to so many rows the weight-only kernels are the faster ones
INT4_GROUP = 32  # weights that share a scale and an offset
INT4_OUTPUTS = 16  # the kernel takes multiples of it
PIECE_OUTPUTS = 128  # a weight is quantised in pieces that stay in the processor's cache
WEIGHTS = ("", "int8", "int4")  # the first: as the checkpoint has them


class Linear(Protocol):
    """A product with a weight `[out, in]`."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """`[rows, in]` to `[rows, out]`."""
        ...

    @property
    def packed(self) -> Packed | None:
        """The weight as our own kernels read it for a few rows; None when they cannot."""
        ...


class PlainLinear:
    """A product with a weight as it is.

    On the processor the weight is laid out for oneDNN once: `F.linear` lays a bfloat16 weight out anew at every call,
    and MKL's float32 is slow on AMD (256 to 1408, one thread: 30 vs 83 us at 4 rows, 414 vs 966 us at 128).
    """

    __slots__ = ("_bias", "_laid_out", "_weight", "packed")

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, has_rows: bool = False) -> None:
        is_packed = weight.device.type == "cpu" and has_onednn(weight.dtype)
        self._laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, None) if is_packed else None
        self._weight = None if is_packed else weight
        self.packed = pack_plain(weight, self._laid_out, bias) if has_rows and self._laid_out is not None else None
        self._bias = bias

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if self._weight is not None:
            return F.linear(rows, self._weight, self._bias)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._laid_out, self._bias, "none", [], "")
        return product


class Int8Linear:
    """A weight in 8 bits and a scale for each output."""

    __slots__ = ("_bias", "_codes", "_many", "_scales")
    packed = None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self._codes, self._scales = to_int8(weight)
        self._many = PlainLinear(from_int8(self._codes, self._scales), bias)
        self._bias = bias

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > INT8_ROWS:
            return self._many(rows)
        return _biased(torch.ops.aten._weight_int8pack_mm(rows, self._codes, self._scales), self._bias)


class Int4Linear:
    """A weight in 4 bits, with a scale and an offset for each group of inputs."""

    __slots__ = ("_bias", "_groups", "_many", "_packed")
    packed = None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        quantised = to_int4(weight)
        self._many = PlainLinear(from_int4(quantised), bias)
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(quantised.codes, 1)
        self._groups = torch.stack((quantised.scales, quantised.offsets), -1).transpose(0, 1).contiguous()
        self._bias = bias

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > INT4_ROWS:
            return self._many(rows)
        product = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self._packed, INT4_GROUP, self._groups)
        return _biased(product, self._bias)


class QuantisedLinear:
    """A weight in 8 or 4 bits that our own kernels take for a few rows; here is what all others meet."""

    __slots__ = ("_many", "packed")

    def __init__(self, packed: Packed, many: PlainLinear) -> None:
        self.packed = packed
        self._many = many

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return self._many(rows)


def linear(
    weight: torch.Tensor, bias: torch.Tensor | None = None, weights: str = "", *, has_rows: bool = False
) -> Linear:
    """A product in the precision asked for, by the kernels there are; `has_rows`: our own are among them.

    What does not come in whole groups of 4 bits is kept in 8.
    """
    num_outputs, num_inputs = weight.shape
    fits = num_outputs % INT4_OUTPUTS == 0 and num_inputs % INT4_GROUP == 0
    if has_rows and weights == "int4" and fits:
        int4 = to_int4(weight)
        packed = pack_int4(int4.codes, int4.scales, int4.offsets, bias)
        return QuantisedLinear(packed, PlainLinear(from_int4(int4), bias))
    if has_rows and weights:
        int8 = to_int8(weight)
        return QuantisedLinear(pack_int8(*int8, bias), PlainLinear(from_int8(*int8), bias))
    if weights == "int4" and fits:
        return Int4Linear(weight, bias) if has_int4_kernel() else PlainLinear(from_int4(to_int4(weight)), bias)
    if weights:
        return Int8Linear(weight, bias) if has_int8_kernel() else PlainLinear(from_int8(*to_int8(weight)), bias)
    return PlainLinear(weight, bias, has_rows=has_rows)


def to_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes `[out, in]` and scales `[out]`: the largest weight of an output is 127 or -127 scales."""
    codes, scales = zip(*map(_piece_to_int8, torch.split(weight, PIECE_OUTPUTS)), strict=True)
    return torch.cat(codes), torch.cat(scales)


def _piece_to_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    wide = weight.float()
    scales = (wide.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny).to(weight.dtype)
    return (wide / scales.float().unsqueeze(1)).round_().clamp_(-127, 127).to(torch.int8), scales


def from_int8(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The weight the codes stand for."""
    return codes.to(scales.dtype).mul_(scales.unsqueeze(1))


@dataclass(frozen=True, slots=True)
class Int4:
    """`offset + (code - 8) * scale` for each weight."""

    codes: torch.Tensor  # int32 [out, in], 0 to 15
    scales: torch.Tensor  # [out, groups]
    offsets: torch.Tensor  # [out, groups]


def to_int4(weight: torch.Tensor) -> Int4:
    """Codes from least to largest of a group, then the scale and offset that fit them best, then the codes of those.

    On normal weights this is 5 % nearer than codes from least to largest, and 14 % nearer than llama.cpp's Q4_0.
    """
    pieces = list(map(_piece_to_int4, torch.split(weight, PIECE_OUTPUTS)))
    return Int4(
        torch.cat([piece.codes for piece in pieces]),
        torch.cat([piece.scales for piece in pieces]),
        torch.cat([piece.offsets for piece in pieces]),
    )


def _piece_to_int4(weight: torch.Tensor) -> Int4:
    groups = weight.float().view(len(weight), -1, INT4_GROUP)
    least, largest = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scales = ((largest - least) / 15).clamp_(min=torch.finfo(torch.float32).tiny)
    codes = _codes(groups, scales, least + 8 * scales).sub_(8)
    total, square, product = codes.sum(-1, True), codes.square().sum(-1, True), (codes * groups).sum(-1, True)
    mean, weighed = groups.mean(-1, keepdim=True), square - total * total / INT4_GROUP
    better = (product - total * mean) / weighed
    scales = torch.where(weighed > 0, better, scales).to(weight.dtype)  # equal weights have one code
    offsets = (mean - scales.float() * total / INT4_GROUP).to(weight.dtype)
    codes = _codes(groups, scales.float(), offsets.float())
    return Int4(codes.to(torch.int32).flatten(1), scales.squeeze(-1), offsets.squeeze(-1))


def from_int4(quantised: Int4) -> torch.Tensor:
    """The weight the codes stand for."""
    parts = (torch.split(each, PIECE_OUTPUTS) for each in (quantised.codes, quantised.scales, quantised.offsets))
    pieces = zip(*parts, strict=True)
    return torch.cat([_piece_from_int4(Int4(*piece)) for piece in pieces])


def _piece_from_int4(quantised: Int4) -> torch.Tensor:
    codes = quantised.codes.view(len(quantised.codes), -1, INT4_GROUP).float() - 8
    groups: torch.Tensor = codes * quantised.scales.float().unsqueeze(-1) + quantised.offsets.float().unsqueeze(-1)
    return groups.flatten(1).to(quantised.scales.dtype)


@cache
def has_int8_kernel() -> bool:
    """Whether this torch computes with 8-bit weights on this processor."""
    codes, scales = to_int8(torch.ones(INT4_OUTPUTS, INT4_GROUP))
    try:
        torch.ops.aten._weight_int8pack_mm(torch.ones(1, INT4_GROUP), codes, scales)
    except (AttributeError, RuntimeError):  # no such operator, or none for this processor
        return False
    return True


@cache
def has_int4_kernel() -> bool:
    """Whether this torch computes with 4-bit weights on this processor."""
    try:
        Int4Linear(torch.ones(INT4_OUTPUTS, INT4_GROUP))(torch.ones(1, INT4_GROUP))
    except (AttributeError, RuntimeError):
        return False
    return True


def _codes(groups: torch.Tensor, scales: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    return ((groups - offsets) / scales).add_(8).round_().clamp_(0, 15)


def _biased(product: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return product if bias is None else product.add_(bias)
