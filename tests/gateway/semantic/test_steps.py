"""A decision on the event loop lets others go on between its steps."""

import asyncio
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest

from embeddings.control import Lane, Neighbour, Verdict
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier.shipped import load_verifier
from gateway.policy import Rules
from gateway.semantic import steps
from gateway.semantic.labels import LabelStore
from gateway.semantic.lanes import Lanes
from gateway.semantic.minds import TwoMinds
from gateway.semantic.rule import LaneRule
from gateway.semantic.steps import STEP_S, Pace, in_steps

QUESTION = "How do I renew my passport?"
STORED = [f"How do I renew {number} passports by post?" for number in range(2, 10)]
RULE = LaneRule.of("t", Rules(mode="on"))


@pytest.fixture(scope="module")
def near(minilm: SentenceTransformerEmbedder) -> list[Neighbour]:
    """The question itself, and stored ones of which each is refused by a guard."""
    question, *stored = minilm.read([QUESTION, *STORED])
    return [Neighbour(one.text, one, float(one.vector @ question.vector), b"", 0, 0) for one in (question, *stored)]


@pytest.fixture
async def lanes(tmp_path: Path, minilm: SentenceTransformerEmbedder) -> AsyncIterator[Lanes]:
    labels = LabelStore(tmp_path / "labels.db", per_tenant=10)
    await labels.open()
    lanes = Lanes(labels, b"s" * 32, lambda _: (load_verifier(minilm.fingerprint), None))
    yield lanes
    await lanes.close()
    await labels.close()


def slow(count: int, done: list[str]) -> Generator[None, None, str]:
    """Steps that take as long as a turn."""
    for _ in range(count):
        until_s = time.perf_counter() + STEP_S
        while time.perf_counter() < until_s:
            pass
        done.append("step")
        yield
    return "done"


async def test_others_are_served_between_the_steps_of_long_work() -> None:
    done: list[str] = []

    async def others() -> None:
        for _ in range(20):
            done.append("other")
            await asyncio.sleep(0)

    said, _ = await asyncio.gather(in_steps(slow(5, done), Pace()), others())

    assert said == "done"
    first, last = done.index("step"), len(done) - 1 - done[::-1].index("step")
    assert done[first : last + 1].count("other") >= 4


async def test_work_without_a_step_returns_what_it_has() -> None:
    assert await in_steps(slow(0, []), Pace()) == "done"


async def test_of_many_that_come_at_once_one_works_in_each_turn_of_the_loop() -> None:
    pace, turn, worked = Pace(), 0, list[tuple[str, int]]()

    async def clock() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def work(name: str) -> None:
        await pace.turn()
        worked.append((name, turn))

    ticking = asyncio.create_task(clock())
    async with asyncio.TaskGroup() as together:
        tasks = [together.create_task(work(name)) for name in "abcdef"]
        await asyncio.sleep(0)
        tasks[2].cancel()
    ticking.cancel()

    assert [name for name, _ in worked] == ["a", "b", "d", "e", "f"]
    assert len({turn for _, turn in worked}) == 5
    assert turn < 20  # nobody waited for anything else


async def test_whoever_comes_alone_works_at_once() -> None:
    pace, done = Pace(), list[str]()
    for name in ("first", "second"):
        asyncio.get_running_loop().call_soon(done.append, f"the turn after the {name}")
        await pace.turn()
        done.append(name)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert done == ["first", "the turn after the first", "second", "the turn after the second"]


def test_steps_come_to_the_same_verdict(near: list[Neighbour], minilm: SentenceTransformerEmbedder) -> None:
    one, other = (Lane(TwoMinds(load_verifier(minilm.fingerprint)), shadow_rate=0.0) for _ in range(2))
    question = near[0].reading
    work, count, verdict = one.deciding(question, near[1:]), 0, None
    while verdict is None:
        try:
            next(work)
            count += 1
        except StopIteration as end:
            verdict = end.value

    assert count == 3 * len(STORED) + 1  # of each: what was read of it, its comparison, its guards
    assert verdict == other.decide(question, near[1:])


async def test_questions_are_decided_one_after_another_and_each_as_it_would_be_alone(
    lanes: Lanes, near: list[Neighbour]
) -> None:
    await lanes.report(RULE)  # it is in memory
    alone = await lanes.decide(RULE, near[0].reading, near[1:], 0.0, is_dry=True)

    together = await asyncio.gather(
        *(lanes.decide(RULE, near[0].reading, near[1:], 0.0, is_dry=True) for _ in range(5))
    )

    assert together == [alone] * 5
    assert alone.action == "pass"
    assert {one.refusal for one in alone.looked} == {"guard_numbers"}


async def test_who_gives_up_in_the_middle_of_a_decision_leaves_the_lane_to_the_next(
    lanes: Lanes, near: list[Neighbour], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "STEP_S", 0.0)  # a pair for each turn of the loop
    held = await lanes.report(RULE)
    deciding = asyncio.create_task(lanes.decide(RULE, near[0].reading, near[1:], 0.0))
    await asyncio.sleep(0)
    assert held.lock.locked()
    deciding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deciding

    assert not held.lock.locked()
    verdict: Verdict = await lanes.decide(RULE, near[0].reading, near[1:], 0.0)
    assert verdict.action == "pass"


async def test_a_decision_beside_a_thread_that_has_the_lane_is_made_afterwards(
    lanes: Lanes, near: list[Neighbour]
) -> None:
    held = await lanes.report(RULE)
    with held.lock:
        waiting = asyncio.create_task(lanes.decide(RULE, near[0].reading, near[1:], 0.0))
        await asyncio.sleep(0.02)  # the loop goes on
        assert not waiting.done()
    assert (await waiting).action == "pass"
