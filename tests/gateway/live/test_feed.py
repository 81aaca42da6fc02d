"""The live feed, as its readers see it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from starlette.types import Message

from gateway.body import Curfew
from gateway.errors import TooManyReaders
from gateway.live.feed import AT_ONCE, Feed
from gateway.live.recent import Recent
from tests.gateway.live.lines import Clock, line, recent_of


def told(recent: Recent, count: int) -> None:
    for _ in range(count):
        recent.hear(line(id=f"r{recent.last + 1}"))


async def next_events(events: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    """The data of the next piece."""
    async with asyncio.timeout(5):
        piece = await anext(events)
    return [orjson.loads(part) for part in piece.split(b"\ndata: ")[1:] for part in [part.partition(b"\n")[0]]]


async def begun(feed: Feed, last_event_id: str | None = None, replay: int = 0) -> AsyncIterator[bytes]:
    events = feed.stream(last_event_id, replay).events()
    assert (await anext(events)).startswith(b"retry:")
    return events


async def test_a_reader_hears_what_ends_from_now_on() -> None:
    recent = recent_of(Clock())
    told(recent, 3)
    events = await begun(Feed(recent, Curfew()))
    told(recent, 2)

    assert [row["id"] for row in await next_events(events)] == ["r4", "r5"]


async def test_a_reader_may_begin_with_what_was() -> None:
    recent = recent_of(Clock())
    told(recent, 3)

    assert [row["id"] for row in await next_events(await begun(Feed(recent, Curfew()), replay=2))] == ["r2", "r3"]


async def test_who_comes_back_goes_on_where_he_was() -> None:
    recent = recent_of(Clock())
    told(recent, 3)
    events = await begun(Feed(recent, Curfew()), last_event_id=f"{int(recent.started_s)}-1")

    assert [row["id"] for row in await next_events(events)] == ["r2", "r3"]


@pytest.mark.parametrize("mark", ["99-1", "x", "-", "1000000-", "1000000-99999999999999999999", "1000000-\u0661"])
async def test_a_mark_of_another_process_is_none(mark: str) -> None:
    recent = recent_of(Clock())
    told(recent, 3)
    events = await begun(Feed(recent, Curfew()), last_event_id=mark)
    told(recent, 1)

    assert [row["id"] for row in await next_events(events)] == ["r4"]


async def test_who_reads_too_slowly_is_told_how_much_he_missed() -> None:
    recent = recent_of(Clock())
    events = await begun(Feed(recent, Curfew()))
    told(recent, AT_ONCE + 50)
    missed, *rows = await next_events(events)

    assert missed == {"missed": 50}
    assert len(rows) == AT_ONCE


async def serve(feed: Feed, receive: Any, send: Any) -> None:
    await feed.stream(None, 0)({"type": "http"}, receive, send)


async def test_a_reader_who_leaves_is_forgotten() -> None:
    feed = Feed(recent_of(Clock()), Curfew())
    is_gone = asyncio.Event()

    async def receive() -> Message:
        await is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None: ...

    reading = asyncio.create_task(serve(feed, receive, send))
    await asyncio.sleep(0)
    assert feed.readers == 1
    is_gone.set()
    await reading

    assert feed.readers == 0


@pytest.mark.parametrize("word", [Curfew.draw_near, Curfew.come])
async def test_readers_are_let_go_when_the_server_stops(word: Callable[[Curfew], None]) -> None:
    curfew = Curfew()
    feed = Feed(recent_of(Clock()), curfew)

    async def send(_: Message) -> None: ...

    reading = asyncio.create_task(serve(feed, asyncio.Event().wait, send))
    await asyncio.sleep(0.01)
    word(curfew)
    async with asyncio.timeout(5):
        await reading

    assert feed.readers == 0


async def test_a_reader_who_does_not_read_is_let_go() -> None:
    recent = recent_of(Clock())
    feed = Feed(recent, Curfew(), patience_s=0.01)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()  # the socket takes no more

    async with asyncio.timeout(5):
        await serve(feed, asyncio.Event().wait, send)

    assert feed.readers == 0


async def test_every_reader_has_to_knock_again_some_time() -> None:
    feed = Feed(recent_of(Clock()), Curfew(), lasts_s=0.0)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await serve(feed, asyncio.Event().wait, send)

    assert sent[-1] == {"type": "http.response.body", "body": b""}


async def test_there_is_an_end_to_readers() -> None:
    feed = Feed(recent_of(Clock()), Curfew(), most_readers=0)

    with pytest.raises(TooManyReaders):
        feed.stream(None, 0)


async def test_a_stream_ends_with_the_welcome_of_its_reader() -> None:
    welcome = iter((True, False))
    events = Feed(recent_of(Clock()), Curfew()).stream(None, 0, lambda: next(welcome)).events()

    async with asyncio.timeout(5):
        assert [piece async for piece in events] == [b"retry: 1000\n\n"]
