# ruff: noqa: ARG001 - what numba calls has the arguments numba gives
"""Compiled kernels for a few rows: products that read a weight once at the speed of memory, and a whole step of them.

The only file that knows numba, which has no types: `rows` is its typed side. Tensors come as addresses, weights as
`packing` lays them out.

Each sum of a tile is a lane of a register, added to in the order of the inputs, and whatever else a row needs is
computed row by row: a row's result does not depend, to the bit, on how many rows are computed with it.

Quantised weights take activations in 8 bits, a scale for each 32 of them, as llama.cpp does it.
"""

from functools import partial

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

# Numbers end up in compiled code, and what numba has kept of that is dropped when this file changes, and no other: so
# those of `packing` are written again, and `rows` compares them.
FLOAT32, BFLOAT16, INT8, INT4 = range(4)
WIDE, NARROW, GROUP, INT8_BYTES, INT4_BYTES = 64, 16, 32, 512, 320
LAYOUT = (FLOAT32, BFLOAT16, INT8, INT4, WIDE, NARROW, GROUP, INT8_BYTES, INT4_BYTES)
MOST_ROWS = 8
STATISTICS = 4  # of a group of activations: scale, -8 sum, scale * sum, -128 sum
(KIND, WEIGHT, DEPTH, OUTPUTS, INPUTS, BIAS, SCALES), PRODUCT = range(7), 7  # columns of a product's line
ATTENTION_NORM, QUERY_NORM, KEY_NORM, MLP_NORM, WINDOW, QKV = range(6)  # columns of a layer's, then its products
OUTPUT, GATE_UP, DOWN = QKV + PRODUCT, QKV + 2 * PRODUCT, QKV + 3 * PRODUCT
SEEN, SLAB, CAPACITY = range(3)  # columns of a row's: how many tokens it sees, itself among them, and where

_FEATURES = llvm.get_host_cpu_features()
_HAS_BFLOAT16 = bool(_FEATURES.get("avx512bf16"))
HAS_INT8 = bool(_FEATURES.get("avx512vnni"))

_i8, _i16, _i32, _i64, _f32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_F, _I, _H = ir.VectorType(_f32, 16), ir.VectorType(_i32, 16), ir.VectorType(_i16, 16)
BYTES = 64  # of a register
_ANY_ORDER = {"reassoc", "contract", "nsz"}  # of sums within a row; not a number stays one
AHEAD, FURTHER, FURTHEST = 2048, 8192, 16384  # bytes of weights that memory is asked for ahead
CHUNK = 64  # inputs, or pairs, of a tile that eight rows read in two goes


def _kept(function):
    """Compiled without the interpreter's lock, and kept for the next start where a directory can be written to."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no such directory
        return njit(nogil=True)(function)


class _Emit:
    """Vector instructions over addresses."""

    def __init__(self, builder):
        self.b = builder

    def int(self, value):
        return ir.Constant(_i64, value)

    def const(self, value, kind):
        return ir.Constant(kind, [value] * kind.count)

    def at(self, address, offset):
        return self.b.inttoptr(self.b.add(address, self.int(offset)), ir.PointerType())

    def load(self, kind, address, offset=0):
        return self.b.load(self.at(address, offset), align=1, typ=kind)

    def store(self, value, address, offset=0):
        self.b.store(value, self.at(address, offset), align=1)

    def spread(self, kind, address, offset=0):
        """One number of memory in every lane."""
        one = self.b.insert_element(
            ir.Constant(kind, ir.Undefined), self.load(kind.element, address, offset), ir.Constant(_i32, 0)
        )
        return self.b.shuffle_vector(one, one, self.const(0, _I))

    def call(self, name, result, *arguments):
        form = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, form, name), arguments)

    def fma(self, x, y, z):
        return self.call("llvm.fmuladd.v16f32", _F, x, y, z)

    def prefetch(self, address, lines, ahead=AHEAD, near=3):
        """Have memory read ahead, into the first cache (3) or the second (2)."""
        for line in lines:
            where = self.at(address, ahead + BYTES * line)
            form = ir.FunctionType(ir.VoidType(), [ir.PointerType(), _i32, _i32, _i32])
            prefetch = cgutils.get_or_insert_function(self.b.module, form, "llvm.prefetch.p0")
            self.b.call(prefetch, [where, *(ir.Constant(_i32, how) for how in (0, near, 1))])

    def variable(self):
        """A register of zeros."""
        place = cgutils.alloca_once(self.b, _F)
        self.write(self.const(0.0, _F), place)
        return place

    def read(self, place):
        return self.b.load(place, typ=_F)

    def write(self, value, place):
        self.b.store(value, place)

    def times(self, address, step, index):
        """`address + step * index`; one of both is known."""
        step, index = (each if isinstance(each, ir.Value) else self.int(each) for each in (step, index))
        return self.b.add(address, self.b.mul(step, index))

    def add(self, number, known):
        return self.b.add(number, self.int(known))

    def across(self, registers):
        """The sum of each of 16 registers, in one."""
        for distance in (8, 4, 2, 1):
            ours = [lane if not lane & distance else lane + 16 for lane in range(16)]
            theirs = [lane ^ distance for lane in ours]
            masks = [ir.Constant(_I, lanes) for lanes in (ours, theirs)]
            pairs = zip(registers[:distance], registers[distance:], strict=True)
            registers = [self.b.fadd(*(self.b.shuffle_vector(x, y, mask) for mask in masks)) for x, y in pairs]
        return registers[0]

    def widen(self, halves):
        """16 numbers of bfloat16 as float32."""
        return self.b.bitcast(self.b.shl(self.b.zext(halves, _I), self.const(16, _I)), _F)


def _wide_tile(add):
    """64 outputs of plain weights, four bytes of each at a time."""

    def few(e, rows, own, weights, inputs, start, stop, outputs, stride, prefetch):
        """Up to four of the rows, as many as there are registers for, over inputs [start, stop)."""
        sums = {(part, row): e.variable() for part in range(4) for row in own}
        for (part, row), total in sums.items():
            e.write(e.load(_F, e.times(outputs, row, stride), BYTES * part), total)
        with cgutils.for_range_slice(e.b, start, stop, e.int(1)) as (index, _):
            tile, here = e.times(weights, 4 * BYTES, index), e.times(inputs, 4 * rows, index)
            prefetch(tile)
            found = [e.load(_I, tile, BYTES * part) for part in range(4)]
            for row in own:
                value = e.spread(_I, here, 4 * row)
                for part in range(4):
                    e.write(add(e, found[part], value, e.read(sums[part, row])), sums[part, row])
        for (part, row), total in sums.items():
            e.store(e.read(total), e.times(outputs, row, stride), BYTES * part)

    def tile(e, rows, weights, inputs, statistics, count, scales, outputs, stride):
        for row in range(rows):
            for part in range(4):
                e.store(e.const(0.0, _F), e.times(outputs, row, stride), BYTES * part)
        if rows <= 4:
            near = partial(e.prefetch, lines=range(4), ahead=FURTHER if rows > 1 else AHEAD)
            few(e, rows, range(rows), weights, inputs, e.int(0), count, outputs, stride, near)
            return
        with cgutils.for_range_slice(e.b, e.int(0), count, e.int(CHUNK)) as (start, _):
            stop = e.add(start, CHUNK)
            stop = e.b.select(e.b.icmp_signed("<", stop, count), stop, count)
            for first in (0, 4):  # each fetches half of what comes later: memory is to be busy all the time
                far = partial(e.prefetch, lines=range(first // 2, first // 2 + 2), ahead=FURTHEST, near=2)
                few(e, rows, range(first, first + 4), weights, inputs, start, stop, outputs, stride, far)

    return tile


def _add_float32(e, weight, value, total):
    return e.fma(e.b.bitcast(weight, _F), e.b.bitcast(value, _F), total)


def _add_bfloat16(e, weight, pair, total):
    if _HAS_BFLOAT16:
        return e.call("llvm.x86.avx512bf16.dpbf16ps.512", _F, total, weight, pair)
    total = _add_float32(e, e.b.shl(weight, e.const(16, _I)), e.b.shl(pair, e.const(16, _I)), total)
    high = e.const(-65536, _I)
    return _add_float32(e, e.b.and_(weight, high), e.b.and_(pair, high), total)


def _int8_tile(e, rows, weights, inputs, statistics, count, scales, outputs, stride):
    sums = [e.variable() for _ in range(rows)]
    with cgutils.for_range(e.b, count) as loop:
        own, about = e.times(weights, INT8_BYTES, loop.index), e.times(statistics, 4 * STATISTICS * rows, loop.index)
        here = e.times(inputs, GROUP * rows, loop.index)
        e.prefetch(own, range(8))
        codes = [e.load(_I, own, BYTES * quad) for quad in range(8)]
        for row, total in enumerate(sums):
            dot = _dot(e, codes, here, row, rows, e.spread(_I, about, 4 * STATISTICS * row + 12))
            scale = e.spread(_F, about, 4 * STATISTICS * row)
            e.write(e.fma(e.b.sitofp(dot, _F), scale, e.read(total)), total)
    scale = e.load(_F, scales)
    for row, total in enumerate(sums):
        e.store(e.b.fmul(e.read(total), scale), e.times(outputs, row, stride))


def _int4_tile(e, rows, weights, inputs, statistics, count, scales, outputs, stride):
    sums, low, four = [e.variable() for _ in range(rows)], e.const(0x0F0F0F0F, _I), e.const(4, _I)
    with cgutils.for_range(e.b, count) as loop:
        own, about = e.times(weights, INT4_BYTES, loop.index), e.times(statistics, 4 * STATISTICS * rows, loop.index)
        here = e.times(inputs, GROUP * rows, loop.index)
        e.prefetch(own, range(5), FURTHER)
        packed = [e.load(_I, own, BYTES * quad) for quad in range(4)]
        codes = [e.b.and_(both, low) for both in packed] + [e.b.and_(e.b.lshr(both, four), low) for both in packed]
        scale, offset = e.widen(e.load(_H, own, 256)), e.widen(e.load(_H, own, 288))
        for row, total in enumerate(sums):
            at = 4 * STATISTICS * row
            dot = e.b.sitofp(_dot(e, codes, here, row, rows, e.spread(_I, about, at + 4)), _F)
            before = e.fma(offset, e.spread(_F, about, at + 8), e.read(total))
            e.write(e.fma(dot, e.b.fmul(scale, e.spread(_F, about, at)), before), total)
    for row, total in enumerate(sums):
        e.store(e.read(total), e.times(outputs, row, stride))


def _dot(e, codes, here, row, rows, start):
    """Codes from 0 to 255 times signed ones, 16 outputs by 32 inputs."""
    for quad, four in enumerate(codes):
        start = e.call("llvm.x86.avx512.vpdpbusd.512", _I, start, four, e.spread(_I, here, 4 * (quad * rows + row)))
    return start


_TILES = {FLOAT32: _wide_tile(_add_float32), BFLOAT16: _wide_tile(_add_bfloat16)}
if HAS_INT8:
    _TILES |= {INT8: _int8_tile, INT4: _int4_tile}


@intrinsic
def _multiply(typing, kind, rows, tiles, tile_bytes, weights, inputs, statistics, count, scales, outputs, stride, like):
    """Every tile of a weight, for rows laid side by side; of a kind that there is in models stored `like` it."""
    kinds = (FLOAT32,) if like == types.float32 else (BFLOAT16, INT8, INT4)

    def generate(context, builder, signature, values):
        kind, rows, tiles, tile_bytes, weights, inputs, statistics, count, scales, outputs, stride, _ = values
        emit = _Emit(builder)
        for own_kind, fill in [(each, _TILES[each]) for each in kinds if each in _TILES]:
            width = emit.int(4 * (NARROW if own_kind in (INT8, INT4) else WIDE))
            for own_rows in (1, 2, 4, 8):
                is_kind = builder.icmp_signed("==", kind, emit.int(own_kind))
                is_rows = builder.icmp_signed("==", rows, emit.int(own_rows))
                with builder.if_then(builder.and_(is_kind, is_rows)), cgutils.for_range(builder, tiles) as loop:
                    skipped = builder.mul(loop.index, width)
                    own_weights = builder.add(weights, builder.mul(loop.index, tile_bytes))
                    own_scales, own_outputs = builder.add(scales, skipped), builder.add(outputs, skipped)
                    fill(emit, own_rows, own_weights, inputs, statistics, count, own_scales, own_outputs, stride)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 11, like), generate


def _add(like):
    """How a register of stored numbers is multiplied by another, and added."""
    return _add_float32 if like == types.float32 else _add_bfloat16


@intrinsic
def _dots(typing, query, keys, count, key_bytes, scores, like):
    """A query, stored as the keys are, times each key; keys have whole registers. Scores are filled up to 16."""

    def generate(context, builder, signature, values):
        query, keys, count, key_bytes, scores, _ = values
        e = _Emit(builder)
        blocks = builder.lshr(builder.add(count, e.int(15)), e.int(4))
        last = builder.sub(count, e.int(1))
        with cgutils.for_range(builder, blocks) as block:
            sums, places = [e.variable() for _ in range(16)], []
            for number in range(16):
                at = e.add(builder.mul(block.index, e.int(16)), number)
                at = builder.select(builder.icmp_signed("<", at, last), at, last)
                places.append(builder.add(keys, builder.mul(at, key_bytes)))
            with cgutils.for_range(builder, builder.lshr(key_bytes, e.int(6))) as loop:
                own = e.load(_I, e.times(query, BYTES, loop.index))
                for place, total in zip(places, sums, strict=True):
                    key = e.load(_I, e.times(place, BYTES, loop.index))
                    e.write(_add(like)(e, key, own, e.read(total)), total)
            e.store(e.across([e.read(total) for total in sums]), e.times(scores, BYTES, block.index))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5, like), generate


@intrinsic
def _blend(typing, heads, weights, stride, values, count, value_bytes, into, into_stride, like):
    """The sum of weighed values for 1 to 4 heads; values have whole 32 dimensions, or 64 at a time."""
    size, kind = (4, _F) if like == types.float32 else (2, _H)

    def generate(context, builder, signature, arguments):
        heads, weights, stride, values, count, value_bytes, into, into_stride, _ = arguments
        e = _Emit(builder)
        is_odd = builder.and_(value_bytes, e.int(32 * size))
        for own_heads, registers in [(number, width) for number in range(1, 5) for width in (2, 4)]:
            is_width = builder.icmp_signed("!=" if registers == 2 else "==", is_odd, e.int(0))
            is_heads = builder.icmp_signed("==", heads, e.int(own_heads))
            step = 16 * registers * size
            with (
                builder.if_then(builder.and_(is_heads, is_width)),
                cgutils.for_range(builder, builder.sdiv(value_bytes, e.int(step))) as part,
            ):
                sums = {(head, j): e.variable() for head in range(own_heads) for j in range(registers)}
                with cgutils.for_range(builder, count) as loop:
                    own = builder.add(e.times(values, step, part.index), builder.mul(value_bytes, loop.index))
                    found = [e.load(kind, own, 16 * size * j) for j in range(registers)]
                    found = found if kind is _F else [e.widen(halves) for halves in found]
                    for head in range(own_heads):
                        weight = e.spread(_F, e.times(e.times(weights, stride, head), 4, loop.index))
                        for j, value in enumerate(found):
                            e.write(e.fma(weight, value, e.read(sums[head, j])), sums[head, j])
                for (head, j), total in sums.items():
                    place = e.times(e.times(into, into_stride, head), registers * BYTES, part.index)
                    e.store(e.read(total), place, BYTES * j)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8, like), generate


@intrinsic
def _pointer(typing, address):
    return types.voidptr(types.int64), lambda _, builder, __, values: builder.inttoptr(values[0], ir.PointerType())


@intrinsic
def _wide(typing, number):
    """A stored number as float32; uint16 is bfloat16."""

    def generate(context, builder, signature, values):
        if number == types.float32:
            return values[0]
        return builder.bitcast(builder.shl(builder.zext(values[0], _i32), ir.Constant(_i32, 16)), _f32)

    return types.float32(number), generate


@intrinsic
def _stored(typing, number, like):
    """float32 as numbers `like` it are stored, to the nearest even one."""

    def generate(context, builder, signature, values):
        if like == types.float32:
            return values[0]
        bits, sixteen = builder.bitcast(values[0], _i32), ir.Constant(_i32, 16)
        last = builder.and_(builder.lshr(bits, sixteen), ir.Constant(_i32, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(_i32, 0x7FFF)), last)
        return builder.trunc(builder.lshr(rounded, sixteen), _i16)

    return like(types.float32, like), generate


@intrinsic
def _number(typing, bits):
    return types.float32(types.uint32), lambda _, builder, __, values: builder.bitcast(values[0], _f32)


@intrinsic
def _even(typing, number):
    """The nearest whole number."""

    def generate(context, builder, signature, values):
        form = ir.FunctionType(_f32, [_f32])
        return builder.call(cgutils.get_or_insert_function(builder.module, form, "llvm.rint.f32"), values)

    return types.float32(types.float32), generate


@njit(inline="always")
def _exp(x):
    """exp of a number that is not positive; as near as float32 goes but for the last bits."""
    x = max(x, np.float32(-87.0))
    whole = _even(x * np.float32(1.4426950408889634))
    rest = (x - whole * np.float32(0.693359375)) + whole * np.float32(2.12194440e-4)
    found = np.float32(1.9875691500e-4)
    found = found * rest + np.float32(1.3981999507e-3)
    found = found * rest + np.float32(8.3334519073e-3)
    found = found * rest + np.float32(4.1665795894e-2)
    found = found * rest + np.float32(1.6666665459e-1)
    found = found * rest + np.float32(5.0000001201e-1)
    found = found * rest * rest + rest + np.float32(1.0)
    return found * _number(np.uint32((np.int32(whole) + np.int32(127)) << np.int32(23)))


@njit(inline="always")
def _floats(address, count):
    return carray(_pointer(address), (count,), np.float32)


@njit(fastmath=_ANY_ORDER)
def _norm(row, weight, eps, into):
    total = np.float32(0.0)
    count = len(row)
    for i in range(count):
        total += row[i] * row[i]
    scale = np.float32(1.0) / np.sqrt(total / np.float32(count) + np.float32(eps))
    for i in range(count):
        into[i] = row[i] * scale * weight[i]


@njit(fastmath=_ANY_ORDER)
def _prepare(kind, row, place, rows, codes, statistics):
    """Write a row of activations as the tiles of a kind read it: four bytes of each row in turn."""
    count = len(row)
    if kind == FLOAT32:
        numbers = codes.view(np.float32)
        for i in range(count):
            numbers[i * rows + place] = row[i]
    elif kind == BFLOAT16:
        pairs = codes.view(np.uint32)
        for pair in range(count // 2):
            high = np.uint32(_stored(row[2 * pair + 1], np.uint16(0))) << np.uint32(16)
            pairs[pair * rows + place] = high | np.uint32(_stored(row[2 * pair], np.uint16(0)))
        if count % 2:
            pairs[count // 2 * rows + place] = _stored(row[count - 1], np.uint16(0))
    else:
        signed, sums = codes.view(np.int8), statistics.view(np.int32)
        for group in range((count + GROUP - 1) // GROUP):
            start = group * GROUP
            stop = min(start + GROUP, count)
            largest, nothing = np.float32(0.0), np.float32(0.0)
            for i in range(start, stop):
                largest = max(largest, abs(row[i]))
                nothing += np.float32(0.0) * row[i]  # unless that is not a finite number: a sum shall not be one either
            inverse = np.float32(127.0) / largest if largest > np.float32(1e-30) else np.float32(0.0)
            total = np.int32(0)
            for i in range(GROUP):
                code = np.int32(_even(row[start + i] * inverse)) if start + i < stop else np.int32(0)
                signed[((start + i) // 4 * rows + place) * 4 + i % 4] = np.int8(code)
                total += code
            at = (group * rows + place) * STATISTICS
            scale = largest / np.float32(127.0) + nothing
            statistics[at] = scale
            sums[at + 1] = -8 * total
            statistics[at + 2] = scale * np.float32(total)
            sums[at + 3] = -128 * total


@njit
def _product(line, inputs, scratch, outputs, like):
    """Up to eight rows times a weight, and its bias. `outputs` has room for whole tiles of 1, 2, 4 or 8 rows."""
    codes, statistics = scratch
    kind, rows = line[KIND], len(inputs)
    padded = 1 if rows == 1 else 2 if rows == 2 else 4 if rows <= 4 else 8
    for row in range(rows):
        _prepare(kind, inputs[row, : line[INPUTS]], row, padded, codes, statistics)
    width, count, tile_bytes = NARROW, (line[INPUTS] + GROUP - 1) // GROUP, INT8_BYTES
    if kind == FLOAT32:
        width, count, tile_bytes = WIDE, line[INPUTS], 4 * WIDE
    elif kind == BFLOAT16:
        width, count, tile_bytes = WIDE, (line[INPUTS] + 1) // 2, 4 * WIDE
    elif kind == INT4:
        tile_bytes = INT4_BYTES
    _multiply(
        kind,
        padded,
        (line[OUTPUTS] + width - 1) // width,
        tile_bytes * line[DEPTH],
        line[WEIGHT],
        codes.ctypes.data,
        statistics.ctypes.data,
        count,
        line[SCALES],
        outputs.ctypes.data,
        outputs.strides[0],
        like,
    )
    if line[BIAS]:
        bias = _floats(line[BIAS], line[OUTPUTS])
        for row in range(rows):
            for i in range(len(bias)):
                outputs[row, i] += bias[i]


@njit(inline="always")
def _scratch(inputs):
    """Where up to eight rows of so many inputs are prepared."""
    groups = inputs // GROUP + 1
    return np.empty(MOST_ROWS * groups * GROUP * 4, np.uint8), np.empty(MOST_ROWS * groups * STATISTICS, np.float32)


@_kept
def product(line, inputs, outputs, like):
    """Up to eight float32 rows times a weight of a model stored `like` it; `outputs` has room for eight."""
    _product(line, inputs, _scratch(line[INPUTS]), outputs, like)


@njit(inline="always")
def _tokens(slab, head, first, stop, capacity, dim, like):
    """Keys or values of a head, of tokens [first, stop), in the slab of a layer."""
    address = slab + (head * capacity + first) * dim * like.itemsize
    return carray(_pointer(address), (stop - first, dim), like.dtype)


@njit(fastmath=_ANY_ORDER)
def _score(query, keys, own, scores):
    """How near each key is to a query; `own` is room for the query, stored as the keys are."""
    dim = len(query)
    for d in range(dim):
        own[d] = _stored(query[d], own[0])
    if dim * keys.itemsize % BYTES == 0:
        _dots(own.ctypes.data, keys.ctypes.data, len(keys), dim * keys.itemsize, scores.ctypes.data, own[0])
        return
    for t in range(len(keys)):
        score = np.float32(0.0)
        for d in range(dim):
            score += _wide(own[d]) * _wide(keys[t, d])
        scores[t] = score


@njit(fastmath=_ANY_ORDER)
def _soften(scores):
    """Weights that are 1 in sum."""
    largest = np.float32(-np.inf)
    for t in range(len(scores)):
        largest = max(largest, scores[t])
    total = np.float32(0.0)
    for t in range(len(scores)):
        weight = _exp(scores[t] - largest)
        scores[t] = weight
        total += weight
    scale = np.float32(1.0) / total
    for t in range(len(scores)):
        scores[t] *= scale


@njit(fastmath=_ANY_ORDER)
def _gather(scores, values, into):
    heads, dim = into.shape
    if dim % 32 == 0:
        for head in range(0, heads, 4):
            _blend(
                min(4, heads - head),
                scores[head:].ctypes.data,
                scores.strides[0],
                values.ctypes.data,
                len(values),
                dim * values.itemsize,
                into[head:].ctypes.data,
                into.strides[0],
                values[0, 0],
            )
        return
    for head in range(heads):
        own = into[head]
        own[:] = np.float32(0.0)
        for t in range(len(values)):
            for d in range(dim):
                own[d] += scores[head, t] * _wide(values[t, d])


@njit
def _attend(head, heads, spot, slab, window, kv_heads, own, scores, into):
    """Attention of one row over what it sees of a head of its slab, its own key and value included."""
    seen, capacity, dim = spot[SEEN], spot[CAPACITY], heads.shape[1]
    first = max(0, seen - window) if window else 0
    group = len(into) // kv_heads
    start = head * group
    keys = _tokens(slab, head, first, seen, capacity, dim, own)
    values = _tokens(slab, kv_heads + head, first, seen, capacity, dim, own)
    for number in range(group):
        _score(heads[start + number], keys, own, scores[number])
        _soften(scores[number, : seen - first])
    _gather(scores, values, into[start : start + group])


@njit(fastmath=_ANY_ORDER)
def _turn(head, cos, sin, scale):
    """Dimension i is paired with i + dim / 2."""
    half = len(cos)
    for i in range(half):
        x, y = head[i], head[half + i]
        head[i] = (x * cos[i] - y * sin[i]) * scale
        head[half + i] = (y * cos[i] + x * sin[i]) * scale


@njit
def _place(heads, spot, slab, norms, eps, cos, sin, num_heads, like):
    """Norm and turn queries and keys of a row, and write keys and values into its slab."""
    kv_heads, dim = (len(heads) - num_heads) // 2, heads.shape[1]
    for head in range(num_heads + kv_heads):
        is_query = head < num_heads
        norm = norms[0] if is_query else norms[1]
        if norm:
            _norm(heads[head], _floats(norm, dim), eps, heads[head])
        _turn(heads[head], cos, sin, np.float32(1.0) / np.sqrt(np.float32(dim)) if is_query else np.float32(1.0))
    for head in range(2 * kv_heads):
        own = _tokens(slab, head, spot[SEEN] - 1, spot[SEEN], spot[CAPACITY], dim, like)[0]
        for d in range(dim):
            own[d] = _stored(heads[num_heads + head, d], own[d])


@njit(fastmath=_ANY_ORDER, error_model="numpy")  # else a look at each divisor keeps it from being done 16 at a time
def _gate(row, into):
    """silu of the first half times the second."""
    gates, ups = row[: len(into)], row[len(into) : 2 * len(into)]
    for i in range(len(into)):
        gate = gates[i]
        small = _exp(-abs(gate))
        into[i] = gate * (np.float32(1.0) if gate >= 0 else small) / (np.float32(1.0) + small) * ups[i]


@_kept
def step(shape, eps, embedding, layers, last, tokens, spots, rope, wanted, logits):
    """A forward of up to eight rows: keys and values into the slabs at `spots`, logits of the rows wanted.

    `logits` has room for eight rows of whole tiles.
    """
    num_heads, kv_heads, dim, mlp, room = shape
    (angles, factor), half = rope, dim // 2
    rows, hidden, queries, every = len(tokens), embedding.shape[1], num_heads * dim, (num_heads + 2 * kv_heads) * dim
    like = embedding[0]
    scratch = _scratch(max(hidden, queries, mlp))
    found = np.empty((MOST_ROWS, (max(hidden, every, 2 * mlp) // WIDE + 1) * WIDE), np.float32)
    stream, inputs = np.empty((rows, hidden), np.float32), np.empty((rows, max(hidden, queries, mlp)), np.float32)
    scores, own, cos, sin = (
        np.empty((num_heads // kv_heads, room + 16), np.float32),
        np.empty(dim, embedding.dtype),
        np.empty((rows, half), np.float32),
        np.empty((rows, half), np.float32),
    )
    for row in range(rows):
        for i in range(hidden):
            stream[row, i] = _wide(embedding[tokens[row], i])
        for i in range(half):
            angle = np.float32(spots[row, SEEN] - 1) * angles[i]
            cos[row, i], sin[row, i] = np.cos(angle) * factor, np.sin(angle) * factor
    for layer in range(len(layers)):
        line = layers[layer]
        before = layer * 2 * kv_heads * dim * like.itemsize
        for row in range(rows):
            _norm(stream[row], _floats(line[ATTENTION_NORM], hidden), eps, inputs[row, :hidden])
        _product(line[QKV : QKV + PRODUCT], inputs, scratch, found, like[0])
        norms = (line[QUERY_NORM], line[KEY_NORM])
        for row in range(rows):
            spot, heads = spots[row], found[row, :every].reshape(num_heads + 2 * kv_heads, dim)
            slab = spot[SLAB] + before * spot[CAPACITY]
            _place(heads, spot, slab, norms, eps, cos[row], sin[row], num_heads, like)
        if layer == len(layers) - 1 and len(wanted) == 0:
            return
        for head in range(kv_heads):
            for row in range(rows):  # of one sequence they read the same keys: while those are near
                spot, heads = spots[row], found[row, :every].reshape(num_heads + 2 * kv_heads, dim)
                slab, into = spot[SLAB] + before * spot[CAPACITY], inputs[row, :queries].reshape(num_heads, dim)
                _attend(head, heads, spot, slab, line[WINDOW], kv_heads, own, scores, into)
        _product(line[OUTPUT : OUTPUT + PRODUCT], inputs, scratch, found, like[0])
        for row in range(rows):
            for i in range(hidden):
                stream[row, i] += found[row, i]
            _norm(stream[row], _floats(line[MLP_NORM], hidden), eps, inputs[row, :hidden])
        _product(line[GATE_UP : GATE_UP + PRODUCT], inputs, scratch, found, like[0])
        for row in range(rows):
            _gate(found[row], inputs[row, :mlp])
        _product(line[DOWN : DOWN + PRODUCT], inputs, scratch, found, like[0])
        for row in range(rows):
            for i in range(hidden):
                stream[row, i] += found[row, i]
    norm, head = last[0], last[1:]
    for place in range(len(wanted)):
        _norm(stream[wanted[place]], _floats(norm, hidden), eps, inputs[place, :hidden])
    _product(head, inputs[: len(wanted)], scratch, logits, like[0])


def compile_for(stored):
    """Compile a step for a model stored in `stored`, numpy's float32, or uint16 for bfloat16; or fetch what is kept."""
    ints, floats = types.int64[::1], types.float32[::1]
    table = types.int64[:, ::1]
    embedding = from_dtype(np.dtype(stored))[:, ::1]
    rope = types.Tuple((floats, types.float32))
    shape = types.UniTuple(types.int64, 5)
    step.compile((shape, types.float32, embedding, table, ints, ints, table, rope, ints, types.float32[:, ::1]))
