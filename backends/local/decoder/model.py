"""A Llama-like decoder over slabs: token ids in, logits out, keys and values left where they belong.

One forward takes the rows of several spans, one after the other. Products see all rows at once; attention is computed
per span, over the slab of its sequence: in one call for spans of one row it takes as long (bfloat16, 8 rows over 512).

torch compiles a product anew for every number of rows it meets (2 to 11 ms a layer's four), and keeps the last ones. So
products see one of a few numbers: rows of nothing are put behind the real ones, and their results are left.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from backends.local.decoder.attention import SpanAttention
from backends.local.decoder.base import Span
from backends.local.decoder.config import ModelConfig
from backends.local.decoder.rope import frequencies, rotate, turns
from backends.local.decoder.rows import AT_A_TIME, FewRows, wanted_rows
from backends.local.decoder.weights import DecoderWeights, LayerWeights


def padded(num_rows: int) -> int:
    """How many rows products see for so many: multiples of 4, from 64 on of 8; up to 8 as they are."""
    if num_rows <= AT_A_TIME:
        return num_rows
    step = 4 if num_rows <= 64 else 8
    return -(-num_rows // step) * step


class LlamaDecoder:
    """A `Decoder` of our own for Llama-like models."""

    def __init__(self, config: ModelConfig, weights: DecoderWeights, few: FewRows | None = None) -> None:
        """`few` computes forwards of a few rows; without it torch does, as it does all others."""
        self.config = config
        self._few = few
        self._weights = weights
        self._dtype, self._device = weights.embedding.dtype, weights.embedding.device
        per_token, self._rope_factor = frequencies(config.rope, config.head_dim, config.context_tokens)
        self._per_token = per_token.to(self._device)
        self._eps = torch.tensor(config.norm_eps, device=self._device)

    @property
    def alike_rows(self) -> int:
        """Our own kernels compute each row as if it were alone; torch's products do not."""
        return AT_A_TIME if self._few is not None else 0

    def new_slab(self, capacity: int) -> torch.Tensor:
        """Room for `capacity` tokens of one sequence, not filled."""
        config = self.config
        shape = (config.num_layers, 2, config.num_kv_heads, capacity, config.head_dim)
        return torch.empty(shape, dtype=self._dtype, device=self._device)

    @torch.inference_mode()
    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        """Compute all rows into their slabs; return the logits wanted, span by span, float32 `[logits, vocab]`."""
        if self._few is not None and self._few.takes(spans):
            return self._few.forward(spans)
        sizes = [len(span.token_ids) for span in spans]
        idle = padded(sum(sizes)) - sum(sizes)
        token_ids = [token for span in spans for token in span.token_ids] + [0] * idle
        cos, sin = self._turns(spans, idle)
        attentions = [SpanAttention(span, self.config) for span in spans]
        rows = F.embedding(torch.tensor(token_ids, device=self._device), self._weights.embedding)
        wanted = wanted_rows(spans)
        for number, layer in enumerate(self._weights.layers):
            heads = rotate(self._heads(layer, rows), cos, sin)
            self._write(number, heads, attentions, sizes)
            if number == self.config.num_layers - 1 and len(wanted) < len(rows):  # what is left computes logits only
                kept = torch.tensor(
                    wanted + wanted[:1] * (padded(len(wanted)) - len(wanted)), device=self._device
                ).long()
                heads, rows = heads[kept], rows[kept]
                spans = [_last_rows(span) for span in spans if span.num_logits]
                attentions = [SpanAttention(span, self.config) for span in spans]
                sizes = [span.num_logits for span in spans]
            if not len(rows):
                break
            rows = rows + layer.output(self._attend(number, heads, attentions, sizes))
            rows = rows + self._mlp(layer, rows)
        logits = self._weights.head(self._norm(rows, self._weights.norm))
        return logits[: len(wanted)].float().cpu()

    def _turns(self, spans: Sequence[Span], idle: int) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.config
        ranges = [torch.arange(span.start, span.stop, device=self._device) for span in spans]
        positions = torch.cat([*ranges, torch.zeros(idle, dtype=torch.int64, device=self._device)])
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
        keys_values = torch.split(heads[: sum(sizes), self.config.num_heads :], sizes)
        for attention, own in zip(attentions, keys_values, strict=True):
            attention.write(number, own)

    def _attend(
        self, number: int, heads: torch.Tensor, attentions: Sequence[SpanAttention], sizes: list[int]
    ) -> torch.Tensor:
        num_heads, num_rows = self.config.num_heads, sum(sizes)
        queries = torch.split(heads[:num_rows, :num_heads], sizes)
        outputs = [attention.attend(number, own) for attention, own in zip(attentions, queries, strict=True)]
        if len(heads) > num_rows:
            outputs.append(heads.new_zeros((len(heads) - num_rows, num_heads * self.config.head_dim)))
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


def _last_rows(span: Span) -> Span:
    """The rows of a span whose logits are wanted."""
    count = span.num_logits
    return Span(span.token_ids[-count:], span.slab, span.stop - count, count)
