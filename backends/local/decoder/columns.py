"""Compiled: weights of a softmax over columns. `softmax` is its typed side; numba has no types."""

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

LOG2_E = np.float32(1.4426950408889634)
ROUNDER = np.float32(12582912.0)  # 1.5 * 2**23: what is added to it loses its fraction
CUBE, SQUARE, LINEAR = np.float32(0.05550411), np.float32(0.24022651), np.float32(0.69314718)
# of 2**x within half of zero: 0.01 % off where bfloat16 is 0.2 %
ONE, NOTHING = np.float32(1.0), np.float32(0.0)
FARTHEST = np.float32(-87.0)  # from the largest score; what is farther away weighs no less


@intrinsic
def _number(_typing, _bits):
    def generate(context, builder, _signature, values):
        return builder.bitcast(values[0], context.get_value_type(types.float32))

    return types.float32(types.uint32), generate


@intrinsic
def _bits(_typing, _number):
    def generate(context, builder, _signature, values):
        return builder.bitcast(values[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), generate


def _weigh(scores, sums):
    heads, keys, queries = scores.shape
    largest = np.empty(queries, np.int16)
    shift = np.empty(queries, np.float32)
    for head in range(heads):
        total = sums[head]
        largest[:] = np.int16(-32768)
        for key in range(keys):
            signed = scores[head, key].view(np.int16)
            for i in range(queries):  # as integers, negative numbers run the other way
                ordered = np.int16(signed[i] ^ ((signed[i] >> np.int16(15)) & np.int16(0x7FFF)))
                largest[i] = max(largest[i], ordered)
        for i in range(queries):
            ordered = np.int16(largest[i] ^ ((largest[i] >> np.int16(15)) & np.int16(0x7FFF)))
            shift[i] = _number(np.uint32(ordered) << np.uint32(16))
            total[i] = NOTHING
        for key in range(keys):
            line = scores[head, key]
            for i in range(queries):
                x = max(_number(np.uint32(line[i]) << np.uint32(16)) - shift[i], FARTHEST) * LOG2_E
                rounded = x + ROUNDER
                rest = x - (rounded - ROUNDER)
                power = ((CUBE * rest + SQUARE) * rest + LINEAR) * rest + ONE
                weight = np.uint32(_bits(power) + (_bits(rounded) << np.uint32(23)))
                total[i] += _number(weight)
                line[i] = np.uint16(np.uint32(weight + np.uint32(0x8000)) >> np.uint32(16))


def compiled():
    """The kernel, kept for the next start where a directory can be written to."""
    signature, ways = "void(uint16[:, :, ::1], float32[:, ::1])", {"fastmath": {"nsz", "contract"}, "nogil": True}
    try:
        return njit([signature], cache=True, **ways)(_weigh)
    except RuntimeError:  # no such directory
        return njit([signature], **ways)(_weigh)
