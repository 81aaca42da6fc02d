"""Engines in this process, driven to the end, and transformers' own generation to compare with."""

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from backends.local.assembly import build_engine
from backends.local.backend import LocalBackend
from backends.local.decoder import checkpoint
from backends.local.decoder.base import TOKEN_DIM
from backends.local.engine.engine import Engine
from backends.local.engine.pace import Pace
from backends.local.params import Sampling
from backends.local.settings import LocalSettings
from backends.local.wire import Admitted, Event, Expired, Load, Refused, Submit, Token, Warm, Warmed

GREEDY = Sampling(temperature=0.0)
Choice = tuple[int, int]  # request, index


def load(path: Path, **overrides: Any) -> Load:
    """The message that starts an engine for a checkpoint, in float32 on one thread."""
    found = checkpoint.read(path)
    fields: dict[str, Any] = {
        "checkpoint": str(path),
        "fingerprint": found.fingerprint,
        "dtype": "float32",
        "threads": 1,
        "context_tokens": found.config.context_tokens,
        "eos_token_ids": list(found.eos_token_ids),
        "kv_budget_bytes": 32 << 20,
        "slab_budget_bytes": 64 << 20,
        "max_running": 8,
        "max_waiting": 32,
        "prefill_chunk": 128,
        "exact": False,
        "secret": b"a secret of the tests".hex(),
    }
    return Load(**{**fields, **overrides})


def engine(path: Path, *, pace: Pace | None = None, parts: Mapping[str, Any] | None = None, **overrides: Any) -> Engine:
    """An engine; `parts` of it in place of the real ones, as a clock."""
    return build_engine(load(path, **overrides), pace=pace, **(parts or {}))


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def assert_empty(engine: Engine) -> None:
    """Nothing is held: no slab, no leased block, no sequence; and the blocks add up."""
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.slab_tokens, stats.kv["blocks_leased"]) == (0, 0, 0, 0)
    assert not engine._runner._slabs
    engine._runner.cache.check()


@dataclass(slots=True)
class Outcome:
    """What an engine said, by request and choice."""

    tokens: dict[Choice, list[int]] = field(default_factory=lambda: defaultdict(list))
    finished: dict[Choice, str] = field(default_factory=dict)
    cached: dict[Choice, int] = field(default_factory=dict)
    by_tier: dict[Choice, dict[str, int]] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    expired: list[int] = field(default_factory=list)
    warmed: dict[int, Warmed] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    rows: torch.Tensor | None = None  # of the watched choice, all but those of its last step

    def take(self, events: list[Event]) -> None:
        self.events += events
        for event in events:
            match event:
                case Token():
                    self.tokens[event.request, event.index].append(event.token_id)
                    if event.finish_reason:
                        self.finished[event.request, event.index] = event.finish_reason
                case Admitted():
                    self.cached[event.request, event.index] = event.cached_tokens
                    self.by_tier[event.request, event.index] = event.by_tier
                case Refused():
                    self.refused.append(event.request)
                case Expired():
                    self.expired.append(event.request)
                case Warmed():
                    self.warmed[event.request] = event


def run(engine: Engine, *messages: Submit | Warm, watched: Choice | None = None) -> Outcome:
    """Submit all at once and step until nothing is left to do, keeping the rows of the `watched` choice."""
    outcome = Outcome()
    for message in messages:
        outcome.take(engine.submit(message) if isinstance(message, Submit) else engine.warm(message))
    for _ in range(20_000):
        if not engine.has_work:
            return outcome
        outcome.take(engine.step())
        if watched is not None:
            _keep_rows(engine, watched, outcome)
        if engine.pause_s:
            time.sleep(engine.pause_s)
    raise AssertionError(f"the engine does not come to an end: {engine.stats()}")


def rest(engine: Engine) -> None:
    """Let an engine that has nothing to do finish what it owes to slower tiers."""
    while engine.pause_s is not None:
        engine.step()


def said(outcome: Outcome, request: int) -> list[tuple[int, int, float | None, tuple[tuple[int, float], ...]]]:
    """Choices, tokens and log probabilities, to the last bit."""
    told = [event for event in outcome.events if isinstance(event, Token) and event.request == request]
    told.sort(key=lambda token: token.index)
    return [(token.index, token.token_id, token.logprob, token.top) for token in told]


def _keep_rows(engine: Engine, watched: Choice, outcome: Outcome) -> None:
    """Copy the keys and values of a running choice, before its slab is gone."""
    for sequence, slab in engine._runner._slabs.items():
        if (sequence.request, sequence.index) == watched and sequence.num_computed:
            outcome.rows = slab.narrow(TOKEN_DIM, 0, sequence.num_computed).clone()


def ask(prompt: list[int], request: int = 1, *, max_tokens: int = 12, **fields: Any) -> Submit:
    return Submit(request, prompt, max_tokens, **{"sampling": GREEDY, **fields})


def tokens(seed: int, count: int) -> list[int]:
    """Some token ids that are not special, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 300, (count,), generator=generator).tolist()


@cache
def _reference_model(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def reference(path: Path, prompt: list[int], max_tokens: int = 12, *, ends: bool = True) -> list[int]:
    """What transformers itself generates after `prompt`, greedily; not `ends`: on and on past the end token."""
    return list(_reference(path, tuple(prompt), max_tokens, ends))


@cache
def _reference(path: Path, prompt: tuple[int, ...], max_tokens: int, ends: bool) -> list[int]:
    ids = torch.tensor([prompt])
    eos = {} if ends else {"eos_token_id": -1}
    output = _reference_model(path).generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_tokens,
        pad_token_id=0,
        **eos,
    )
    generated: list[int] = output[0, len(prompt) :].tolist()
    return generated


@asynccontextmanager
async def opened(path: Path, **overrides: Any) -> AsyncIterator[LocalBackend]:
    """A backend with an engine process of its own, for as long as it is wanted."""
    fields: dict[str, Any] = {"secret": b"secret", "kv_budget_bytes": 32 << 20, "slab_budget_bytes": 64 << 20}
    local = LocalBackend(path, served_name="tiny", settings=LocalSettings(**{**fields, "threads": 1, **overrides}))
    await local.open()
    try:
        yield local
    finally:
        await local.close()
