import asyncio
import logging

import msgspec
import pytest
import zmq
import zmq.asyncio

from backends.routing.listening import EventSource, Listening


async def test_a_flush_of_an_engine_makes_the_router_forget_it() -> None:
    context, forgotten = zmq.asyncio.Context(), asyncio.Queue[str]()
    publisher = context.socket(zmq.PUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    listening = Listening(forgotten.put_nowait, lambda _: None)
    listening.open({"gpu-1": EventSource(f"tcp://127.0.0.1:{port}")})
    cleared = msgspec.msgpack.encode({"ts": 1.0, "events": [{"type": "AllBlocksCleared"}]})
    async with asyncio.timeout(20):
        number = 0
        while forgotten.empty():  # a subscription takes a moment to arrive
            await publisher.send_multipart([b"", number.to_bytes(8, "big"), cleared])
            number += 1
            await asyncio.sleep(0.01)
    await listening.close()
    context.destroy(linger=0)

    assert forgotten.get_nowait() == "gpu-1"


async def test_an_address_that_is_none_is_told_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    listening = Listening(lambda _: None, lambda _: None)
    with caplog.at_level(logging.ERROR):
        listening.open({"gpu-1": EventSource("nowhere")})
        async with asyncio.timeout(20):
            while not caplog.records:  # noqa: ASYNC110  (a log line wakes nobody)
                await asyncio.sleep(0.005)
    await listening.close()

    assert "gpu-1" in caplog.text
