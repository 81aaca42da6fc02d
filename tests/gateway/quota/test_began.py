"""Who began a generation pays for all of it, once, whoever hears it; over HTTP, with an upstream that waits."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from backends.chat import ChatRequest, Delta, Usage
from gateway.quota.tab import Tab, metered
from tests.gateway.quota.serving import Gateway, limited_gateway
from tests.gateway.quota.test_limited import say, usage
from tests.kvtier.tiers.servers import needs_redis, serving
from tests.upstream import RunningUpstream, running_upstream
from tests.upstream.answers import error_body
from tests.upstream.modes import MODES, SSE_TYPE, Ask

GOES_ON = threading.Event()
LIMITS = {"tokens_per_month": 100_000, "money_per_month": 9.0, "concurrent": 9}


async def waits(ask: Ask) -> None:
    """`waits:3`: so many pieces, the rest when it goes on; `waits:3 error`: then an error."""
    number, _, then = ask.argument.partition(" ")
    pieces, told = ask.pieces(ask.answer), int(number)
    await ask.events(pieces[:told]) if told else await ask.start(200, SSE_TYPE)
    while not GOES_ON.is_set():  # noqa: ASYNC110 - it is set in another thread
        await asyncio.sleep(0.005)
    for piece in [error_body(500, ask.headers, code=True)] if then else pieces[told:]:
        await ask.write(ask.dialect.event(piece))
    await ask.write(ask.dialect.done, more=False)


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with pytest.MonkeyPatch.context() as patch, running_upstream() as running:
        patch.setitem(MODES, "waits", waits)
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with limited_gateway(tmp_path_factory.mktemp("began"), upstream) as running:
        yield running


@pytest.fixture(autouse=True)
def waiting() -> Iterator[None]:
    GOES_ON.clear()
    yield
    GOES_ON.set()


@dataclass
class Heard:
    """What one caller was told."""

    num_chunks: int = 0
    reason: str = ""
    tokens: int = 0
    money: float = 0.0
    error: openai.APIError | None = None
    task: "asyncio.Task[None]" = field(init=False)

    async def leave(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


def asks(gateway: Gateway, key: str, text: str, **more: Any) -> Heard:
    """Begin to read a stream with the official client."""
    heard = Heard()
    said = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}

    async def read() -> None:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
            try:
                raw = await client.chat.completions.with_raw_response.create(
                    stream=True, stream_options={"include_usage": True}, **said
                )
                heard.reason = raw.headers["x-twicetold-reason"]
                async for chunk in raw.parse():
                    heard.num_chunks += 1
                    if (told := chunk.usage) is not None:
                        heard.tokens = told.total_tokens
                        heard.money = (told.prompt_tokens * 2.5 + told.completion_tokens * 10) / 1e6
            except openai.APIError as error:
                heard.error = error

    heard.task = asyncio.create_task(read())
    return heard


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - in another thread
            await asyncio.sleep(0.01)


def riders(gateway: Gateway) -> int:
    """How many are on the generations of this gateway."""
    flights = gateway.services.pipeline._flights._flights.values()
    return sum(flight._riders for flight in list(flights))


async def began(gateway: Gateway, upstream: RunningUpstream, key: str, text: str, mode: str, **more: Any) -> Heard:
    """Who asks first, and has heard what the upstream says before it waits."""
    upstream.app.control(next=[mode])
    first = asks(gateway, key, text, **more)
    await until(lambda: riders(gateway) == 1 and first.num_chunks >= int(mode[6]))
    return first


@pytest.mark.parametrize("told", [3, 0], ids=["after its first pieces", "before anything"])
async def test_who_began_and_left_pays_for_all_of_it_once(
    gateway: Gateway, upstream: RunningUpstream, told: int
) -> None:
    tenant = say(gateway, f"began {told}", limits=LIMITS)
    first = await began(gateway, upstream, f"began {told}", "tell me", f"waits:{told}")
    rides = asks(gateway, f"began {told}", "tell me")
    await until(lambda: riders(gateway) == 2)
    await first.leave()
    await until(lambda: riders(gateway) == 1 and usage(gateway, tenant)["running"] == 1)
    GOES_ON.set()
    await rides.task
    await until(lambda: usage(gateway, tenant)["running"] == 0)
    assert (rides.error, rides.reason) == (None, "in_flight")
    assert rides.tokens > 12
    sums = usage(gateway, tenant)["month"]
    assert (sums["requests"], sums["hits"], sums["tokens"]) == (2, 1, rides.tokens)
    assert sums["money"] == pytest.approx(rides.money)
    assert usage(gateway, tenant)["held_tokens"] == 0


async def test_riders_of_a_generation_that_is_heard_by_all_pay_nothing(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    tenant = say(gateway, "together", limits=LIMITS)
    first = await began(gateway, upstream, "together", "tell us", "waits:3")
    others = [asks(gateway, "together", "tell us") for _ in range(3)]
    await until(lambda: riders(gateway) == 4)
    await others[0].leave()
    GOES_ON.set()
    for one in (first, *others[1:]):
        await one.task
    await until(lambda: usage(gateway, tenant)["running"] == 0)
    sums = usage(gateway, tenant)["month"]
    assert (sums["requests"], sums["tokens"]) == (4, first.tokens)


async def test_what_nobody_hears_to_the_end_is_paid_as_far_as_it_came(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    tenant = say(gateway, "nobody", limits=LIMITS)
    first = await began(gateway, upstream, "nobody", "tell nobody", "waits:3")
    rides = asks(gateway, "nobody", "tell nobody")
    await until(lambda: rides.num_chunks >= 3)
    await first.leave()
    await until(lambda: riders(gateway) == 1)
    assert usage(gateway, tenant)["month"]["tokens"] == 0  # it goes on
    await rides.leave()
    await until(lambda: usage(gateway, tenant)["running"] == 0)
    assert riders(gateway) == 0
    assert 3 < usage(gateway, tenant)["month"]["tokens"] < 12


@pytest.mark.parametrize("told", [3, 0], ids=["in the middle", "before anything"])
async def test_of_one_that_fails_for_those_who_stayed_the_beginner_pays_what_was_said(
    gateway: Gateway, upstream: RunningUpstream, told: int
) -> None:
    tenant = say(gateway, f"fails {told}", limits=LIMITS)
    first = await began(gateway, upstream, f"fails {told}", "fail", f"waits:{told} error")
    rides = asks(gateway, f"fails {told}", "fail")
    await until(lambda: riders(gateway) == 2)
    await first.leave()
    await until(lambda: riders(gateway) == 1)
    GOES_ON.set()
    await rides.task
    await until(lambda: usage(gateway, tenant)["running"] == 0)
    assert rides.error is not None
    tokens = usage(gateway, tenant)["month"]["tokens"]
    assert 3 < tokens < 12 if told else tokens == 0


async def test_where_hits_count_a_rider_pays_as_for_a_stored_answer(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    tenant = say(gateway, "counts", limits={**LIMITS, "count_hits": True})
    first = await began(gateway, upstream, "counts", "count", "waits:3")
    rides = asks(gateway, "counts", "count")
    await until(lambda: riders(gateway) == 2)
    await first.leave()
    await until(lambda: riders(gateway) == 1)
    GOES_ON.set()
    await rides.task
    await until(lambda: usage(gateway, tenant)["running"] == 0)
    assert usage(gateway, tenant)["month"]["tokens"] == 2 * rides.tokens


@pytest.fixture
def pair(upstream: RunningUpstream, tmp_path: Path) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways on one Redis."""
    for server in serving(tmp_path):
        with sharing(tmp_path / "a", upstream, server.url) as a, sharing(tmp_path / "b", upstream, server.url) as b:
            yield a, b


@needs_redis
async def test_who_began_on_another_gateway_pays_for_who_rides_on_this_one(
    upstream: RunningUpstream, pair: tuple[Gateway, Gateway]
) -> None:
    here, there = pair
    tenant = say(here, "far", limits=LIMITS)
    say(there, "far", limits=LIMITS)
    first = await began(here, upstream, "far", "tell", "waits:3")
    rides = asks(there, "far", "tell")
    await until(lambda: rides.num_chunks >= 3)
    await first.leave()
    await until(lambda: riders(here) == 0)
    GOES_ON.set()
    await rides.task
    await until(lambda: usage(here, tenant)["running"] == 0 and usage(here, tenant)["month"]["tokens"] > 0)
    assert (rides.error, rides.reason) == (None, "in_flight")
    sums = usage(there, tenant)["month"]
    assert (sums["requests"], sums["hits"], sums["tokens"]) == (2, 1, rides.tokens)


@contextmanager
def sharing(folder: Path, upstream: RunningUpstream, redis: str) -> Iterator[Gateway]:
    """A gateway of several on one Redis, which have one secret."""
    folder.mkdir()
    (folder / "secret").write_bytes(b"one secret for both gateways....")
    with limited_gateway(folder, upstream, redis) as running:
        yield running


async def test_a_refresh_behind_a_stale_answer_is_the_operators(gateway: Gateway, upstream: RunningUpstream) -> None:
    tenant = say(gateway, "stale", limits=LIMITS)
    first = gateway.chat("fades", "stale", cache={"ttl": 1})
    again: dict[str, Any] = {"headers": {"cache-control": "stale-while-revalidate=60"}}
    seen = upstream.counters()["requests"]
    await until(lambda: gateway.chat("fades", "stale", **again).headers["x-twicetold-reason"] == "stale")
    await until(lambda: upstream.counters()["requests"] == seen + 1 and riders(gateway) == 0)
    assert usage(gateway, tenant)["month"]["tokens"] == first.json()["usage"]["total_tokens"]


class Noted(Tab):
    """Notes what is put on it."""

    def __init__(self) -> None:
        self.used: list[Usage] = []

    def add(self, model: str, usage: Usage) -> None:
        self.used.append(usage)


@pytest.mark.parametrize("told", [Usage(5_000, 1, 4_000), None], ids=["told", "not told"])
async def test_what_a_server_said_it_used_holds_where_its_answer_is_broken_off(told: Usage | None) -> None:
    async def speaking() -> AsyncGenerator[Delta, None]:
        yield Delta(usage=told)
        for _ in range(9):
            yield Delta()

    tab, request = Noted(), ChatRequest("m", ({"role": "user", "content": "abcd" * 5},), {})
    async with aclosing(metered(speaking(), request, tab)) as deltas:
        for _ in range(4):
            await anext(deltas)

    (used,) = tab.used
    assert (used.completion_tokens, used.cached_tokens) == (4, 4_000 if told else 0)
    assert used.prompt_tokens == 5_000 if told else 4 < used.prompt_tokens < 20
