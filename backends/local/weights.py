"""From safetensors to the tensors of a decoder: read one by one, cast, and fused where one product does for several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.nn import functional as F

from backends.local.config import CheckpointError, ModelConfig


class Linear:
    """A product with a weight `[out, in]`.

    Where oneDNN is there, the weight is laid out for it once: `F.linear` lays a bfloat16 weight out anew at every call,
    and MKL's float32 is slow on AMD (256 to 1408, one thread: 30 vs 83 us at 4 rows, 414 vs 966 us at 128).
    """

    __slots__ = ("_bias", "_packed", "_weight")

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        is_packed = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, None) if is_packed else None
        self._weight = None if is_packed else weight
        self._bias = bias

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if self._weight is not None:
            return F.linear(rows, self._weight, self._bias)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self._bias, "none", [], "")
        return product


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One decoder layer."""

    attention_norm: torch.Tensor
    qkv: Linear
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    output: Linear
    mlp_norm: torch.Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """All of a model. A tied head is the embedding itself."""

    embedding: torch.Tensor
    layers: tuple[LayerWeights, ...]
    norm: torch.Tensor
    head: Linear


def load_weights(
    files: Sequence[Path], config: ModelConfig, dtype: torch.dtype, tell: Callable[[int], None] = lambda _: None
) -> DecoderWeights:
    """Read a decoder, and tell how many of its layers are read.

    Raises `CheckpointError` when a tensor is missing or a file is not what its header says.
    """
    with _tensors(files) as tensors:
        source = _Source(tensors, dtype)
        embedding = source.tensor("model.embed_tokens.weight")
        return DecoderWeights(
            embedding=embedding,
            layers=tuple(_layer(source, f"model.layers.{i}.") for i in _counted(config.num_layers, tell)),
            norm=source.tensor("model.norm.weight"),
            head=Linear(embedding) if config.is_head_tied else source.linear("lm_head"),
        )


def _counted(num_layers: int, tell: Callable[[int], None]) -> Iterator[int]:
    for number in range(num_layers):
        tell(number)
        yield number


def _layer(source: "_Source", prefix: str) -> LayerWeights:
    attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
    return LayerWeights(
        attention_norm=source.tensor(f"{prefix}input_layernorm.weight"),
        qkv=source.linear(*(f"{attention}{name}_proj" for name in "qkv")),
        query_norm=source.optional(f"{attention}q_norm.weight"),
        key_norm=source.optional(f"{attention}k_norm.weight"),
        output=source.linear(f"{attention}o_proj"),
        mlp_norm=source.tensor(f"{prefix}post_attention_layernorm.weight"),
        gate_up=source.linear(f"{mlp}gate_proj", f"{mlp}up_proj"),
        down=source.linear(f"{mlp}down_proj"),
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """Tensors by name, cast to the dtype of the engine."""

    files: Mapping[str, Any]  # name of a tensor -> the open file that holds it
    dtype: torch.dtype

    def tensor(self, name: str) -> torch.Tensor:
        if name not in self.files:
            raise CheckpointError(f"the weights have no {name!r}")
        tensor: torch.Tensor = self.files[name].get_tensor(name)
        return tensor.to(self.dtype).contiguous()

    def optional(self, name: str) -> torch.Tensor | None:
        return self.tensor(name) if name in self.files else None

    def linear(self, *names: str) -> Linear:
        """One product for the layers `names`, their outputs side by side."""
        weight = torch.cat([self.tensor(f"{name}.weight") for name in names])
        biases = [bias for name in names if (bias := self.optional(f"{name}.bias")) is not None]
        return Linear(weight, torch.cat(biases) if biases else None)


@contextmanager
def _tensors(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        try:
            opened = [stack.enter_context(safe_open(str(file), framework="pt")) for file in files]
            yield {name: file for file in opened for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except SafetensorError as exc:
            raise CheckpointError(f"the weights cannot be read: {exc}") from exc
