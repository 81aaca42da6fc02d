"""When memory is short inside a step, one request gives way and the others do not notice."""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import psutil
import pytest
import torch

from backends.local.assembly import _load_decoder
from backends.local.cores import num_cores, share_of_cores
from backends.local.decoder.base import Decoder, Span
from backends.local.engine.engine import Engine
from backends.local.engine.kv import build_cache
from backends.local.engine.matcher import Grammars
from backends.local.engine.runner import Runner
from backends.local.engine.scheduler import Limits
from backends.local.memory import give_back_free_memory, is_out_of_memory
from backends.local.params import Sampling
from backends.local.wire import Broken, Event, Warm
from backends.local.worker import careful_step
from kvtier.arena import KVArena
from kvtier.geometry import KVGeometry
from tests.backends.local.engines import GREEDY, Outcome, ask, assert_empty, load, reference, tokens

Checkpoints = Callable[[str], Path]
WORDS = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"


class Scarce:
    """A decoder on a machine where only so many tokens have room."""

    def __init__(self, decoder: Decoder, *, slab_tokens: int = 10**9, forward_tokens: int = 10**9) -> None:
        self._decoder = decoder
        self._slab_tokens = slab_tokens
        self._forward_tokens = forward_tokens
        self.alike_rows = decoder.alike_rows

    def new_slab(self, capacity: int) -> torch.Tensor:
        if capacity > self._slab_tokens:
            raise MemoryError
        return self._decoder.new_slab(capacity)

    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        if max(span.stop for span in spans) > self._forward_tokens:
            raise RuntimeError(WORDS)
        return self._decoder.forward(spans)


def scarce_engine(path: Path, **limits: int) -> Engine:
    message = load(path)
    decoder = Scarce(_load_decoder(message, lambda _: None), **limits)
    num_layers, _, num_kv_heads, _, head_dim = decoder.new_slab(0).shape
    cache = build_cache(message, KVGeometry(num_layers, num_kv_heads, head_dim, message.dtype))
    return Engine(
        Runner(decoder, cache),
        Limits(max_running=8, max_waiting=32, chunk_tokens=128, slab_tokens=10**6),
        Grammars(path, message.eos_token_ids),
        context_tokens=message.context_tokens,
        vocab_size=300,
        eos_token_ids=frozenset(),
    )


def drive(engine: Engine) -> tuple[Outcome, list[int]]:
    """What an engine says until nothing is left to do, and the requests it gave up."""
    outcome, broken = Outcome(), list[int]()
    while engine.has_work:
        events = careful_step(engine)
        broken += [event.request for event in events if isinstance(event, Broken)]
        outcome.take([event for event in events if not isinstance(event, Broken)])
    return outcome, broken


@pytest.mark.parametrize("limits", [{"slab_tokens": 500}, {"forward_tokens": 600}, {"forward_tokens": 130}])
def test_the_largest_request_gives_way_and_the_others_go_on_as_if_alone(
    checkpoints: Checkpoints, limits: dict[str, int]
) -> None:
    path = checkpoints("llama")
    engine = scarce_engine(path, **limits)
    small = [tokens(seed, 40 + seed) for seed in range(3)]
    for number, prompt in enumerate(small):
        engine.submit(ask(prompt, number, max_tokens=20))
    engine.submit(ask(tokens(9, 650), 9, max_tokens=20))
    outcome, broken = drive(engine)

    assert broken == [9]
    for number, prompt in enumerate(small):
        assert outcome.tokens[number, 0] == reference(path, prompt, 20, ends=False)
    assert engine.stats().slab_tokens == 0


class Spent(Random):
    """Luck that takes memory, once, when there is none."""

    def random(self) -> float:
        if not getattr(self, "was_asked", False):
            self.was_asked = True
            raise MemoryError
        return super().random()


@pytest.mark.parametrize("number", [1, 2])
def test_what_was_said_before_memory_ended_reaches_its_callers(checkpoints: Checkpoints, number: int) -> None:
    path = checkpoints("llama")
    engine = scarce_engine(path)
    prompts = [tokens(seed, 40) for seed in range(4)]
    lengths = [1, 20, 20, 20]  # the first ends with the token it says before memory does
    lucky = Sampling(temperature=1.0, seed=3)
    for i, prompt in enumerate(prompts):
        engine.submit(ask(prompt, i, max_tokens=lengths[i], sampling=lucky if i == number else GREEDY))
    engine._waiting[number].random = Spent(3)
    outcome, broken = drive(engine)

    assert len(broken) == 1
    assert broken != [0]
    assert outcome.finished[0, 0] == "length"
    for i in {0, 1, 2, 3} - {number, *broken}:
        assert outcome.tokens[i, 0] == reference(path, prompts[i], lengths[i], ends=False)
    if number not in broken:
        assert len(outcome.tokens[number, 0]) == 20
    assert_empty(engine)


class ShortArena(KVArena):
    """Memory that ends in the middle of keeping something, until told otherwise."""

    is_short = True

    def store(self, blocks: Sequence[int], slab: torch.Tensor, start: int, num_rows: int) -> None:
        if self.is_short:
            super().store(blocks[: len(blocks) // 2], slab, start, min(num_rows, len(blocks) // 2))
            raise MemoryError
        super().store(blocks, slab, start, num_rows)


def test_what_cannot_be_kept_is_a_miss_and_the_answer_comes(checkpoints: Checkpoints) -> None:
    path = checkpoints("llama")
    engine = scarce_engine(path)
    cache, prompt = engine._runner.cache, tokens(1, 300)
    arena = cache._store.arena = ShortArena(cache.geometry, cache.blocks.total)
    engine.submit(ask(prompt, 1, max_tokens=20))
    outcome, broken = drive(engine)

    assert broken == []
    assert outcome.tokens[1, 0] == reference(path, prompt, 20, ends=False)
    assert engine.stats().kv["failed_publishes"] > 0
    assert engine.stats().kv["blocks_cached"] == 0
    assert_empty(engine)
    arena.is_short = False
    for request, cached in ((2, 0), (3, 299)):
        engine.submit(ask(prompt, request, max_tokens=20))
        outcome, broken = drive(engine)
        assert outcome.cached[request, 0] == cached
        assert outcome.tokens[request, 0] == reference(path, prompt, 20, ends=False)
    assert_empty(engine)


def test_who_waits_for_a_prompt_to_be_warmed_is_told_that_memory_is_short(checkpoints: Checkpoints) -> None:
    engine = scarce_engine(checkpoints("llama"), forward_tokens=130)
    engine.warm(Warm(7, tokens(1, 300), is_awaited=True))
    events: list[Event] = []
    while engine.has_work:
        events += careful_step(engine)

    assert [(type(event), event.request) for event in events] == [(Broken, 7)]


def test_another_error_is_not_taken_for_want_of_memory(checkpoints: Checkpoints) -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert all(
        is_out_of_memory(error) for error in (MemoryError(), RuntimeError(WORDS), RuntimeError("std::bad_alloc"))
    )


@pytest.mark.parametrize(
    ("cores", "engines", "threads"), [(1, 1, 1), (2, 1, 1), (4, 1, 3), (8, 2, 3), (8, 9, 1), (64, 3, 21)]
)
def test_engines_share_the_cores_and_leave_one_to_the_gateway(cores: int, engines: int, threads: int) -> None:
    assert share_of_cores(cores, engines) == threads


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_a_containers_quota_counts_as_fewer_cores(tmp_path: Path, files: dict[str, str], most: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert num_cores(tmp_path) == min(most, num_cores(tmp_path / "nowhere"))


@pytest.mark.parametrize("text", ["max 100000", "nonsense", "0 0", ""])
def test_no_quota_or_a_strange_one_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)

    assert num_cores(tmp_path) == num_cores(tmp_path / "nowhere")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this allocator keeps no holes")
def test_memory_between_what_is_held_goes_back_to_the_system() -> None:
    libc, piece = ctypes.CDLL(None), 64 << 10  # too small for a mapping of its own
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [ctypes.c_void_p(libc.malloc(piece)) for _ in range(2000)]
    for each in pieces:
        ctypes.memset(each, 1, piece)
    for number, each in enumerate(pieces):
        if number % 20:
            libc.free(each)
    before = psutil.Process().memory_info().rss

    give_back_free_memory()

    assert before - psutil.Process().memory_info().rss > 1000 * piece
    for each in pieces[::20]:
        libc.free(each)
