"""The least a warm start can take: one forward of the new tokens over keys and values that lie ready."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.local import assembly
from backends.local.decoder import TOKEN_DIM, Span
from bench.engine.serving import THREADS


class Bare:
    """The engine's own decoder in this process, without an engine around it."""

    name = "a bare forward over ready keys and values"

    def __init__(self, path: Path, dtype: str) -> None:
        import torch

        torch.set_num_threads(THREADS)
        self._decoder: Any = assembly._load_decoder(path, assembly.DTYPES[dtype])

    def keep(self, num_tokens: int, room: int = 512) -> Any:
        """A slab with `num_tokens` rows of something."""
        slab = self._decoder.new_slab(num_tokens + room)
        return slab.normal_()

    def seconds(self, slab: Any, token_ids: Sequence[int], room: int = 512) -> float:
        """Seconds to the logits after `token_ids`, the last rows of the slab."""
        start = slab.shape[TOKEN_DIM] - room
        started = time.perf_counter()
        self._decoder.forward([Span(token_ids, slab, start)]).argmax(-1)
        return time.perf_counter() - started
