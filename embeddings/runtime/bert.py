"""The forward of a BERT body, for one text or some of any lengths, on a processor.

    ids of all texts, shortest first, end to end: no padding        [tokens, width]
    layer: one product for queries, keys and values                 [tokens, 3 width]
           attention among the tokens of a text; texts of one length together
           out, add, normalise; up with gelu, down, add, normalise  [tokens, width]
    float32: states of the tokens; pooled: mean or first token of each text

Weights are laid out once for oneDNN: `F.linear` asks MKL in float32, which is slow on AMD, and lays a bfloat16 weight
out anew at every call. oneDNN, and torch above it, keep what they compiled for every number of rows that they met, a
thousand of each and nearly a gigabyte: so rows are filled up to one of a few dozen numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch.nn import functional as F

from embeddings.runtime.forward import GELUS, Computed, Pooling, check_config, first_position

Norm = tuple[torch.Tensor, torch.Tensor]


class Linear:
    """A product with a weight `[out, in]`, laid out for oneDNN where torch has it; with gelu on top if asked."""

    __slots__ = ("_bias", "_gelu", "_laid_out", "_weight")

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, gelu: str = "") -> None:
        is_packed = _has_onednn(weight.dtype)
        self._laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, None) if is_packed else None
        self._weight = None if is_packed else weight
        self._bias = bias
        self._gelu = gelu

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        if self._weight is not None:
            product = F.linear(rows, self._weight, self._bias)
            return F.gelu(product, approximate=self._gelu) if self._gelu else product
        then = "gelu" if self._gelu else "none"
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._laid_out, self._bias, then, [], self._gelu)
        return found


def _has_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies by weights of this type here: bfloat16 takes AVX-512 or more."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer."""

    queries_keys_values: Linear
    out: Linear
    out_norm: Norm
    up: Linear
    down: Linear
    down_norm: Norm


class BertForward:
    """A body of known shape, its weights laid out in one precision. Holds no state: any thread may call it."""

    def __init__(self, config: Any, weights: Mapping[str, torch.Tensor], pooling: Pooling, dtype: torch.dtype) -> None:
        check_config(config)
        self.dtype = dtype
        self._pooling = pooling
        self._num_heads = int(config.num_attention_heads)
        self._epsilon = float(config.layer_norm_eps)
        self._words = weights["embeddings.word_embeddings.weight"].clone()  # a view would keep the whole file in memory
        kind = weights["embeddings.token_type_embeddings.weight"][0]  # one text, one kind: part of every position
        self._places = weights["embeddings.position_embeddings.weight"][first_position(config) :] + kind
        self._norm = _norm(weights, "embeddings.LayerNorm", torch.float32)
        gelu = GELUS[config.hidden_act]
        self._layers = [_layer(weights, f"encoder.layer.{n}", gelu, dtype) for n in range(config.num_hidden_layers)]

    @torch.inference_mode()
    def __call__(self, texts: Sequence[Sequence[int]]) -> Computed:
        """Compute texts, given by their ids; each has one at least."""
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
        lengths = [len(texts[n]) for n in order]
        groups = [(length, len(list(same))) for length, same in groupby(lengths)]
        ids = torch.tensor([number for n in order for number in texts[n]])
        rows = F.embedding(ids, self._words) + torch.cat([self._places[:length] for length in lengths])
        rows = F.pad(self._normalised(rows, self._norm), (0, 0, 0, room(len(ids)) - len(ids))).to(self.dtype)
        for layer in self._layers:
            mixed = self._attended(layer.queries_keys_values(rows), groups)
            rows = self._normalised(layer.out(mixed).add_(rows), layer.out_norm)
            rows = self._normalised(layer.down(layer.up(rows)).add_(rows), layer.down_norm)
        states, back = rows[: len(ids)].float(), [0] * len(order)
        for place, n in enumerate(order):
            back[n] = place
        pooled = F.normalize(torch.cat([self._pooled(part) for part in _parts(states, groups)]), dim=1, eps=1e-12)
        by_length = torch.split(states, lengths)
        return Computed(pooled[back].numpy(), [by_length[place].numpy() for place in back])

    def _normalised(self, rows: torch.Tensor, norm: Norm) -> torch.Tensor:
        return F.layer_norm(rows, rows.shape[-1:], *norm, self._epsilon)

    def _attended(self, rows: torch.Tensor, groups: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Each token's mixture of the values of its own text."""
        found = []
        for part in _parts(rows, groups):  # [texts, length, 3 width]
            count, length, width = part.shape
            heads = part.view(count, length, 3, self._num_heads, -1).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(heads[0], heads[1], heads[2])
            found.append(mixed.transpose(1, 2).reshape(count * length, width // 3))
        if spare := len(rows) - sum(length * count for length, count in groups):
            found.append(rows.new_zeros(spare, rows.shape[1] // 3))
        return found[0] if len(found) == 1 else torch.cat(found)

    def _pooled(self, part: torch.Tensor) -> torch.Tensor:
        return part.mean(1) if self._pooling == "mean" else part[:, 0]


def room(num_tokens: int) -> int:
    """The number of rows that so many tokens are computed in: at most three, or an eighth, more; eight to an octave."""
    step = max(4, 1 << max(0, num_tokens.bit_length() - 4))
    return -(-num_tokens // step) * step


def _parts(rows: torch.Tensor, groups: Sequence[tuple[int, int]]) -> Iterator[torch.Tensor]:
    """Rows of texts of one length together: `[texts, length, ...]`."""
    start = 0
    for length, count in groups:
        yield rows[start : start + length * count].view(count, length, -1)
        start += length * count


def _layer(weights: Mapping[str, torch.Tensor], name: str, gelu: str, dtype: torch.dtype) -> Layer:
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    weight, bias = (torch.cat([weights[f"{part}.{kind}"] for part in parts]).to(dtype) for kind in ("weight", "bias"))
    return Layer(
        Linear(weight, bias),
        _linear(weights, f"{name}.attention.output.dense", dtype),
        _norm(weights, f"{name}.attention.output.LayerNorm", dtype),
        _linear(weights, f"{name}.intermediate.dense", dtype, gelu),
        _linear(weights, f"{name}.output.dense", dtype),
        _norm(weights, f"{name}.output.LayerNorm", dtype),
    )


def _linear(weights: Mapping[str, torch.Tensor], name: str, dtype: torch.dtype, gelu: str = "") -> Linear:
    return Linear(weights[f"{name}.weight"].to(dtype), weights[f"{name}.bias"].to(dtype, copy=True), gelu)


def _norm(weights: Mapping[str, torch.Tensor], name: str, dtype: torch.dtype) -> Norm:
    return weights[f"{name}.weight"].to(dtype, copy=True), weights[f"{name}.bias"].to(dtype, copy=True)
