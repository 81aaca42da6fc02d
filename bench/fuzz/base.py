"""What a target of fuzzing is, and how its cases are run, watched and counted."""

import asyncio
import contextlib
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HANG_S = 20.0  # a case that waits, or computes, for longer is a hang
MAX_TOLD = 20


class Finding(Exception):
    """A case that breaks a promise; the message says which, and how to see it again."""


Case = Callable[[random.Random, Counter[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Target:
    """`opened` makes what runs one case: it draws it, counts what came of it, and raises `Finding`."""

    name: str
    share: float  # of all cases
    opened: Callable[[Path], AbstractAsyncContextManager[Case]]


@dataclass(slots=True)
class Tally:
    """What came of the cases of a target."""

    name: str
    cases: int = 0
    findings: list[str] = field(default_factory=list)
    num_findings: int = 0
    hangs: int = 0
    longest_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0


def plain(name: str, share: float, case: Callable[[random.Random, Counter[str]], None]) -> Target:
    """A target that needs nothing open."""

    @asynccontextmanager
    async def opened(_: Path) -> AsyncIterator[Case]:
        async def run(rng: random.Random, outcomes: Counter[str]) -> None:
            case(rng, outcomes)

        yield run

    return Target(name, share, opened)


def in_folder(name: str, share: float, case: Callable[[random.Random, Counter[str], Path], None]) -> Target:
    """A target that reads files: each case gets the same folder."""

    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Case]:
        async def run(rng: random.Random, outcomes: Counter[str]) -> None:
            case(rng, outcomes, folder)

        yield run

    return Target(name, share, opened)


async def fuzz(target: Target, count: int, seed: int, folder: Path, *, first: int = 0) -> Tally:
    """Run cases `first` ... `first + count`; each has a seed of its own, so that one can be run alone."""
    tally = Tally(target.name)
    started = time.perf_counter()
    async with target.opened(folder) as case:
        for number in range(first, first + count):
            began = time.perf_counter()
            name = f"--targets {target.name} --seed {seed} --first {number} --cases 1"
            try:
                if await _hangs(case, f"{seed} {target.name} {number}", tally.outcomes):
                    tally.hangs += 1
                    _tell(tally, f"{name}: hangs")
            except Finding as finding:
                _tell(tally, f"{name}: {finding}")
            except Exception:
                _tell(tally, f"{name}: {traceback.format_exc(limit=-6)}")
            tally.cases += 1
            tally.longest_s = max(tally.longest_s, time.perf_counter() - began)
    tally.took_s = time.perf_counter() - started
    return tally


async def _hangs(case: Case, seed: str, outcomes: Counter[str]) -> bool:
    """Run a case; whether it hangs, twice: a machine may be busy with something else once."""
    for _ in range(2):
        try:
            with _alarm():
                async with asyncio.timeout(HANG_S):
                    await case(random.Random(seed), outcomes)
            return False
        except (TimeoutError, _Hang):
            continue
    return True


def _tell(tally: Tally, text: str) -> None:
    tally.num_findings += 1
    if len(tally.findings) < MAX_TOLD:
        tally.findings.append(text[:4000])


class _Hang(BaseException):
    """Python code that never gives the loop back."""


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _Hang

    with contextlib.suppress(ValueError):  # another thread than the main one: pytest's own time-out is left
        signal.signal(signal.SIGVTALRM, ring)
        signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)  # of computing, not of waiting for a processor
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
