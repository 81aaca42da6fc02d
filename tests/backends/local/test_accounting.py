"""Whatever happens in whatever order, nothing is left behind: no slab, no lease, no thread's worth of rows."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backends.local.engine.engine import Engine
from backends.local.wire import Abort, Warm
from tests.backends.local.engines import Clock, Outcome, ask, assert_empty, engine, rest, run, tokens

BYTES_PER_TOKEN = 3 * 2 * 2 * 16 * 4
STEM = tokens(50, 400)
TENANTS = ("", "one", "two")


class Traffic(RuleBasedStateMachine):
    """Requests, cancellations, deadlines, idle work and restarts of an engine with too little of everything."""

    path: Path

    @initialize(exact=st.booleans(), blocks=st.integers(4, 40), has_disk=st.booleans())
    def begin(self, exact: bool, blocks: int, has_disk: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="accounting-"))
        self.clock, self.free, self.requests = Clock(), [1 << 40], 0
        self.outcome, self.open = Outcome(), dict[int, int]()  # choices by request
        self.overrides: dict[str, Any] = {
            "exact": exact,
            "prefill_chunk": 64,
            "context_tokens": 512,
            "kv_budget_bytes": blocks * 32 * BYTES_PER_TOKEN,
            "slab_budget_bytes": 900 * BYTES_PER_TOKEN,
            "max_running": 3,
            "max_waiting": 4,
            **({"kv_dir": str(self.folder), "kv_disk_bytes": 4 << 20} if has_disk else {}),
        }
        self.engine = self._new_engine()

    def _new_engine(self) -> Engine:
        return engine(self.path, parts={"clock": self.clock, "free_bytes": lambda: self.free[0]}, **self.overrides)

    @rule(
        shared=st.integers(0, 400),
        own=st.integers(1, 60),
        owner=st.sampled_from(TENANTS),
        n=st.integers(1, 2),
        timeout_s=st.sampled_from([None, None, 5.0]),
        priority=st.integers(-1, 1),
        publish_kv=st.booleans(),
    )
    def submit(self, shared: int, own: int, owner: str, n: int, **fields: Any) -> None:
        self.requests += 1
        prompt = [*STEM[:shared], *tokens(self.requests, own)]
        submit = ask(prompt, self.requests, max_tokens=1 + own, n=n, owner=owner, salt=owner, ignore_eos=True, **fields)
        self.open[self.requests] = n
        self.outcome.take(self.engine.submit(submit))

    @rule(shared=st.integers(1, 500), owner=st.sampled_from(TENANTS), is_awaited=st.booleans())
    def warm(self, shared: int, owner: str, is_awaited: bool) -> None:
        self.requests += 1
        prompt = [*STEM, *tokens(1, 100)][:shared]
        self.outcome.take(self.engine.warm(Warm(self.requests, prompt, owner, owner, is_awaited=is_awaited)))

    @rule(steps=st.integers(1, 12))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.outcome.take(self.engine.step())

    @precondition(lambda self: self.open)
    @rule(data=st.data(), keep_tail=st.booleans(), one=st.booleans())
    def abort(self, data: st.DataObject, keep_tail: bool, one: bool) -> None:
        request = data.draw(st.sampled_from(sorted(self.open)))
        self.engine.abort(Abort(request, 0 if one else None, keep_tail))
        if not one:
            self.open.pop(request)

    @rule(seconds=st.sampled_from([0.5, 6.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule(is_short=st.booleans())
    def memory(self, is_short: bool) -> None:
        self.free[0] = 64 << 20 if is_short else 1 << 40

    @rule()
    def run_out_of_memory(self) -> None:
        self.outcome.take(self.engine.shed("a test"))

    @rule()
    def clear(self) -> None:
        self.engine.clear()

    @precondition(lambda self: not self.engine.has_work)
    @rule()
    def restart(self) -> None:
        self.engine.close(2)
        self.engine = self._new_engine()

    @invariant()
    def limits_hold(self) -> None:
        if not hasattr(self, "engine"):
            return
        stats = self.engine.stats()
        assert stats.running <= 3
        assert stats.running + stats.waiting <= 7
        assert stats.slab_tokens <= 900
        assert stats.kv["blocks_leased"] == 0  # only held while rows are copied
        self.engine._runner.cache.check()

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        self.free[0] = 1 << 40
        for event in run(self.engine).events:
            self.outcome.take([event])
        rest(self.engine)
        assert_empty(self.engine)
        self.engine.close(1)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.backends.local import tiny

    return tiny.build("llama", tmp_path_factory.mktemp("small"))


def test_nothing_is_left_behind(small: Path) -> None:
    Machine = type("Machine", (Traffic,), {"path": small})
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_counts_stay_flat_over_many_requests(small: Path) -> None:
    warm = engine(small, kv_budget_bytes=40 * 32 * BYTES_PER_TOKEN, max_running=4)
    sizes = set()
    for i in range(0, 600, 6):
        submits = [ask(tokens(i + j, 20 + (i + j) % 40), i + j, max_tokens=2, owner=str(i + j)) for j in range(6)]
        run(warm, *submits, Warm(10_000 + i, tokens(i, 30)))
        if i >= 300:
            sizes.add(_held(warm))

    assert len(sizes) == 1
    assert_empty(warm)


def _held(engine: Engine) -> tuple[int, ...]:
    """The lengths of everything an engine remembers that could grow with the number of requests."""
    idle = engine._idle
    assert idle is not None
    return (
        len(engine._waiting),
        len(engine._running),
        len(engine._runner._slabs),
        len(idle._awaited),
        len(idle._others),
    )
