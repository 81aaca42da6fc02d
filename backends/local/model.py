"""A Llama-like decoder over slabs: token ids in, logits out, keys and values left where they belong.

One forward takes the rows of several spans, one after the other. Products see all rows at once; attention is computed
per span, over the slab of its sequence.

With grouped queries, the queries of a group are folded into the length: no key or value is repeated. On one CPU thread
this is as fast as `enable_gqa` for chunks, and at one bfloat16 row up to 12 times faster (1024 tokens: 95 vs 753 us).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from backends.local.config import ModelConfig
from backends.local.decoder import TOKEN_DIM, Span
from backends.local.rope import angles, frequencies, rotate
from backends.local.weights import DecoderWeights, LayerWeights


class LlamaDecoder:
    """A `Decoder` of our own for Llama-like models."""

    def __init__(self, config: ModelConfig, weights: DecoderWeights) -> None:
        self.config = config
        self._weights = weights
        self._dtype = weights.embedding.dtype
        self._windows = frozenset(config.windows)
        self._frequencies, self._rope_factor = frequencies(config.rope, config.head_dim, config.context_tokens)

    def new_slab(self, capacity: int) -> torch.Tensor:
        """Room for `capacity` tokens of one sequence, not filled."""
        config = self.config
        return torch.empty((config.num_layers, 2, config.num_kv_heads, capacity, config.head_dim), dtype=self._dtype)

    @torch.inference_mode()
    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        """Compute all rows into their slabs; return the logits wanted, span by span, float32 `[logits, vocab]`."""
        token_ids = torch.tensor([token for span in spans for token in span.token_ids])
        positions = torch.tensor([position for span in spans for position in range(span.start, span.stop)])
        cos, sin = angles(positions, self._frequencies, self._rope_factor)
        cos, sin = cos.to(self._dtype), sin.to(self._dtype)
        views = {window: [_View.of(span, self.config, window) for span in spans] for window in self._windows}
        rows = F.embedding(token_ids, self._weights.embedding)
        for number, layer in enumerate(self._weights.layers):
            rows = rows + self._attention(number, layer, rows, cos, sin, views[self.config.windows[number]])
            rows = rows + self._mlp(layer, rows)
        wanted = _wanted_rows(spans)
        last = rows if len(wanted) == len(rows) else rows[torch.tensor(wanted)]
        return self._weights.head(_norm(last, self._weights.norm, self.config.norm_eps)).float()

    def _attention(
        self,
        number: int,
        layer: LayerWeights,
        rows: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        views: "Sequence[_View]",
    ) -> torch.Tensor:
        config = self.config
        turned = config.num_heads + config.num_kv_heads
        fused = layer.qkv(_norm(rows, layer.attention_norm, config.norm_eps))
        heads = fused.view(len(rows), turned + config.num_kv_heads, config.head_dim)
        if layer.query_norm is not None and layer.key_norm is not None:
            heads[:, : config.num_heads] = _norm(heads[:, : config.num_heads], layer.query_norm, config.norm_eps)
            heads[:, config.num_heads : turned] = _norm(
                heads[:, config.num_heads : turned], layer.key_norm, config.norm_eps
            )
        heads[:, :turned] = rotate(heads[:, :turned], cos, sin)
        queries, keys_values = heads[:, : config.num_heads], heads[:, config.num_heads :]
        outputs, first = [], 0
        for view in views:
            last = first + view.num_rows
            view.write(number, keys_values[first:last])
            outputs.append(view.attend(number, queries[first:last]))
            first = last
        return layer.output(outputs[0] if len(outputs) == 1 else torch.cat(outputs))

    def _mlp(self, layer: LayerWeights, rows: torch.Tensor) -> torch.Tensor:
        gate, up = layer.gate_up(_norm(rows, layer.mlp_norm, self.config.norm_eps)).chunk(2, dim=-1)
        return layer.down(F.silu(gate) * up)


def _wanted_rows(spans: Sequence[Span]) -> list[int]:
    """Which of all rows have their logits wanted."""
    wanted: list[int] = []
    stop = 0
    for span in spans:
        stop += len(span.token_ids)
        wanted += range(stop - span.num_logits, stop)
    return wanted


@dataclass(frozen=True, slots=True)
class _View:
    """What attention sees of one span in every layer."""

    written: torch.Tensor  # [L, 2, H_kv, rows, D], the rows of the span
    readable: torch.Tensor  # [L, 2, H_kv, seen, D], from the first row in the window up to the last of the span
    mask: torch.Tensor | None  # [G * rows, seen], added to the scores; one row sees everything

    @classmethod
    def of(cls, span: Span, config: ModelConfig, window: int | None) -> "_View":
        num_rows = span.stop - span.start
        first = 0 if window is None else max(0, span.start + 1 - window)
        mask = None
        if num_rows > 1:
            hidden = torch.full((num_rows, span.stop - first), float("-inf"), dtype=span.slab.dtype)
            if window is None:
                hidden.triu_(span.start + 1 - first)
            else:
                seen = torch.ones_like(hidden, dtype=torch.bool).tril_(span.start - first)
                hidden.masked_fill_(seen.triu_(span.start + 1 - window - first), 0.0)
            mask = hidden.repeat(config.num_heads // config.num_kv_heads, 1)
        readable = span.slab.narrow(TOKEN_DIM, first, span.stop - first)
        return cls(span.slab.narrow(TOKEN_DIM, span.start, num_rows), readable, mask)

    @property
    def num_rows(self) -> int:
        return self.written.shape[TOKEN_DIM]

    def write(self, layer: int, keys_values: torch.Tensor) -> None:
        """Put `[rows, 2 * H_kv, D]` where it belongs."""
        _, two, kv_heads, rows, dim = self.written.shape
        self.written[layer].copy_(keys_values.view(rows, two, kv_heads, dim).permute(1, 2, 0, 3))

    def attend(self, layer: int, queries: torch.Tensor) -> torch.Tensor:
        """Attention of `[rows, H, D]` over all readable rows, `[rows, H * D]`."""
        rows, heads, dim = queries.shape
        keys, values = self.readable[layer, :1], self.readable[layer, 1:]
        kv_heads = keys.shape[1]
        group = heads // kv_heads
        folded = queries.view(rows, kv_heads, group, dim).permute(1, 2, 0, 3).reshape(1, kv_heads, group * rows, dim)
        seen = F.scaled_dot_product_attention(folded, keys, values, attn_mask=self.mask)
        return seen.view(kv_heads, group, rows, dim).permute(2, 0, 1, 3).reshape(rows, heads * dim)


def _norm(rows: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Root mean square norm, computed in float32 whatever the rows are."""
    wide = rows.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(rows.dtype)
