"""The few messages of ONNX that a graph of ours is made of, written as protobuf by hand.

Fields have the numbers of onnx.proto3. The `onnx` package writes them too, at 20 MB of memory in every gateway.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence

FLOAT, INT32, INT64 = 1, 6, 7  # TensorProto.DataType
OURS = "com.microsoft"  # onnxruntime's own operators
IR_VERSION, OPSET = 10, 20

Attribute = int | float | str


def model(nodes: Iterable[bytes], tensors: Iterable[bytes], inputs: Iterable[bytes], outputs: Iterable[bytes]) -> bytes:
    """A whole model."""
    graph = b"".join(
        (
            *(_field(1, one) for one in nodes),
            _field(2, "graph"),
            *(_field(5, one) for one in tensors),
            *(_field(11, one) for one in inputs),
            *(_field(12, one) for one in outputs),
        )
    )
    opsets = (_field(8, _field(1, domain) + _field(2, version)) for domain, version in (("", OPSET), (OURS, 1)))
    return _field(1, IR_VERSION) + _field(7, graph) + b"".join(opsets)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Attribute) -> bytes:
    """One step. An input that is not given has an empty name."""
    return b"".join(
        (
            *(_field(1, name) for name in inputs),
            *(_field(2, name) for name in outputs),
            _field(3, outputs[0]),
            _field(4, kind),
            *(_field(5, _attribute(name, value)) for name, value in attributes.items()),
            _field(7, domain),
        )
    )


def value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """An input or output of the graph; dimensions with a name are known when it runs."""
    dims = b"".join(_field(1, _field(1 if isinstance(dim, int) else 2, dim)) for dim in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))


def small(name: str, kind: int, shape: Sequence[int], data: bytes) -> bytes:
    """A tensor written into the model."""
    return _tensor(name, kind, shape) + _field(9, data)


def lying(name: str, kind: int, shape: Sequence[int], where: Mapping[str, str | int]) -> bytes:
    """A tensor that stays in a file: its `location`, `offset` and `length`."""
    entries = (_field(13, _field(1, key) + _field(2, str(told))) for key, told in where.items())
    return _tensor(name, kind, shape) + b"".join(entries) + _field(14, 1)  # EXTERNAL


def _tensor(name: str, kind: int, shape: Sequence[int]) -> bytes:
    return b"".join(_field(1, dim) for dim in shape) + _field(2, kind) + _field(8, name)


def _attribute(name: str, told: Attribute) -> bytes:
    if isinstance(told, int):
        return _field(1, name) + _field(3, told) + _field(20, 2)
    if isinstance(told, float):
        return _field(1, name) + _field(2, told) + _field(20, 1)
    return _field(1, name) + _field(4, told) + _field(20, 3)


def _field(number: int, told: int | float | str | bytes) -> bytes:
    if isinstance(told, int):
        return _varint(number << 3) + _varint(told & (1 << 64) - 1)  # a negative number is written as 64 bits
    if isinstance(told, float):
        return _varint(number << 3 | 5) + struct.pack("<f", told)
    data = told.encode() if isinstance(told, str) else told
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)
