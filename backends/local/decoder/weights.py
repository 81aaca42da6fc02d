"""From safetensors to the tensors of a decoder: read one by one, cast, and fused where one product does for several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from backends.local.decoder.config import CheckpointError, ModelConfig
from backends.local.decoder.linear import Linear, linear


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
    files: Sequence[Path],
    config: ModelConfig,
    dtype: torch.dtype,
    tell: Callable[[int], None] = lambda _: None,
    *,
    weights: str = "",
    device: torch.device | str = "cpu",
    has_rows: bool = False,
) -> DecoderWeights:
    """Read a decoder, and tell how many of its layers are read.

    `weights` is the precision of its products; `has_rows`: our own kernels compute a few rows of them. The embedding is
    looked up, not multiplied, and stays as it is. The head is the most sensitive product of all and keeps at least 8
    bits. Raises `CheckpointError` when a tensor is missing or of another shape than `config` gives it, or a file is not
    what its header says: our kernels read and write memory by these shapes.
    """
    with _tensors(files) as tensors:
        source = _Source(tensors, dtype, torch.device(device), weights, has_rows)
        vocabulary = (config.vocab_size, config.hidden_size)
        embedding = source.tensor("model.embed_tokens.weight", *vocabulary)
        head = embedding if config.is_head_tied else source.tensor("lm_head.weight", *vocabulary)
        head_bias = source.optional("lm_head.bias", config.vocab_size)
        return DecoderWeights(
            embedding=embedding,
            layers=tuple(_layer(source, config, f"model.layers.{i}.") for i in _counted(config.num_layers, tell)),
            norm=source.tensor("model.norm.weight", config.hidden_size),
            head=linear(head, head_bias, "int8" if weights else "", has_rows=has_rows),
        )


def _counted(num_layers: int, tell: Callable[[int], None]) -> Iterator[int]:
    for number in range(num_layers):
        tell(number)
        yield number


def _layer(source: "_Source", config: ModelConfig, prefix: str) -> LayerWeights:
    attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
    hidden, wide = config.hidden_size, config.intermediate_size
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    qkv = {f"{attention}q_proj": queries, f"{attention}k_proj": keys, f"{attention}v_proj": keys}
    return LayerWeights(
        attention_norm=source.tensor(f"{prefix}input_layernorm.weight", hidden),
        qkv=source.linear(qkv, hidden),
        query_norm=source.optional(f"{attention}q_norm.weight", config.head_dim),
        key_norm=source.optional(f"{attention}k_norm.weight", config.head_dim),
        output=source.linear({f"{attention}o_proj": hidden}, queries),
        mlp_norm=source.tensor(f"{prefix}post_attention_layernorm.weight", hidden),
        gate_up=source.linear({f"{mlp}gate_proj": wide, f"{mlp}up_proj": wide}, hidden),
        down=source.linear({f"{mlp}down_proj": hidden}, wide),
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """Tensors by name, in the shape asked for, cast to the dtype of the engine."""

    files: Mapping[str, Any]  # name of a tensor -> the open file that holds it
    dtype: torch.dtype
    device: torch.device
    weights: str
    has_rows: bool

    def tensor(self, name: str, *shape: int) -> torch.Tensor:
        if name not in self.files:
            raise CheckpointError(f"the weights have no {name!r}")
        tensor: torch.Tensor = self.files[name].get_tensor(name)
        if tensor.shape != shape:
            raise CheckpointError(f"{name!r} is {list(tensor.shape)}, and by config.json should be {list(shape)}")
        return tensor.to(self.device, self.dtype).contiguous()

    def optional(self, name: str, *shape: int) -> torch.Tensor | None:
        return self.tensor(name, *shape) if name in self.files else None

    def linear(self, outputs: Mapping[str, int], inputs: int) -> Linear:
        """One product for layers by name, their outputs side by side. All of them have a bias, or none."""
        weight = torch.cat([self.tensor(f"{name}.weight", count, inputs) for name, count in outputs.items()])
        has_bias = any(f"{name}.bias" in self.files for name in outputs)
        biases = [self.tensor(f"{name}.bias", count) for name, count in outputs.items() if has_bias]
        return linear(weight, torch.cat(biases) if biases else None, self.weights, has_rows=self.has_rows)


@contextmanager
def _tensors(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        try:
            opened = [stack.enter_context(safe_open(str(file), framework="pt")) for file in files]
            yield {name: file for file in opened for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except SafetensorError as exc:
            raise CheckpointError(f"the weights cannot be read: {exc}") from exc
