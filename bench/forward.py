"""The decoder alone beside transformers' forward: no engine, no HTTP; `python -m bench forward`.

One thread, and its processor seconds count, so a busy neighbour shows less. The two take turns over the same work, and
of several rounds the fastest is taken: what disturbs only ever adds. Keys and values of a context are random: neither
side looks at what they hold.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import transformers

from backends.local.decoder import checkpoint
from backends.local.decoder.base import Span
from backends.local.decoder.config import ModelConfig
from backends.local.decoder.model import LlamaDecoder
from backends.local.decoder.rows import few_rows, has_rows
from backends.local.decoder.weights import load_weights
from bench.engine.models import QWEN25_500M, SMOLLM2_135M, checkpoint_of
from bench.rows import Row, Scale

BESIDE = "transformers bfloat16"
BATCHES, DECODE_CONTEXT = (1, 4, 8), 512
CHUNK = 128  # rows of a prompt at a time, as the engine has it
NEW_TOKENS, READY_TOKENS = 64, 2048
Work = Callable[[], object]


def run(scale: Scale) -> list[Row]:
    """Decode steps, a warm start and prefill, in each precision of the weights; `large` adds the second shape."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    rows = []
    for shape in (SMOLLM2_135M, QWEN25_500M) if scale.large else (SMOLLM2_135M,):
        path = checkpoint_of(shape)
        for weights in ("", "int8", "int4"):
            ours, theirs = Ours(path, weights), Theirs(path)
            rows += _compare(f"{shape}, {weights or 'bfloat16'} weights", ours, theirs, scale, prefills=not weights)
    return rows


def _compare(name: str, ours: "Ours", theirs: "Theirs", scale: Scale, *, prefills: bool) -> list[Row]:
    rounds, rows = scale.of(8, 2), []
    with torch.inference_mode():
        for batch in BATCHES:
            step, their_step = ours.step(batch, DECODE_CONTEXT), theirs.step(batch, DECODE_CONTEXT)
            rows.append(_row(f"{name}: decode, batch {batch}", batch, step, their_step, rounds))
        if not prefills:
            return rows
        resume, their_resume = ours.resume(NEW_TOKENS, READY_TOKENS), theirs.resume(NEW_TOKENS, READY_TOKENS)
        what = f"{name}: {NEW_TOKENS} tokens over {READY_TOKENS} ready ones"
        rows.append(_row(what, NEW_TOKENS, resume, their_resume, rounds))
        for length in (512, 2048):
            prefill, their_prefill = ours.prefill(length), theirs.prefill(length)
            rows.append(_row(f"{name}: prefill of {length}", length, prefill, their_prefill, scale.of(3, 1)))
    return rows


def _row(what: str, num_tokens: int, ours: Work, theirs: Work, rounds: int) -> Row:
    fastest = _fastest({"ours": ours, "theirs": theirs}, rounds)
    speeds = {name: num_tokens / seconds for name, seconds in fastest.items()}
    return Row("forward", what, speeds["ours"], "tok/s", speeds["theirs"], BESIDE, f"{fastest['ours'] * 1000:.1f} ms")


def _fastest(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """Processor seconds of each, in turns, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(1 + rounds):
        for name, work in works.items():
            started = time.thread_time()
            work()
            seconds[name].append(time.thread_time() - started)
    return {name: min(spent[1:]) for name, spent in seconds.items()}


def _tokens(count: int) -> list[int]:
    found: list[int] = torch.randint(1000, 2000, (count,), generator=torch.Generator().manual_seed(0)).tolist()
    return found


class Ours:
    """Our own decoder."""

    def __init__(self, path: Path, weights: str) -> None:
        config = checkpoint.read_config(path)
        assert isinstance(config, ModelConfig)
        files = checkpoint.weight_files(path)
        has_few = has_rows(torch.bfloat16, weights)
        loaded = load_weights(files, config, torch.bfloat16, weights=weights, has_rows=has_few)
        self._decoder = LlamaDecoder(config, loaded, few_rows(config, loaded) if has_few else None)

    def step(self, batch: int, context: int) -> Work:
        slabs = [self._decoder.new_slab(context + 1).normal_() for _ in range(batch)]
        return lambda: self._decoder.forward([Span([7], slab, context) for slab in slabs])

    def resume(self, new: int, ready: int) -> Work:
        slab, token_ids = self._decoder.new_slab(ready + new).normal_(), _tokens(new)
        return lambda: self._decoder.forward([Span(token_ids, slab, ready)])

    def prefill(self, length: int) -> Work:
        slab, token_ids = self._decoder.new_slab(length), _tokens(length)

        def work() -> None:
            for start in range(0, length, CHUNK):
                self._decoder.forward([Span(token_ids[start : start + CHUNK], slab, start)])

        return work


class Theirs:
    """The library, with its own cache, and logits of the last row only."""

    def __init__(self, path: Path) -> None:
        self._model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()

    def step(self, batch: int, context: int) -> Work:
        return self._over([_tokens(context)] * batch, [[7]] * batch)

    def resume(self, new: int, ready: int) -> Work:
        return self._over([_tokens(ready)], [_tokens(new)])

    def prefill(self, length: int) -> Work:
        token_ids = torch.tensor([_tokens(length)])
        return lambda: self._model(token_ids, use_cache=True, logits_to_keep=1)

    def _over(self, kept: Sequence[Sequence[int]], new: Sequence[Sequence[int]]) -> Work:
        cache = transformers.DynamicCache(config=self._model.config)
        self._model(torch.tensor(kept), past_key_values=cache, logits_to_keep=1)
        token_ids = torch.tensor(new)

        def work() -> None:
            self._model(token_ids, past_key_values=cache, logits_to_keep=1)
            cache.crop(-token_ids.shape[1])

        return work
