"""A forward of a few rows by our own kernels: whether there are any here, and where everything lies for them.

A step of decoding is as fast as memory when each weight is read once and nothing else costs much. The kernels are
compiled at the first start on a machine and kept. Without numba, on a processor they have no instructions for, or
where oneDNN lays weights out as they do not know it, a few rows take torch's road as chunks do. They run on one thread
however many there are.

The kernels trust addresses and sizes. So `weights` checks every shape, and a forward its tokens and its room.
"""

import logging
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch

from backends.local.decoder.base import TOKEN_DIM, Span
from backends.local.decoder.config import ModelConfig
from backends.local.decoder.device import has_onednn
from backends.local.decoder.linear import Linear
from backends.local.decoder.packing import BYTES_OF, LAYOUT
from backends.local.decoder.rope import frequencies
from backends.local.decoder.weights import DecoderWeights, LayerWeights

log = logging.getLogger(__name__)

AT_A_TIME = 8  # rows that the kernels compute
MOST_ROWS, MOST_SEEN = 64, 1024  # of several goes: torch is as fast with more rows, or more tokens to look at
ROWS_OF_LARGE = 32  # where every go reads the weights from memory anew
CACHED_BYTES = 32 << 20  # of weights, at most, that are still in a cache when the next go reads them
Array = np.typing.NDArray[np.int64]
_STORED = {torch.float32: np.float32, torch.bfloat16: np.uint16}


@cache
def kernels(dtype: torch.dtype) -> ModuleType | None:
    """The kernels, compiled for models in `dtype`; None where they cannot be."""
    try:
        from backends.local.decoder import kernels

        if (kernels.MOST_ROWS, *kernels.LAYOUT) != (AT_A_TIME, *LAYOUT):
            raise RuntimeError("the kernels read another layout of weights than there is")
        kernels.compile_for(_STORED[dtype])  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever it is, there is another road
        log.warning("a few rows are computed as many are, which takes longer: %s", error)
        return None
    return kernels


def has_rows(dtype: torch.dtype, weights: str = "", device: torch.device | str = "cpu") -> bool:
    """Whether a few rows can be computed here by our own kernels.

    Quantised weights take activations in 8 bits, which is for a model that does not count on more than bfloat16.
    """
    if torch.device(device).type != "cpu" or not has_onednn(dtype):
        return False
    found = kernels(dtype)
    return found is not None and (not weights or (dtype == torch.bfloat16 and found.HAS_INT8))


def few_rows(config: ModelConfig, weights: DecoderWeights) -> "FewRows | None":
    """A forward of a few rows of a model; None where the kernels cannot read its weights."""
    compiled = kernels(weights.embedding.dtype)
    products = [each for layer in weights.layers for each in (layer.qkv, layer.output, layer.gate_up, layer.down)]
    if compiled is None:
        return None
    if any(product.packed is None for product in (*products, weights.head)):
        log.warning(
            "a few rows are computed as many are, which takes longer: the weights are laid out in an unknown way"
        )
        return None
    return FewRows(config, weights, compiled)


class FewRows:
    """Forwards of a few rows, eight at a time. A row's result does not depend on the rows it is computed with."""

    def __init__(self, config: ModelConfig, weights: DecoderWeights, compiled: ModuleType) -> None:
        self._config, self._step = config, compiled.step
        self._held: list[torch.Tensor] = []
        self._embedding = _numpy(weights.embedding)
        pairs = zip(weights.layers, config.windows, strict=True)
        self._layers = np.array([self._line(layer, window) for layer, window in pairs], np.int64)
        assert weights.head.packed is not None
        self._head = np.array([self._floats(weights.norm), *weights.head.packed.line()], np.int64)
        angles, factor = frequencies(config.rope, config.head_dim, config.context_tokens)
        self._rope = (angles.numpy(), np.float32(factor))
        self._outputs = -(-config.vocab_size // 64) * 64
        products = [each for layer in weights.layers for each in (layer.qkv, layer.output, layer.gate_up, layer.down)]
        self.most_rows = MOST_ROWS if sum(map(_bytes_of, products)) <= CACHED_BYTES else ROWS_OF_LARGE

    def _line(self, layer: LayerWeights, window: int | None) -> list[int]:
        norms = (layer.attention_norm, layer.query_norm, layer.key_norm, layer.mlp_norm)
        products = (layer.qkv.packed, layer.output.packed, layer.gate_up.packed, layer.down.packed)
        lines = [number for packed in products if packed is not None for number in packed.line()]
        return [*map(self._floats, norms), window or 0, *lines]

    def _floats(self, weight: torch.Tensor | None) -> int:
        """The address of a norm's weights in float32."""
        if weight is None:
            return 0
        self._held.append(weight.float().contiguous())
        return self._held[-1].data_ptr()

    def takes(self, spans: Sequence[Span]) -> bool:
        """Whether these are few enough; up to eight rows are whatever they see."""
        rows = sum(len(span.token_ids) for span in spans)
        return rows <= AT_A_TIME or (rows <= self.most_rows and max(span.stop for span in spans) <= MOST_SEEN)

    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        """As a decoder's forward, of spans of a few rows in all.

        The kernels trust what they are told: raises IndexError for a token that is none, and for rows without room.
        """
        token_ids = [token for span in spans for token in span.token_ids]
        if not 0 <= min(token_ids) <= max(token_ids) < self._config.vocab_size:
            raise IndexError(f"tokens {token_ids} are not all of the model's {self._config.vocab_size}")
        for span in spans:
            _refuse_outside(span)
        tokens = np.array(token_ids, np.int64)
        seen = [
            (stop, span.slab.data_ptr(), span.slab.shape[TOKEN_DIM])
            for span in spans
            for stop in range(span.start + 1, span.stop + 1)
        ]
        wanted = np.array(wanted_rows(spans), np.int64)
        spots = np.array(seen, np.int64)
        logits = [
            self._few(
                tokens[i : i + AT_A_TIME],
                spots[i : i + AT_A_TIME],
                wanted[(wanted >= i) & (wanted < i + AT_A_TIME)] - i,
            )
            for i in range(0, len(tokens), AT_A_TIME)
        ]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def _few(self, tokens: Array, spots: Array, wanted: Array) -> torch.Tensor:
        config = self._config
        room = torch.empty((AT_A_TIME if len(wanted) else 0, self._outputs))
        shape = (
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
            config.intermediate_size,
            int(spots[:, 0].max()),
        )
        self._step(
            shape,
            np.float32(config.norm_eps),
            self._embedding,
            self._layers,
            self._head,
            tokens,
            spots,
            self._rope,
            wanted,
            room.numpy(),
        )
        return room[: len(wanted), : config.vocab_size]


def _bytes_of(product: Linear) -> float:
    packed = product.packed
    return 0.0 if packed is None else packed.outputs * packed.inputs * BYTES_OF[packed.kind]


def _refuse_outside(span: Span) -> None:
    rows, capacity = len(span.token_ids), span.slab.shape[TOKEN_DIM]
    if not (span.start >= 0 and span.stop <= capacity and 0 <= span.num_logits <= rows):
        raise IndexError(
            f"rows [{span.start}, {span.stop}) of a slab of {capacity}, logits of the last {span.num_logits}"
        )


def _numpy(weight: torch.Tensor) -> Any:
    """numpy has no bfloat16: its bits."""
    return weight.view(torch.uint16).numpy() if weight.dtype == torch.bfloat16 else weight.numpy()


def wanted_rows(spans: Sequence[Span]) -> list[int]:
    """Which of all rows have their logits wanted."""
    wanted: list[int] = []
    stop = 0
    for span in spans:
        stop += len(span.token_ids)
        wanted += range(stop - span.num_logits, stop)
    return wanted
