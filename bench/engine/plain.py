"""transformers in this process, on the same files: what one gets from the library with some care, not the worst of it.

Decoding is a loop over its forward with a `DynamicCache` and greedy choice, prefill one forward whose logits are kept
for the last row only; `generate` is the library's own loop.
"""

import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.engine.serving import THREADS


class Transformers:
    """One model of the library."""

    name = "transformers"

    def __init__(self, path: Path, dtype: str, threads: int = THREADS) -> None:
        self._torch = import_module("torch")
        self._library = import_module("transformers")
        self._library.utils.logging.disable_progress_bar()
        self._library.utils.logging.set_verbosity_error()
        self._torch.set_num_threads(threads)
        model = self._library.AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(self._torch, dtype), local_files_only=True
        )
        self._model: Any = model.eval()
        self._model.generation_config = self._library.GenerationConfig(do_sample=False, pad_token_id=0)

    def decode_seconds(self, prompts: Sequence[Sequence[int]], steps: int) -> float:
        """Seconds of `steps` decode steps after prompts of one length, side by side."""
        torch = self._torch
        with torch.inference_mode():
            cache = self._library.DynamicCache()
            chosen = self._forward(torch.tensor([list(prompt) for prompt in prompts]), cache)
            started = time.perf_counter()
            for _ in range(steps):
                chosen = self._forward(chosen, cache)
            return time.perf_counter() - started

    def first_seconds(self, prompt: Sequence[int]) -> float:
        """Seconds to the first token of a prompt from nothing."""
        started = time.perf_counter()
        with self._torch.inference_mode():
            self._forward(self._torch.tensor([list(prompt)]), self._library.DynamicCache())
        return time.perf_counter() - started

    def keep(self, prefix: Sequence[int]) -> Any:
        """A cache that holds `prefix`."""
        cache = self._library.DynamicCache()
        with self._torch.inference_mode():
            self._forward(self._torch.tensor([list(prefix)]), cache)
        return cache

    def resume_seconds(self, cache: Any, rest: Sequence[int]) -> float:
        """Seconds to the first token of what follows a kept prefix; the cache is as before afterwards."""
        started = time.perf_counter()
        with self._torch.inference_mode():
            self._forward(self._torch.tensor([list(rest)]), cache)
        seconds = time.perf_counter() - started
        cache.crop(-len(rest))  # a positive length is refused
        return seconds

    def generate_seconds(self, prompt: Sequence[int], length: int) -> float:
        """Seconds of the library's own greedy `generate`."""
        inputs = self._torch.tensor([list(prompt)])
        started = time.perf_counter()
        with self._torch.inference_mode():
            found = self._model.generate(
                input_ids=inputs, attention_mask=self._torch.ones_like(inputs), max_new_tokens=length
            )
        seconds = time.perf_counter() - started
        assert found.shape[1] == len(prompt) + length, found.shape
        return seconds

    def _forward(self, token_ids: Any, cache: Any) -> Any:
        """The tokens chosen after the rows `token_ids`, `[rows, 1]`."""
        output = self._model(input_ids=token_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1:].argmax(-1)
