"""The engine beside llama.cpp and vLLM, each by its own server over HTTP, on the same weights and prompts, in turns.

A peer that is not given, or not there, is a row that says so. What is compared with what is in the row: bfloat16 with
bfloat16, our int8 with Q8_0, our int4 with Q4_0.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.engine.models import QWEN25_500M, SMOLLM2_135M, checkpoint_of
from bench.engine.peak import peak_gflops, prompt_gflops
from bench.engine.prompts import Prompt, Prompts
from bench.engine.serving import Engine, NotAvailable, Request, serving
from bench.figures import median
from bench.peers.llama import llama_server
from bench.peers.server import Peer, Wish
from bench.peers.vllm import vllm_server
from bench.rows import Row, Scale

PREFIX_TOKENS, NEW_TOKENS = 2048, 64
WISH = 4  # times llama.cpp's prefill
CONTEXT = 64
BLOCK_SLACK = 128  # each keeps whole blocks of its own size
Start = Callable[[str, Path], AbstractContextManager[Peer]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Our weights beside a peer."""

    weights: str  # engine.weights; empty: bfloat16
    needs: str  # the variable that names what starts it
    start: Start


@contextmanager
def _vllm(_name: str, path: Path) -> Iterator[Peer]:
    with vllm_server(path) as peer:
        yield peer


@dataclass(frozen=True, slots=True)
class Work:
    """How much is asked of a shape."""

    rounds: int
    steps: int
    prefixes: int


WORK = {SMOLLM2_135M: Work(2, 32, 2), QWEN25_500M: Work(2, 16, 1)}
LLAMA = "BENCH_LLAMA_BIN"
PAIRS = {
    "llama.cpp BF16": Pair("", LLAMA, lambda name, path: llama_server(name, path, "BF16")),
    "llama.cpp Q8_0": Pair("int8", LLAMA, lambda name, path: llama_server(name, path, "Q8_0")),
    "llama.cpp Q4_0": Pair("int4", LLAMA, lambda name, path: llama_server(name, path, "Q4_0")),
    "vLLM": Pair("", "BENCH_VLLM_PYTHON", _vllm),
}


def run(scale: Scale) -> list[Row]:
    """Every peer that is there, at both shapes."""
    models = list(WORK)[: scale.of(len(WORK), 1)]
    return [row for model in models for name, pair in PAIRS.items() for row in beside(model, name, pair, scale)]


def beside(model: str, name: str, pair: Pair, scale: Scale) -> list[Row]:
    """One peer at one shape; where it is not given, no weights are made either."""
    kind = pair.weights or "bfloat16"
    if not os.environ.get(pair.needs):
        why = f"skipped because {pair.needs} is not set (bench/peers/README.md)"
        return [Row("peers", f"{model}, {kind}", None, "tok/s", None, name, why)]
    path = checkpoint_of(model)
    try:
        with pair.start(model, path) as peer, _engine(path, pair.weights) as engine:
            return [
                *_decode(engine, peer, path, f"{model}, {kind}", WORK[model], scale),
                *_firsts(engine, peer, path, model, kind, WORK[model], scale),
            ]
    except NotAvailable as why:
        return [Row("peers", f"{model}, {kind}", None, "tok/s", None, name, f"not available: {why}")]


@contextmanager
def _engine(path: Path, weights: str) -> Iterator[Engine]:
    """Ours; where these weights are not offered, in bfloat16 would be another comparison, so there is none."""
    if weights:
        with serving(path, dtype="bfloat16", max_running=8, weights=weights) as engine:
            yield engine
        return
    with serving(path, dtype="bfloat16", max_running=8) as engine:
        yield engine


def _decode(engine: Engine, peer: Peer, path: Path, what: str, work: Work, scale: Scale) -> list[Row]:
    prompts, rows = Prompts(path), []
    steps, rounds = scale.of(work.steps, 12), scale.of(work.rounds, 1)
    for batch in (1, 8):
        ours, theirs = list[float](), list[float]()
        for number in range(-1, rounds):
            chats = [prompts.plain(CONTEXT + 16, f"{number} {batch} {row}") for row in range(2 * batch)]
            asked = _ours(engine, chats, batch, steps) / steps
            beside = _theirs(peer, chats, batch, steps) / steps
            if number >= 0:  # the first of a shape is slower
                ours.append(asked)
                theirs.append(beside)
        rows.append(
            Row(
                "peers",
                f"decode, {what}, batch {batch}",
                batch / median(ours),
                "tok/s",
                batch / median(theirs),
                peer.name,
            )
        )
    return rows


def _ours(engine: Engine, chats: Sequence[Prompt], batch: int, steps: int) -> float:
    short, long = (
        [Request(chat.messages, length, is_cold=True) for chat in chats[:batch]] for length in (4, 4 + steps)
    )
    return -engine.seconds(short) + engine.seconds(long)


def _theirs(peer: Peer, chats: Sequence[Prompt], batch: int, steps: int) -> float:
    """Prompts of their own for each length: vLLM cannot be told to find nothing."""
    short = [Wish(chat.token_ids, 4) for chat in chats[:batch]]
    long = [Wish(chat.token_ids, 4 + steps) for chat in chats[batch:]]
    return -peer.together(short)[1] + peer.together(long)[1]


def _firsts(engine: Engine, peer: Peer, path: Path, model: str, kind: str, work: Work, scale: Scale) -> list[Row]:
    prompts, prefix_tokens = Prompts(path), scale.of(PREFIX_TOKENS, 512)
    found: dict[str, list[float]] = {"cold": [], "warm": [], "their cold": [], "their warm": []}
    for number in range(scale.of(work.prefixes, 1)):
        system = prompts.prefix(prefix_tokens, f"peers {number}")
        chats = [prompts.ask(system, prefix_tokens + NEW_TOKENS, f"{number} {each}") for each in range(4)]
        for index, chat in enumerate(chats):
            ours = engine.ask(Request(chat.messages, 4, salt=f"{model} {number}"))
            theirs = peer.ask(Wish(chat.token_ids, 4))
            least = prefix_tokens - BLOCK_SLACK if index else 0
            most = prefix_tokens + NEW_TOKENS if index else BLOCK_SLACK
            for cached in (ours.cached_tokens, theirs.cached_tokens):
                assert least <= cached <= most, (peer.name, index, ours, theirs)
            found["warm" if index else "cold"].append(ours.first_ms)
            found["their warm" if index else "their cold"].append(theirs.first_ms)
    ms = {name: median(values) for name, values in found.items()}
    what = f"{model}, {kind}, {prefix_tokens} + {NEW_TOKENS}"
    tokens = (prefix_tokens + NEW_TOKENS) * 1000
    rows = [
        Row(
            "peers",
            f"prefill, {what}",
            tokens / ms["cold"],
            "tok/s",
            tokens / ms["their cold"],
            peer.name,
            "as first tokens",
        ),
        Row("peers", f"first token, cold, {what}", ms["cold"], "ms", ms["their cold"], peer.name),
        Row("peers", f"first token, warm, {what}", ms["warm"], "ms", ms["their warm"], peer.name),
    ]
    if peer.name == "llama.cpp BF16":
        work_s = prompt_gflops(path, prefix_tokens + NEW_TOKENS) * 1000
        rows += _at_peak(what, work_s / ms["cold"], WISH * work_s / ms["their cold"])
    return rows


def _at_peak(what: str, ours: float, wished: float) -> list[Row]:
    """How near to the machine's limit our prefill is, and where the wish for a multiple of the peer's lies."""
    peak, beside = peak_gflops(), "a large product in bfloat16, the processor's peak"
    return [
        Row("peers", f"arithmetic of our prefill, {what}", ours, "GFLOP/s", peak, beside),
        Row("peers", f"arithmetic of {WISH} times llama.cpp's prefill, {what}", wished, "GFLOP/s", peak, beside),
    ]
