"""Any other causal language model, computed by transformers' own class of it, over slabs of ours.

A forward gets a cache whose layers write into the slab of one sequence and return views of it, so all that passes from
one forward to the next lies in the slab. Whether that holds for a model is not believed but tried when it is loaded: a
prompt in pieces must end in the logits of the same prompt in one go without any cache.
"""

import inspect
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from backends.local.decoder.base import Decoder, Span
from backends.local.decoder.config import CheckpointError

CHECK_PIECES = (9, 1, 13, 1, 2, 1, 3, 1, 4, 1)  # tokens: chunks and single rows in turn, each behind the others
MAX_DEVIATION = {torch.float32: 1e-3, torch.bfloat16: 0.15}  # of logits, relative; a lost prefix is off by about 1
COMPLAINTS = (TypeError, ValueError, RuntimeError, AttributeError, LookupError)  # a class that wants another cache

log = logging.getLogger(__name__)


class ForeignDecoder:
    """A `Decoder` around a transformers model. One span per forward."""

    alike_rows = 0

    def __init__(self, model: Any, token: torch.Tensor) -> None:
        """`token` is a slab of one token, as the model fills it: `[L, 2, H_kv, 1, D]`."""
        self._model = model
        self._token = token
        self._device = token.device
        self._takes = inspect.signature(model.forward).parameters.keys()

    def new_slab(self, capacity: int) -> torch.Tensor:
        """Room for `capacity` tokens of one sequence, not filled."""
        *before, _, head_dim = self._token.shape
        return self._token.new_empty((*before, capacity, head_dim))

    @torch.inference_mode()
    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        """Compute all rows into their slabs; return the logits wanted, span by span, float32 `[logits, vocab]`."""
        return torch.cat([self._compute(span) for span in spans])

    def _compute(self, span: Span) -> torch.Tensor:
        """Models that take no positions count them by the length of the cache."""
        positions = torch.arange(span.start, span.stop, device=self._device)
        optional = {"position_ids": positions.unsqueeze(0), "logits_to_keep": max(1, span.num_logits)}
        output = self._model(
            input_ids=torch.tensor([list(span.token_ids)], device=self._device),
            past_key_values=Cache(layers=[SlabLayer(rows, span.start) for rows in span.slab]),
            use_cache=True,
            **{name: value for name, value in optional.items() if name in self._takes},
        )
        rows: torch.Tensor = output.logits[0]
        return rows[len(rows) - span.num_logits :].float().cpu()


class SlabLayer(CacheLayerMixin):  # type: ignore[misc]  # mypy does not follow transformers
    """Keys and values of one layer: rows are written in place and read as views."""

    is_sliding = False

    def __init__(self, rows: torch.Tensor, start: int) -> None:
        """`rows` is `[2, H_kv, capacity, D]`; the first `start` are filled."""
        super().__init__()
        self._rows = rows
        self._stop = start
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the slab is there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the next rows `[1, H_kv, rows, D]`; return all rows up to them."""
        start, self._stop = self._stop, self._stop + key_states.shape[-2]
        written, readable = self._rows[:, :, start : self._stop], self._rows[:, :, : self._stop]
        written[:1].copy_(key_states)
        written[1:].copy_(value_states)
        self.keys, self.values = readable[:1], readable[1:]
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Rows that will be read, and where they begin."""
        return self._stop + query_length, 0

    def get_seq_length(self) -> int:
        """Rows that are filled."""
        return self._stop

    def get_max_length(self) -> int:
        """Rows there is room for."""
        return self._rows.shape[-2]


def load_foreign(path: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> ForeignDecoder:
    """Load a model that computes the same in pieces as in one go. Raises `CheckpointError` for any other."""
    model = _load_model(path, dtype).to(device)
    name = type(model).__name__
    try:
        decoder = ForeignDecoder(model, _observe_token(model, dtype))
        deviation = _deviation(model, decoder)
    except COMPLAINTS as exc:
        raise CheckpointError(f"{name} cannot be run over kept keys and values: {exc}") from exc
    if not deviation <= MAX_DEVIATION[dtype]:  # so that nan is refused as well
        raise CheckpointError(
            f"{name} computes something else over kept keys and values than without them (logits are {deviation:.3g} "
            f"off); the local engine cannot serve it"
        )
    log.info("%s is computed by transformers; resumed logits are %.1g off", name, deviation)
    return decoder


def _load_model(path: Path, dtype: torch.dtype) -> Any:
    try:
        model, info = AutoModelForCausalLM.from_pretrained(  # nosec B615
            path,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ImportError, SafetensorError, *COMPLAINTS) as exc:
        raise CheckpointError(f"transformers cannot load {path}: {exc}") from exc
    if info["missing_keys"]:  # it would go on with random ones
        raise CheckpointError(f"the weights have no {', '.join(sorted(info['missing_keys'])[:3])}")
    return model


@torch.no_grad()
def _observe_token(model: Any, dtype: torch.dtype) -> torch.Tensor:
    """What the model itself hands to a cache for one token, `[L, 2, H_kv, 1, D]`. Raises `CheckpointError`."""
    name, cache = type(model).__name__, DynamicCache()
    model(input_ids=torch.tensor([[0]], device=model.device), past_key_values=cache, use_cache=True)
    num_layers = model.config.get_text_config(decoder=True).num_hidden_layers
    kept = [tensor for layer in cache.layers if layer.keys is not None for tensor in (layer.keys, layer.values)]
    if len(kept) != 2 * num_layers:
        raise CheckpointError(
            f"{name} keeps keys and values in {len(kept) // 2} of {num_layers} layers; the local engine runs models "
            "that keep them in every layer"
        )
    shapes = sorted({(tensor.dtype, tensor.shape[1], tensor.shape[-1]) for tensor in kept}, key=str)
    if len(shapes) > 1 or shapes[0][0] != dtype:
        listed = ", ".join(f"{heads} x {head_dim} {kind}" for kind, heads, head_dim in shapes)
        raise CheckpointError(f"{name} keeps keys and values that are not all alike: {listed}; {dtype} was asked for")
    return torch.cat(kept).view(num_layers, 2, *kept[0].shape[1:])


@torch.inference_mode()
def _deviation(model: Any, decoder: Decoder) -> float:
    """How far logits over a slab are from those without a cache, relative to how far those are from each other.

    It is the median over chunks or over single rows, the larger: in bfloat16 a router of experts may tip now and then.
    """
    num_tokens = sum(CHECK_PIECES)
    generator = torch.Generator().manual_seed(0)
    vocab_size = model.config.get_text_config(decoder=True).vocab_size
    token_ids = torch.randint(vocab_size, (num_tokens,), generator=generator)
    cold = model(input_ids=token_ids.unsqueeze(0).to(model.device), use_cache=False).logits[0].float().cpu()
    slab, stop, off = decoder.new_slab(num_tokens), 0, []
    for piece in CHECK_PIECES:
        start, stop = stop, stop + piece
        warm = decoder.forward([Span(token_ids[start:stop].tolist(), slab, start)])[0]
        expected = cold[stop - 1]
        off.append((warm - expected).norm() / (expected - expected.mean()).norm())
    medians = [torch.stack(each).median() for each in (off[0::2], off[1::2])]
    return float(torch.stack(medians).max())  # nan if there is one
