"""Rotary position embeddings: which angle each pair of dimensions turns by, per token of distance.

The scalings follow their papers and give the numbers transformers gives: linear interpolation, Llama 3's split by
wavelength, and YaRN (arXiv 2309.00071).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch


def frequencies(rope: Mapping[str, Any], head_dim: int, context_tokens: int) -> tuple[torch.Tensor, float]:
    """Angles per token `[head_dim / 2]`, float32, and the factor on cosines and sines."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).to(torch.float32) / head_dim
    plain = 1.0 / (rope["rope_theta"] ** exponents)
    match rope["rope_type"]:
        case "linear":
            return plain / rope["factor"], 1.0
        case "llama3":
            return _llama3(plain, rope), 1.0
        case "yarn":
            return _yarn(rope, head_dim, context_tokens)
    return plain, 1.0


def turns(
    positions: torch.Tensor, per_token: torch.Tensor, factor: float, *, scale: float, num_heads: int, num_kv_heads: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and signed sines `[T, H + 2 * H_kv, head_dim]` for `rotate`, float32.

    Queries are scaled on the way, so that attention need not; values are not turned.
    """
    half = positions[:, None, None].to(torch.float32) * per_token
    cos, sin = half.cos() * factor, half.sin() * factor
    cos, sin = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    queries, keys = (-1, num_heads, -1), (-1, num_kv_heads, -1)
    return (
        torch.cat(((cos * scale).expand(queries), cos.expand(keys), torch.ones_like(cos).expand(keys)), 1),
        torch.cat(((sin * scale).expand(queries), sin.expand(keys), torch.zeros_like(sin).expand(keys)), 1),
    )


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn `[T, H, head_dim]`: dimension i is paired with i + head_dim / 2, as checkpoints of Hugging Face are."""
    return (heads * cos).addcmul_(heads.roll(heads.shape[-1] // 2, -1), sin)


def _llama3(plain: torch.Tensor, rope: Mapping[str, Any]) -> torch.Tensor:
    """Short wavelengths stay, long ones are stretched, those between are blended."""
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    original = rope["original_max_position_embeddings"]
    wavelength = 2 * math.pi / plain
    blend = ((original / wavelength - low) / (high - low)).clamp(0, 1)
    blended: torch.Tensor = (1 - blend) * plain / factor + blend * plain
    return blended


def _yarn(rope: Mapping[str, Any], head_dim: int, context_tokens: int) -> tuple[torch.Tensor, float]:
    theta, original = rope["rope_theta"], rope["original_max_position_embeddings"]
    factor = rope.get("factor") or context_tokens / original

    def dimension(rotations: float) -> float:
        """The dimension that turns so many times over the original context."""
        return head_dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(rope.get("beta_fast") or 32), dimension(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    ramp = (torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low or 0.001)
    stretched = ramp.clamp(0, 1)
    wavelengths = theta ** (torch.arange(0, head_dim, 2).to(torch.float32) / head_dim)
    blended = 1.0 / (factor * wavelengths) * stretched + 1.0 / wavelengths * (1 - stretched)
    return blended, _yarn_factor(rope, factor)


def _yarn_factor(rope: Mapping[str, Any], factor: float) -> float:
    """How much YaRN sharpens attention."""
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])

    def scale(m: float) -> float:
        return 0.1 * m * math.log(factor) + 1.0 if factor > 1 else 1.0

    one, all_dims = rope.get("mscale"), rope.get("mscale_all_dim")
    return scale(one) / scale(all_dims) if one and all_dims else scale(1.0)
