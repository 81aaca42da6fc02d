"""The least a warm start can take: one forward of the new tokens over keys and values that lie ready."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from backends.local.decoder import checkpoint
from backends.local.decoder.base import TOKEN_DIM, Span
from backends.local.decoder.config import ModelConfig
from backends.local.decoder.model import LlamaDecoder
from backends.local.decoder.weights import load_weights
from bench.engine.serving import THREADS


class Bare:
    """The engine's own decoder in this process, without an engine around it."""

    name = "a bare forward over ready keys and values"

    def __init__(self, path: Path, dtype: str) -> None:
        torch.set_num_threads(THREADS)
        config = checkpoint.read_config(path)
        assert isinstance(config, ModelConfig)
        files = checkpoint.weight_files(path)
        self._decoder = LlamaDecoder(config, load_weights(files, config, getattr(torch, dtype)))

    def keep(self, num_tokens: int, room: int = 512) -> torch.Tensor:
        """A slab with `num_tokens` rows of something."""
        slab = self._decoder.new_slab(num_tokens + room)
        return slab.normal_()

    def seconds(self, slab: torch.Tensor, token_ids: Sequence[int], room: int = 512) -> float:
        """Seconds to the logits after `token_ids`, the last rows of the slab."""
        start = slab.shape[TOKEN_DIM] - room
        started = time.perf_counter()
        self._decoder.forward([Span(token_ids, slab, start)]).argmax(-1)
        return time.perf_counter() - started
