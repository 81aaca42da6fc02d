"""What a request costs, in calls of functions and not in seconds: a number that no neighbour changes.

Counted are the calls, of Python and of C alike, that our code and the libraries under it make for one request, in
every thread: from the bytes of the request to what it owes the ledger and the store, but for asyncio's own and those
of the test. A change that makes a road dearer has to change a bound here, and say why. What one such call may hide is
counted by itself, to the one: connections made, events parsed, writes on sockets.
"""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count, pairwise
from statistics import median
from types import FrameType
from typing import Any

import pytest
import pytest_asyncio

from gateway.semantic.found import SAME_QUESTION, SAME_WORDING
from tests.gateway.express.serving import Caller, Said, Town, asking, request_of, town
from tests.upstream import RunningUpstream, running_upstream
from tests.upstream.answers import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

READY = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
MANY = 20  # requests of a kind: what is paid for many at once has its share
OURS = ("/gateway/", "/backends/", "/embeddings/", "/kvtier/", "/site-packages/")
THINGS = ("bread", "a net", "a table", "paint", "a string", "wire", "tea", "a kite", "candles", "a pond")
DEEDS = ("make", "repair")
PARSING, WRITING = ("loads", "openai_wire.py"), ("send", "selector_events.py")  # functions of C, and who calls them

# calls of the median request: at most. About a sixth more than there were on the day in the last column.
MOST = {
    "an express hit": 88,  # 73, 2026-11-22
    "an express hit, streamed": 88,  # 73
    "an exact hit for the first time": 910,  # 785
    "a miss": 1_750,  # 1,510
    "a miss, streamed": 2_750,  # 2,350
    "a semantic hit": 4_100,  # 3,460 to 3,520, of the embedder, the search, the guards and the verdict
    "a hit by bare form": 1_880,  # 1,610: nothing is embedded
}


class Calls:
    """Counts calls while it is on, in the thread that made it and in every thread that starts later."""

    def __init__(self) -> None:
        self._is_on = False
        self._numbers = count()
        self._files: dict[str, bool] = {}
        self.hidden: Counter[tuple[str, str]] = Counter()  # of `of` last, on the event loop's thread

    def __enter__(self) -> "Calls":
        threading.setprofile(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        threading.setprofile(None)

    def _seen(self, frame: FrameType, event: str, _: Any) -> None:
        if self._is_on and event in ("call", "c_call"):
            name = frame.f_code.co_filename
            is_ours = self._files.get(name)
            if is_ours is None:
                is_ours = self._files[name] = "/tests/" not in name and any(part in name for part in OURS)
            if is_ours:
                next(self._numbers)  # one step of the interpreter: threads lose none

    def _seen_here(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in ("loads", "send"):
            self.hidden[called.__name__, frame.f_code.co_filename.rpartition("/")[2]] += 1
        self._seen(frame, event, called)

    async def of(self, ask: Callable[[int], Any], finish: Callable[[], Any]) -> float:
        """Of the median request of `MANY`, one after another, and of one's share in what is paid for all."""
        marks = [next(self._numbers)]
        self.hidden.clear()
        self._is_on = True
        sys.setprofile(self._seen_here)
        try:
            for number in range(MANY):
                await ask(number)
                marks.append(next(self._numbers))
            finish()
        finally:
            sys.setprofile(None)
            self._is_on = False
        return median(end - start - 1 for start, end in pairwise(marks)) + (next(self._numbers) - marks[-1]) / MANY


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def calls(upstream: RunningUpstream) -> Iterator[Calls]:  # its threads are there before
    with Calls() as counting:
        yield counting


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    tmp_path_factory: pytest.TempPathFactory,
    upstream: RunningUpstream,
    calls: Calls,
) -> AsyncIterator[Town]:
    async with town(tmp_path_factory.mktemp("data"), upstream, cache={"semantic": True}) as there:
        caller = await there.connect()
        async with asyncio.timeout(60):
            while b'"semantic":"ready"' not in (await caller.ask(READY)).body:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # what loads in a thread of its own is not counted
        for number in range(3):  # what is loaded and compiled when it is used first
            for text in (f"Warm up {number}", f"Warm up {number}"):
                await caller.ask(request_of(asking(text)))
                await caller.ask(request_of(asking(text, stream=True)))
        yield there


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(place: Town) -> list[str]:
    """Questions that were answered, each in its own way, and that are found by meaning."""
    caller, semantic = await place.connect(), place.services.semantic
    assert semantic is not None
    questions = [f"How can a baker {deed} {thing}?" for deed in DEEDS for thing in THINGS]
    before = semantic.num_vectors
    for question in questions:
        await caller.ask(request_of({**asking(question), "model": "echo"}))
    async with asyncio.timeout(20):
        while semantic.num_vectors < before + len(questions):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # each is written behind its answer's back
    return questions


async def spent(place: Town, calls: Calls, ask: Callable[[Caller, int], Any]) -> float:
    caller = await place.connect()
    assert place.services.express is not None
    return await calls.of(lambda number: ask(caller, number), place.services.express.settle)


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_an_express_hit_costs_no_more_calls(place: Town, calls: Calls, is_streaming: bool) -> None:
    caller, before = await place.connect(), place.given
    request = request_of(asking("What is a hit?", stream=is_streaming))
    async with asyncio.timeout(20):
        while place.given == before:
            await caller.ask(request)
    before = place.given

    found = await spent(place, calls, lambda caller, _: caller.ask(request))

    assert place.given > before + MANY / 2  # the median one was
    assert calls.hidden[WRITING] == 2 * MANY, "one is the client's, and one the whole response"
    bounded("an express hit, streamed" if is_streaming else "an express hit", found)


async def test_a_miss_and_a_first_hit_cost_no_more_calls(place: Town, calls: Calls, upstream: RunningUpstream) -> None:
    for kind, is_streaming in (("a miss", False), ("a miss, streamed", True)):
        exact = {"stream": is_streaming, "cache": {"tiers": ["exact"]}}
        requests = [request_of(asking(f"{kind}: number {number}?", **exact)) for number in range(MANY)]
        tiers = []

        async def ask(caller: Caller, number: int) -> None:
            tiers.append((await caller.ask(requests[number])).tier)  # noqa: B023 - used within the turn

        bounded(kind, await spent(place, calls, ask))
        assert tiers == ["full"] * MANY
        assert len(set(list(upstream.app.clients)[-MANY:])) == 1, "a connection each"
        asked = list(upstream.app.received)[-MANY:]
        parsed = sum(len(Answer(body).chunks()) if is_streaming else 1 for body in asked)
        assert calls.hidden[PARSING] == parsed, "what the upstream said is parsed once"
        if not is_streaming:
            bounded("an exact hit for the first time", await spent(place, calls, ask))
            assert tiers[MANY:] == ["exact"] * MANY


@pytest.mark.parametrize(
    ("kind", "opening", "reason"),
    [
        pytest.param("a semantic hit", "In what way can", SAME_QUESTION, id="by-vector"),
        pytest.param("a hit by bare form", "Tell me how can", SAME_WORDING, id="by-bare-form"),
    ],
)
async def test_a_semantic_hit_costs_no_more_calls(
    place: Town, calls: Calls, stored: list[str], kind: str, opening: str, reason: str
) -> None:
    semantic = place.services.semantic
    assert semantic is not None
    asked = [question.replace("How can", opening) for question in stored]
    said: list[Said] = []

    async def ask(caller: Caller, number: int) -> None:
        unkept = asking(asked[number], model="echo", cache={"no-store": True})  # else what is no hit is learned from
        said.append(await caller.ask(request_of(unkept)))

    before = semantic.batcher.stats.texts
    found = await spent(place, calls, ask)

    hits = [one for one in said if one.tier == "semantic"]
    assert len(hits) > MANY / 2, [one.headers["x-twicetold-reason"] for one in said]  # the median one was
    assert {one.headers["x-twicetold-reason"] for one in hits} == {reason}
    embedded, similar = semantic.batcher.stats.texts - before, {"x-twicetold-similarity" in one.headers for one in hits}
    if reason == SAME_QUESTION:
        assert embedded >= MANY, "a memo answered in the embedder's place"
        assert similar == {True}
    else:
        assert embedded == 0
        assert similar == {False}
    bounded(kind, found)


def bounded(kind: str, found: float) -> None:
    print(f"{kind}: {found:.0f} calls, at most {MOST[kind]}")
    assert found <= MOST[kind], f"{kind} costs {found:.0f} calls, and at most {MOST[kind]} are allowed"
