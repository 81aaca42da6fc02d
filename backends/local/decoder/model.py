"""A Llama-like decoder over slabs: token ids in, logits out, keys and values left where they belong.

One forward takes the rows of several spans, one after the other. Products see all rows at once; attention is computed
per span, over the slab of its sequence: in one call for spans of one row it takes as long (bfloat16, 8 rows over 512).
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from backends.local.decoder.attention import SpanAttention
from backends.local.decoder.base import Span
from backends.local.decoder.config import ModelConfig
from backends.local.decoder.rope import frequencies, rotate, turns
from backends.local.decoder.weights import DecoderWeights, LayerWeights


class LlamaDecoder:
    """A `Decoder` of our own for Llama-like models."""

    def __init__(self, config: ModelConfig, weights: DecoderWeights) -> None:
        self.config = config
        self._weights = weights
        self._dtype, self._device = weights.embedding.dtype, weights.embedding.device
        per_token, self._rope_factor = frequencies(config.rope, config.head_dim, config.context_tokens)
        self._per_token = per_token.to(self._device)
        self._eps = torch.tensor(config.norm_eps, device=self._device)

    def new_slab(self, capacity: int) -> torch.Tensor:
        """Room for `capacity` tokens of one sequence, not filled."""
        config = self.config
        shape = (config.num_layers, 2, config.num_kv_heads, capacity, config.head_dim)
        return torch.empty(shape, dtype=self._dtype, device=self._device)

    @torch.inference_mode()
    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        """Compute all rows into their slabs; return the logits wanted, span by span, float32 `[logits, vocab]`."""
        token_ids = torch.tensor([token for span in spans for token in span.token_ids], device=self._device)
        cos, sin = self._turns(spans)
        attentions = [SpanAttention(span, self.config) for span in spans]
        sizes = [len(span.token_ids) for span in spans]
        rows = F.embedding(token_ids, self._weights.embedding)
        wanted = _wanted_rows(spans)
        for number, layer in enumerate(self._weights.layers):
            heads = rotate(self._heads(layer, rows), cos, sin)
            self._write(number, heads, attentions, sizes)
            if not wanted and number == self.config.num_layers - 1:
                break  # what is left computes logits only
            rows = rows + layer.output(self._attend(number, heads, attentions, sizes))
            rows = rows + self._mlp(layer, rows)
        if len(wanted) < len(rows):
            rows = rows[torch.tensor(wanted, dtype=torch.int64, device=self._device)]
        return self._weights.head(self._norm(rows, self._weights.norm)).float().cpu()

    def _turns(self, spans: Sequence[Span]) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.config
        positions = torch.cat([torch.arange(span.start, span.stop, device=self._device) for span in spans])
        cos, sin = turns(
            positions,
            self._per_token,
            self._rope_factor,
            scale=config.head_dim**-0.5,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
        )
        return cos.to(self._dtype), sin.to(self._dtype)

    def _heads(self, layer: LayerWeights, rows: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values `[rows, H + 2 * H_kv, D]`."""
        config = self.config
        fused = layer.qkv(self._norm(rows, layer.attention_norm))
        heads = fused.view(len(rows), config.num_heads + 2 * config.num_kv_heads, config.head_dim)
        if layer.query_norm is None or layer.key_norm is None:
            return heads
        queries, keys, values = torch.split(heads, [config.num_heads, config.num_kv_heads, config.num_kv_heads], 1)
        return torch.cat((self._norm(queries, layer.query_norm), self._norm(keys, layer.key_norm), values), 1)

    def _write(self, number: int, heads: torch.Tensor, attentions: Sequence[SpanAttention], sizes: list[int]) -> None:
        keys_values = torch.split(heads[:, self.config.num_heads :], sizes)
        for attention, own in zip(attentions, keys_values, strict=True):
            attention.write(number, own)

    def _attend(
        self, number: int, heads: torch.Tensor, attentions: Sequence[SpanAttention], sizes: list[int]
    ) -> torch.Tensor:
        queries = torch.split(heads[:, : self.config.num_heads], sizes)
        outputs = [attention.attend(number, own) for attention, own in zip(attentions, queries, strict=True)]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _mlp(self, layer: LayerWeights, rows: torch.Tensor) -> torch.Tensor:
        gate, up = layer.gate_up(self._norm(rows, layer.mlp_norm)).chunk(2, dim=-1)
        return layer.down(F.silu(gate).mul_(up))

    def _norm(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Root mean square norm, computed in float32 whatever the rows are; `F.rms_norm` takes a third longer."""
        wide = rows.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, length, length, value=1 / rows.shape[-1]).rsqrt_()
        return (wide * scale).to(rows.dtype).mul_(weight)


def _wanted_rows(spans: Sequence[Span]) -> list[int]:
    """Which of all rows have their logits wanted."""
    wanted: list[int] = []
    stop = 0
    for span in spans:
        stop += len(span.token_ids)
        wanted += range(stop - span.num_logits, stop)
    return wanted
