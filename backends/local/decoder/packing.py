"""Weights laid out for a few rows, in tiles of 64 or 16 outputs; every number is the inputs' in turn.

    # float32   [out / 64][in][64]           as oneDNN lays it out, read where it lies
    # bfloat16  [out / 64][in / 2][64][2]    the same
    # int8      [out / 16][in / 32][8][16][4]   code + 128; the scales of the outputs lie apart
    # int4      [out / 16][in / 32][4][16][4]   code i in the low halves, code i + 16 in the high ones, and behind
    #                                           each such block its 16 scales and 16 offsets, bfloat16

Outputs and inputs are filled up to whole tiles with zeros.
"""

import ctypes
from dataclasses import dataclass
from itertools import islice

import torch
from torch.nn import functional as F

FLOAT32, BFLOAT16, INT8, INT4 = range(4)
WIDE, NARROW = 64, 16  # outputs of a tile: of plain weights, of quantised ones
GROUP = 32  # inputs
INT8_BYTES, INT4_BYTES = 512, 320  # of a group of a tile
BYTES_OF = (4.0, 2.0, INT8_BYTES / GROUP / NARROW, INT4_BYTES / GROUP / NARROW)  # of a weight, by kind
LAYOUT = (FLOAT32, BFLOAT16, INT8, INT4, WIDE, NARROW, GROUP, INT8_BYTES, INT4_BYTES)  # `kernels` has the same


@dataclass(frozen=True, slots=True)
class Packed:
    """A weight as the kernels read it; it holds what it points to."""

    kind: int
    address: int
    depth: int  # inputs, pairs or groups of a tile
    outputs: int
    inputs: int
    bias: torch.Tensor | None
    scales: torch.Tensor | None
    held: torch.Tensor

    def line(self) -> list[int]:
        """What the kernels are told."""
        places = [0 if each is None else each.data_ptr() for each in (self.bias, self.scales)]
        return [self.kind, self.address, self.depth, self.outputs, self.inputs, *places]


def pack_plain(weight: torch.Tensor, laid_out: torch.Tensor, bias: torch.Tensor | None) -> Packed | None:
    """The weight where oneDNN has laid it out; None when that is not as the kernels know it."""
    outputs, inputs = weight.shape
    kind, each = (BFLOAT16, 2) if weight.dtype == torch.bfloat16 else (FLOAT32, 1)
    num_bytes: int = torch.ops.mkldnn._nbytes(laid_out)
    tiles = -(-outputs // WIDE)
    depth, rest = divmod(num_bytes, tiles * WIDE * 4)
    if weight.dtype not in (torch.bfloat16, torch.float32) or rest or depth * each < inputs:
        return None
    address: int = torch.ops.mkldnn.data_ptr(laid_out)
    for number in _telling(weight, tiles):
        tile = weight[number * WIDE : (number + 1) * WIDE]
        padded = F.pad(tile, (0, depth * each - inputs, 0, WIDE - len(tile)))
        expected = padded.view(WIDE, depth, each).transpose(0, 1).contiguous().view(-1)
        if not torch.equal(_borrowed(address + number * expected.nbytes, expected), expected):
            return None
    return Packed(kind, address, depth, outputs, inputs, _wide(bias), None, laid_out)


def _telling(weight: torch.Tensor, tiles: int) -> set[int]:
    """The first and the last tile that is not all zeros, which look the same however they lie."""

    def first(numbers: range) -> list[int]:
        return list(islice((each for each in numbers if weight[each * WIDE : (each + 1) * WIDE].any()), 1))

    return {*first(range(tiles)), *first(range(tiles)[::-1])}


def _borrowed(address: int, like: torch.Tensor) -> torch.Tensor:
    """Memory that oneDNN owns, as long as it does."""
    buffer = (ctypes.c_uint8 * like.nbytes).from_address(address)
    return torch.frombuffer(buffer, dtype=like.dtype)


def pack_int8(codes: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> Packed:
    """Codes `[out, in]` from -127 to 127 and a scale for each output."""
    (outputs, inputs), padded = codes.shape, _whole(codes)
    tiles, groups = len(padded) // NARROW, padded.shape[1] // GROUP
    packed = padded.view(torch.uint8).bitwise_xor(128).view(tiles, NARROW, groups, 8, 4).permute(0, 2, 3, 1, 4)
    packed = packed.contiguous()
    wide = F.pad(scales.float(), (0, len(padded) - outputs))
    return Packed(INT8, packed.data_ptr(), groups, outputs, inputs, _wide(bias), wide, packed)


def pack_int4(codes: torch.Tensor, scales: torch.Tensor, offsets: torch.Tensor, bias: torch.Tensor | None) -> Packed:
    """Codes `[out, in]` from 0 to 15, and for each group a scale and an offset, bfloat16."""
    outputs, inputs = codes.shape
    tiles, groups = outputs // NARROW, inputs // GROUP
    quads = codes.to(torch.uint8).view(tiles, NARROW, groups, 8, 4).permute(0, 2, 3, 1, 4)
    halves = quads[:, :, :4].bitwise_or(quads[:, :, 4:] << 4).reshape(tiles, groups, -1)
    about = torch.stack((scales, offsets)).view(2, tiles, NARROW, groups).permute(1, 3, 0, 2).contiguous()
    packed = torch.cat((halves, about.view(torch.uint8).reshape(tiles, groups, -1)), -1)
    return Packed(INT4, packed.data_ptr(), groups, outputs, inputs, _wide(bias), None, packed)


def _whole(codes: torch.Tensor) -> torch.Tensor:
    outputs, inputs = codes.shape
    return F.pad(codes, (0, -inputs % GROUP, 0, -outputs % NARROW))


def _wide(bias: torch.Tensor | None) -> torch.Tensor | None:
    return None if bias is None else bias.float().contiguous()
