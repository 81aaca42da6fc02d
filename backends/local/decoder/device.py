"""Where a model is computed, and what the processor is good at."""

from functools import cache

import torch

from backends.local.decoder.config import CheckpointError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(asked: str, weights: str = "") -> torch.device:
    """CUDA where there is one, else the processor. Raises `CheckpointError` for what this machine cannot do."""
    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        raise CheckpointError("device 'cuda' was asked for, and torch sees none; use device 'cpu' or 'auto'")
    if asked == "cuda" and weights:
        raise CheckpointError(
            f"{weights} weights are computed on the processor only; use device 'cpu', or no {weights}"
        )
    return torch.device("cuda" if has_cuda and asked != "cpu" and not weights else "cpu")


@cache
def has_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies by weights of this type here: bfloat16 takes AVX-512 or more."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def has_slow_flash_attention() -> bool:
    """Whether torch's fused attention takes longer in bfloat16 than two products with a softmax between.

    It does where the processor multiplies bfloat16 without AMX: 72 against 119 GFLOP/s for 128 rows over 2048.
    """
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()
