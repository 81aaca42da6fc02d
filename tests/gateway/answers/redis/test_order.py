"""Writes of one entry keep their order, whatever connection they take."""

import asyncio

from gateway.answers.redis.order import Order


async def test_what_is_about_one_key_is_done_in_turn_and_the_rest_at_once() -> None:
    order, log = Order(), list[str]()
    gate = asyncio.Event()

    async def write(key: bytes, name: str) -> None:
        async with order.after(key):
            log.append(f"{name} begins")
            await gate.wait()
            log.append(f"{name} ends")

    writes = [asyncio.create_task(write(key, name)) for key, name in ((b"a", "one"), (b"a", "two"), (b"b", "three"))]
    await asyncio.sleep(0)
    removal = asyncio.create_task(order.after_all())
    await asyncio.sleep(0)
    assert log == ["one begins", "three begins"]
    assert not removal.done()

    gate.set()
    await asyncio.gather(*writes, removal)
    assert log.index("one ends") < log.index("two begins")


async def test_who_gives_up_waiting_lets_nobody_pass_ahead() -> None:
    order, gate, log = Order(), asyncio.Event(), list[str]()

    async def write(name: str) -> None:
        async with order.after(b"a"):
            log.append(f"{name} begins")
            await gate.wait()
            log.append(f"{name} ends")

    first, second, third = (asyncio.create_task(write(name)) for name in ("one", "two", "three"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["one begins"]

    gate.set()
    await asyncio.gather(first, third)
    await order.after_all()
    assert log == ["one begins", "one ends", "three begins", "three ends"]
    assert second.cancelled()
