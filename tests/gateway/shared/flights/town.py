"""Gateways on one Redis, each with a store of its own: what they share is the generation alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from secrets import token_hex

from backends.chat import ChatRequest, Completion
from backends.fake import ScriptedBackend, Step
from gateway.answers.redis.connection import Link
from gateway.controls import Controls
from gateway.ledger import Ledger
from gateway.outcome import Outcome
from gateway.shared.flights.shared import SharedFlights
from tests.gateway.house import SECRET, House, house, read
from tests.kvtier.tiers.servers import RedisServer

LEASE_S = 0.6
QUESTION = "What is a lease?"


class Town:
    """Some gateways, their backends, and the lines between them."""

    def __init__(self, houses: list[House], links: list[Link], flights: list[SharedFlights]) -> None:
        self.houses = houses
        self.links = links
        self.flights = flights

    @property
    def calls(self) -> int:
        """Generations, all backends together."""
        return sum(one.backend.calls for one in self.houses)

    @property
    def cancelled(self) -> int:
        return sum(one.backend.cancelled for one in self.houses)


@asynccontextmanager
async def town(
    redis: RedisServer,
    folder: Path,
    *scripts: Iterable[Step],
    lease_s: float = LEASE_S,
    max_bytes: int = 1 << 20,
    secrets: tuple[bytes, bytes] = (SECRET, SECRET),
) -> AsyncIterator[Town]:
    """Open a gateway for every script."""
    links: list[Link] = []
    flights: list[SharedFlights] = []
    async with AsyncExitStack() as stack:
        houses = []
        for number, script in enumerate(scripts):
            link = Link(redis.url, secrets[number])
            stack.push_async_callback(link.close)
            links.append(link)

            def shares(ledger: Ledger, link: Link = link, secret: bytes = secrets[number]) -> SharedFlights:
                replica = token_hex(8)
                flights.append(
                    SharedFlights(link, secret, ledger, replica=replica, lease_s=lease_s, max_bytes=max_bytes)
                )
                return flights[-1]

            rooms = folder / str(number)
            rooms.mkdir()
            backend = ScriptedBackend(tuple(script))
            houses.append(await stack.enter_async_context(house(rooms, backend, shares=shares)))
        yield Town(houses, links, flights)


async def chat(one: House, text: str = QUESTION, *, stream: bool = True) -> tuple[Outcome, Completion]:
    """Ask, and read to the end."""
    request = ChatRequest("scripted", ({"role": "user", "content": text},), stream=stream)
    reply = await one.pipeline.answer(request, "t", "", Controls())
    return reply.outcome, await read(reply)


async def listen(one: House, heard: list[str]) -> None:
    """Ask, and write down what is heard as it comes."""
    request = ChatRequest("scripted", ({"role": "user", "content": QUESTION},), stream=True)
    reply = await one.pipeline.answer(request, "t", "", Controls())
    async for delta in reply.deltas:
        heard.append(delta.text)  # noqa: PERF401 (as it comes)


async def until(is_so: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for something another task does."""
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.005)
