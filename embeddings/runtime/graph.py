"""A BERT body as a graph for onnxruntime, its weights left where they lie in the checkpoint's file.

    rows   [tokens, width]   words of all texts end to end, no padding; so are all products
    grid   [texts, longest]  the row of each place of each text: attention alone is among rows of like length, padded
    seen   [texts, longest]  1 where a place has a row
    back   [tokens]          where each row lies in the grid
    share  [texts, tokens]   how much of each row is pooled into each text

onnxruntime lays weights of products out once, and lets go of the file's pages then.
"""

from typing import Any

import numpy as np

from embeddings.runtime.checkpoint import Checkpoint
from embeddings.runtime.forward import GELUS, first_position
from embeddings.runtime.messages import FLOAT, INT32, INT64, OURS, lying, model, node, small, value

EMBEDDINGS = "embeddings"
WORDS = f"{EMBEDDINGS}.word_embeddings.weight"  # looked up outside, see onnx.py


def graph_of(checkpoint: Checkpoint) -> bytes:
    """The model. Raises KeyError when a weight is not where a BERT has it."""
    config, width = checkpoint.config, checkpoint.width
    steps, rows = _placed(config), "placed"
    used = [f"{EMBEDDINGS}.{name}" for name in _TABLES]
    for number in range(config.num_hidden_layers):
        layer = f"encoder.layer.{number}"
        used += [f"{layer}.{part}.{kind}" for part in _PARTS for kind in ("weight", "bias")]
        last = "states" if number == config.num_hidden_layers - 1 else f"{layer}.rows"
        steps += _layer(config, layer, rows, last)
        rows = last
    steps += [
        node("MatMul", ["share", "states"], ["mixed"]),
        node("LpNormalization", ["mixed"], ["pooled"], axis=1, p=2),
    ]
    tensors = [
        lying(name, FLOAT, tensor.shape, {"location": checkpoint.weights.name, "offset": tensor.start,
                                          "length": tensor.size_bytes})
        for name, tensor in ((name, checkpoint.tensors[name]) for name in used)
    ]  # fmt: skip
    tensors += [
        _numbers("no", [0]),
        _numbers("first", [first_position(config)]),
        _numbers("end", [2**31]),
        _numbers("flat", [-1, width]),
    ]
    inputs = [
        value("words", FLOAT, ["tokens", width]),
        value("places", INT64, ["tokens"]),
        value("grid", INT64, ["texts", "longest"]),
        value("seen", INT32, ["texts", "longest"]),
        value("back", INT64, ["tokens"]),
        value("share", FLOAT, ["texts", "tokens"]),
    ]
    outputs = [value("pooled", FLOAT, ["texts", width]), value("states", FLOAT, ["tokens", width])]
    return model(steps, tensors, inputs, outputs)


_TABLES = ("position_embeddings.weight", "token_type_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")
_PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


def _placed(config: Any) -> list[bytes]:
    """Words with their positions. One text, one kind: its vector is part of every position."""
    positions, kinds, gain, bias = (f"{EMBEDDINGS}.{name}" for name in _TABLES)
    return [
        node("Slice", [positions, "first", "end", "no"], ["positions"]),
        node("Gather", [kinds, "no"], ["kind"]),
        node("Add", ["positions", "kind"], ["kinds"]),
        node("Gather", ["kinds", "places"], ["here"]),
        node("Add", ["words", "here"], ["there"]),
        node("LayerNormalization", ["there", gain, bias], ["placed"], axis=-1, epsilon=float(config.layer_norm_eps)),
    ]


def _layer(config: Any, layer: str, rows: str, last: str) -> list[bytes]:
    def of(name: str) -> str:
        return f"{layer}.{name}"

    epsilon = float(config.layer_norm_eps)
    gelu = {"none": "BiasGelu", "tanh": "FastGelu"}[GELUS[config.hidden_act]]
    steps, asked = [], []
    for part in ("query", "key", "value"):
        weight, bias = (of(f"attention.self.{part}.{kind}") for kind in ("weight", "bias"))
        steps += [
            node("Gemm", [rows, weight, bias], [of(f"{part}.rows")], transB=1),
            node("Gather", [of(f"{part}.rows"), "grid"], [of(part)]),
        ]
        asked.append(of(part))
    heads = int(config.num_attention_heads)
    return [
        *steps,
        node("MultiHeadAttention", [*asked, "", "seen"], [of("attended")], OURS, num_heads=heads),
        node("Reshape", [of("attended"), "flat"], [of("attended.flat")]),
        node("Gather", [of("attended.flat"), "back"], [of("attended.rows")]),
        node("Gemm", [of("attended.rows"), of("attention.output.dense.weight")], [of("out")], transB=1),
        _normalised(of("out"), rows, of("attention.output"), of("middle"), epsilon),
        node("Gemm", [of("middle"), of("intermediate.dense.weight")], [of("up")], transB=1),
        node(gelu, [of("up"), of("intermediate.dense.bias")], [of("bent")], OURS),
        node("Gemm", [of("bent"), of("output.dense.weight")], [of("down")], transB=1),
        _normalised(of("down"), of("middle"), of("output"), last, epsilon),
    ]


def _normalised(product: str, rows: str, part: str, name: str, epsilon: float) -> bytes:
    """The product with its bias, added to the rows and normalised."""
    norm = (f"{part}.LayerNorm.weight", f"{part}.LayerNorm.bias")
    return node("SkipLayerNormalization", [product, rows, *norm, f"{part}.dense.bias"], [name], OURS, epsilon=epsilon)


def _numbers(name: str, numbers: list[int]) -> bytes:
    return small(name, INT64, [len(numbers)], np.array(numbers, "<i8").tobytes())
