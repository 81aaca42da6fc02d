"""Generations that others ride along, and what is left of one that was called off."""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator

import pytest

from backends.chat import Delta
from gateway.flights import CalledOff, Flights


async def endless() -> AsyncGenerator[Delta, None]:
    """A model that goes on and on."""
    while True:
        yield Delta(fields={"content": "on "})
        await asyncio.sleep(0.001)


async def test_who_leaves_last_ends_the_flight_and_nothing_of_it_waits_for_a_collection() -> None:
    gc.collect()
    gc.disable()
    try:
        flight = Flights().start(b"exact", endless)
        riding = flight.ride()
        assert (await anext(riding)).fields == {"content": "on "}
        await riding.aclose()
        assert flight.has_ended
        seen = weakref.ref(flight)
        del flight, riding
        await asyncio.sleep(0.01)
        assert seen() is None
    finally:
        gc.enable()


async def test_riders_of_a_flight_that_is_called_off_hear_so() -> None:
    flight = Flights().start(b"exact", endless)
    riding = flight.ride()
    await anext(riding)
    await flight.call_off()
    with pytest.raises(CalledOff):
        async for _ in riding:
            pass
