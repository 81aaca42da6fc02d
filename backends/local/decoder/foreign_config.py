"""Which models of other people's making the engine may run, told from what their configuration says of itself.

A kept prefix is keys and values of every token in every layer. Layers that carry a state instead cannot be resumed
from it; layers that see a window are not run either, unless no sequence outgrows it. Code that comes with a checkpoint
is never run. What a configuration does not tell, `foreign` finds out when it loads the model.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.cache_utils import get_layer_types_and_kwargs
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from backends.local.decoder.config import QUANTISED, CheckpointError, ForeignConfig, token_ids

CONTEXT_NAMES = ("max_position_embeddings", "max_seq_len", "seq_length")
UNBOUNDED_CONTEXT_TOKENS = 2048  # of models that name no longest sequence
LENGTH_DEPENDENT_ROPES = ("dynamic", "longrope")


def read_foreign(path: Path, raw: Mapping[str, Any]) -> ForeignConfig:
    """Read config.json, `raw`, as transformers does.

    Raises `CheckpointError` for what is no causal language model or could not be resumed.
    """
    _refuse_unknown(raw)
    try:
        whole = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)  # nosec B615
        config = whole.get_text_config(decoder=True)
        _refuse_kind(whole)
        context_tokens = _context(config)
        _refuse_layers(config, context_tokens)
        return ForeignConfig(config.vocab_size, context_tokens, token_ids(config.eos_token_id))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, StrictDataclassError) as exc:
        raise CheckpointError(f"config.json of a {raw['model_type']!r} model is not understood: {exc}") from exc


def _refuse_unknown(raw: Mapping[str, Any]) -> None:
    kind = raw.get("model_type")
    if kind in CONFIG_MAPPING_NAMES:
        return
    if raw.get("auto_map"):
        raise CheckpointError(f"model type {kind!r} needs code that comes with the checkpoint, which is never run")
    raise CheckpointError(f"model type {kind!r} is unknown to transformers {transformers.__version__}")


def _refuse_kind(config: Any) -> None:
    kind = config.model_type
    if config.is_encoder_decoder:
        raise CheckpointError(f"model type {kind!r} has an encoder; the local engine runs decoders only")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise CheckpointError(f"model type {kind!r} is no causal language model that transformers knows")
    if getattr(config, "quantization_config", None):
        raise CheckpointError(QUANTISED)


def _refuse_layers(config: Any, context_tokens: int) -> None:
    """Refuse layers that are not full attention. A window no sequence outgrows is none."""
    kinds, options = get_layer_types_and_kwargs(config)
    for kind, option in zip(kinds, options, strict=True):
        window = option.get("sliding_window")
        if kind != "full_attention" and window is None:
            raise CheckpointError(
                f"layers of type {kind!r} cannot be resumed from kept keys and values; "
                "the local engine runs models whose layers are all full attention"
            )
        if window is not None and window < context_tokens:
            raise CheckpointError(
                f"layers see the last {window} of {context_tokens} tokens (a sliding window); "
                "the local engine runs models whose layers are all full attention"
            )


def _context(config: Any) -> int:
    """The longest sequence. Where angles change with its length, as far as they do not: kept keys have the old ones."""
    named = [getattr(config, name, None) or 0 for name in CONTEXT_NAMES]
    longest = next((tokens for tokens in named if tokens > 0), UNBOUNDED_CONTEXT_TOKENS)
    ropes = [rope for rope in _ropes(config) if rope.get("rope_type") in LENGTH_DEPENDENT_ROPES]
    return min([longest, *(rope.get("original_max_position_embeddings") or longest for rope in ropes)])


def _ropes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Rotary parameters: one set for all layers, or one for each type of them."""
    parameters = getattr(config, "rope_parameters", None) or {}
    if "rope_type" in parameters:
        yield parameters
    else:
        yield from (rope for rope in parameters.values() if isinstance(rope, Mapping))
