"""Decode speed: the engine beside `transformers` on the same weights, precision and number of threads.

The engine is asked over HTTP and streams, so its figures carry the whole gateway; transformers is called in this
process. Either way a batch of equal-length greedy generations is timed at two lengths, and the speed is the
difference in tokens over the difference in seconds: prefill and start-up cancel out. The two take turns.
"""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from backends.local.decoder import checkpoint
from backends.local.demo import checkpoint_path
from bench.figures import median
from bench.http1 import Connection
from bench.prefix import usage_of
from bench.processes import Server, gateway
from bench.rows import Row, Scale

CHAT = "/v1/chat/completions"
BATCHES = (1, 4, 8)
THREADS = 1
SMOLLM_SHAPE: dict[str, Any] = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spent:
    """What a generation took, in seconds."""

    wall_s: float
    cpu_s: float


class Generator(Protocol):
    """Something that generates greedily."""

    def generate(self, prompts: Sequence[str], length: int) -> Spent:
        """Answer every prompt with exactly `length` tokens, side by side."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens to generate, short and long."""

    short: int
    long: int


def run(scale: Scale) -> list[Row]:
    """Tokens per second for each batch, on the demo model; `large` adds random weights of SmolLM2-135M's shape."""
    rows = _compare(checkpoint_path(), "demo", Lengths(8, scale.of(136, 72)), scale.of(5, 2))
    if scale.large:
        with random_llama(checkpoint_path()) as path:
            rows += _compare(path, "SmolLM2-135M shape", Lengths(4, scale.of(36, 12)), scale.of(3, 1))
    return rows


def _compare(path: Path, name: str, lengths: Lengths, rounds: int) -> list[Row]:
    num_parameters = checkpoint.read(path).num_parameters
    dtype = checkpoint.choose_dtype("auto", num_parameters, checkpoint.cpu_flags())
    note = f"{num_parameters / 1e6:.0f} M parameters, {dtype}, {THREADS} thread; the engine over HTTP, streamed"
    rows = []
    with _engine(path, dtype) as engine:
        plain = Transformers(path, dtype)
        for batch in BATCHES:
            prompts = [f"Question {number}: what does a cache keep?" for number in range(batch)]
            for generator in (engine, plain):
                generator.generate(prompts, lengths.short)  # the first one of a shape is slower
            speeds = [(_speed(engine, prompts, lengths), _speed(plain, prompts, lengths)) for _ in range(rounds)]
            ours, theirs = zip(*speeds, strict=True)
            rows += _rows(f"{name}, batch {batch}", ours, theirs, note)
            note = ""
    return rows


def _rows(what: str, ours: Sequence[Spent], theirs: Sequence[Spent], note: str) -> list[Row]:
    wall, wall_beside = 1 / median([one.wall_s for one in ours]), 1 / median([one.wall_s for one in theirs])
    cpu, cpu_beside = 1 / median([one.cpu_s for one in ours]), 1 / median([one.cpu_s for one in theirs])
    return [
        Row("decode", what, wall, "tok/s", wall_beside, "transformers", note),
        Row("decode", f"{what}, per processor second", cpu, "tok/s", cpu_beside, "transformers"),
    ]


def _speed(generator: Generator, prompts: Sequence[str], lengths: Lengths) -> Spent:
    """Seconds per token of all prompts together, after the first tokens."""
    short = generator.generate(prompts, lengths.short)
    long = generator.generate(prompts, lengths.long)
    assert long.wall_s > short.wall_s, f"{lengths.long} tokens took {long}, {lengths.short} took {short}"
    tokens = len(prompts) * (lengths.long - lengths.short)
    return Spent((long.wall_s - short.wall_s) / tokens, max(1e-9, long.cpu_s - short.cpu_s) / tokens)


@dataclass(frozen=True, slots=True)
class Engine:
    """The gateway's own engine, cold: no tier is used."""

    server: Server
    model: str

    def generate(self, prompts: Sequence[str], length: int) -> Spent:
        before = self.server.cpu_s()
        wall_s = asyncio.run(self._generate(prompts, length))
        return Spent(wall_s, self.server.cpu_s() - before)

    async def _generate(self, prompts: Sequence[str], length: int) -> float:
        async with AsyncExitStack() as stack:
            lanes = [await stack.enter_async_context(Connection(self.server.url, CHAT)) for _ in prompts]
            started = time.perf_counter()
            answers = await asyncio.gather(
                *(lane.post(self._body(prompt, length)) for lane, prompt in zip(lanes, prompts, strict=True))
            )
            seconds = time.perf_counter() - started
        for answer in answers:
            assert answer.status == 200, answer.body
            usage = usage_of(answer.body)
            assert usage["completion_tokens"] == length, f"{usage['completion_tokens']} tokens instead of {length}"
            assert usage["prompt_tokens_details"]["cached_tokens"] == 0, usage
        return seconds

    def _body(self, prompt: str, length: int) -> bytes:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "cache": {"tiers": []},
            "max_tokens": length,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return json.dumps(body).encode()


@contextmanager
def _engine(path: Path, dtype: str) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        config = Path(folder) / "config.toml"
        config.write_text(
            f'[engine]\nthreads = {THREADS}\nmax_running = {max(BATCHES)}\ndtype = "{dtype}"\n'
            "[cache]\nsemantic = false\n",
            "utf-8",
        )
        with gateway("--model", str(path), "--config", str(config), within_s=300.0) as server:
            yield Engine(server, path.name)


class Transformers:
    """`generate` of the library on the same files, in this process."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._torch = import_module("torch")
        library = import_module("transformers")
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
        self._torch.set_num_threads(THREADS)
        self._tokenizer = library.AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = library.AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(self._torch, dtype), local_files_only=True
        )
        self._model = model.eval()
        self._model.generation_config = library.GenerationConfig(do_sample=False, pad_token_id=0)  # and no end token

    def generate(self, prompts: Sequence[str], length: int) -> Spent:
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        started, cpu = time.perf_counter(), time.process_time()
        batch = self._tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with self._torch.inference_mode():
            found = self._model.generate(**inputs, max_new_tokens=length)
        spent = Spent(time.perf_counter() - started, time.process_time() - cpu)
        assert found.shape[1] - inputs["input_ids"].shape[1] == length, found.shape
        return spent


@contextmanager
def random_llama(tokenizer: Path) -> Iterator[Path]:
    """A checkpoint of SmolLM2-135M's shape with random weights; the tokenizer is the one beside `tokenizer`."""
    torch, library = import_module("torch"), import_module("transformers")
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        path = Path(folder) / "random-llama"
        torch.manual_seed(0)
        with torch.device("cpu"):
            model = library.LlamaForCausalLM(library.LlamaConfig(**SMOLLM_SHAPE)).to(torch.bfloat16)
        model.save_pretrained(path)
        for file in tokenizer.iterdir():
            if file.name not in ("config.json", "model.safetensors"):
                shutil.copy(file, path / file.name)
        yield path
