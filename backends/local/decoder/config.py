"""The shape of a decoder, read from a checkpoint's config.json as transformers 4 or 5 writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ROPE_TYPES = ("default", "linear", "llama3", "yarn")
SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings",
)  # fmt: skip
OPTIONAL_SIZES = ("num_key_value_heads", "head_dim")
MOST = 1 << 31
QUANTISED = "quantised checkpoints are not supported; choose one with plain safetensors weights"


class CheckpointError(Exception):
    """A checkpoint that cannot be found, read or served; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A Llama-like decoder. Biases, norms of queries and keys, and an untied head are seen from the weights."""

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    is_head_tied: bool
    context_tokens: int
    windows: tuple[int | None, ...]  # of each layer: how many tokens a token sees, itself among them; None: all
    rope: Mapping[str, Any]
    eos_token_ids: tuple[int, ...]

    @property
    def knee_tokens(self) -> float:
        """How many tokens a token looks back on when attention costs it as much as its products with the weights."""
        queries, keys_values = self.num_heads * self.head_dim, 2 * self.num_kv_heads * self.head_dim
        per_layer = self.hidden_size * (2 * queries + keys_values + 3 * self.intermediate_size)
        return per_layer / (2 * queries)

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "ModelConfig":
        """Read config.json. Raises `CheckpointError` for a model this engine would compute wrongly."""
        objection = objection_to(config)
        if objection is not None:
            raise CheckpointError(objection)
        try:
            heads = config["num_attention_heads"]
            _refuse_bad_numbers(config)
            default_head_dim = 128 if config["model_type"] == "qwen3" else config["hidden_size"] // heads
            return cls(
                family=config["model_type"],
                vocab_size=config["vocab_size"],
                hidden_size=config["hidden_size"],
                intermediate_size=config["intermediate_size"],
                num_layers=config["num_hidden_layers"],
                num_heads=heads,
                num_kv_heads=config.get("num_key_value_heads") or heads,
                head_dim=config.get("head_dim") or default_head_dim,
                norm_eps=config.get("rms_norm_eps", 1e-6),
                is_head_tied=config.get("tie_word_embeddings", False),
                context_tokens=config["max_position_embeddings"],
                windows=_windows(config),
                rope=_rope(config),
                eos_token_ids=token_ids(config.get("eos_token_id")),
            )
        except KeyError as exc:
            raise CheckpointError(f"config.json has no {exc.args[0]!r}") from exc


@dataclass(frozen=True, slots=True)
class ForeignConfig:
    """A decoder that transformers computes: what has to be known of it before it is loaded."""

    vocab_size: int
    context_tokens: int
    eos_token_ids: tuple[int, ...]


def token_ids(value: int | Sequence[int] | None) -> tuple[int, ...]:
    """Token ids as configuration files spell them: one, several or none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def objection_to(config: Mapping[str, Any]) -> str | None:
    """Why our own decoder would compute a model wrongly; None when it would not."""
    family, rope = config.get("model_type"), _rope(config)
    if family not in FAMILIES:
        return f"model type {family!r} is not supported; the local engine runs {', '.join(FAMILIES)}"
    if config.get("quantization_config"):
        return QUANTISED
    if config.get("hidden_act", "silu") != "silu":
        return f"activation {config['hidden_act']!r} is not supported; the local engine computes silu"
    if rope["rope_type"] not in ROPE_TYPES:
        return f"rope type {rope['rope_type']!r} is not supported; known are {', '.join(ROPE_TYPES)}"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        return "partial rotary embeddings are not supported"
    return None


def _refuse_bad_numbers(config: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` for a size that is none: memory is taken and gone through by them."""
    for name in (*SIZES, *(name for name in OPTIONAL_SIZES if config.get(name))):
        _refuse_bad_size(name, config[name])
    heads, kv_heads = config["num_attention_heads"], config.get("num_key_value_heads")
    if heads % (kv_heads or heads):
        raise CheckpointError(f"config.json has {heads} attention heads, no multiple of its {kv_heads} key value heads")
    kinds = config.get("layer_types")
    if kinds and len(kinds) != config["num_hidden_layers"]:
        raise CheckpointError(f"config.json has {config['num_hidden_layers']} layers and {len(kinds)} 'layer_types'")


def _refuse_bad_size(name: str, size: object) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size < MOST:
        raise CheckpointError(f"{name!r} of config.json is {size!r}, which is no size")


def _windows(config: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The sliding window of each layer, where transformers sees one. What a configuration leaves out is 4096."""
    family: str = config["model_type"]
    num_layers: int = config["num_hidden_layers"]
    window: int | None = config.get("sliding_window", 4096)
    if family == "llama" or window is None or not config.get("use_sliding_window", family == "mistral"):
        return (None,) * num_layers
    _refuse_bad_size("sliding_window", window)
    if family == "mistral":
        return (window,) * num_layers
    first = config.get("max_window_layers", 28)
    kinds = config.get("layer_types") or [
        "sliding_attention" if number >= first else "full_attention" for number in range(num_layers)
    ]
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rotary parameters under transformers 5's names, whichever version wrote them."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    rope.setdefault("rope_theta", config.get("rope_theta") or 10_000.0)
    rope.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    return rope
