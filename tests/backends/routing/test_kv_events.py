import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio

from backends.routing.affinity import Affinity
from backends.routing.base import Load
from backends.routing.kv_blocks import EngineBlocks, read_batch
from backends.routing.kv_events import KVEvents
from backends.routing.prompt import prompt_of_tokens

SIZE = 4
IDS = list(range(100, 140))  # ten blocks
ONE = [Load("engine")]


class Publisher:
    """An engine's side, as vLLM documents it: PUB with numbered batches, ROUTER that repeats them."""

    def __init__(self) -> None:
        self._context = zmq.asyncio.Context()
        self._pub, self._router = self._context.socket(zmq.PUB), self._context.socket(zmq.ROUTER)
        self.endpoint = f"tcp://127.0.0.1:{self._pub.bind_to_random_port('tcp://127.0.0.1')}"
        self.replay = f"tcp://127.0.0.1:{self._router.bind_to_random_port('tcp://127.0.0.1')}"
        self._kept: list[tuple[bytes, bytes]] = []
        self._at = 0.0

    async def publish(self, *events: Any, is_lost: bool = False, keeps: bool = True) -> None:
        self._at += 1
        payload = msgspec.msgpack.encode({"ts": self._at, "events": events})
        frames = len(self._kept).to_bytes(8, "big"), payload
        self._kept.append(frames if keeps else (frames[0], b"\xc1"))
        if not is_lost:
            await self._pub.send_multipart([b"kv", *frames])

    def restart(self) -> None:
        self._kept.clear()

    async def garble(self) -> None:
        await self._pub.send_multipart([b"kv", b"\0" * 8, b"\xc1"])

    async def serve(self) -> None:
        while True:
            client, _, start = await self._router.recv_multipart()
            for number, payload in self._kept[int.from_bytes(start, "big") :]:
                await self._router.send_multipart([client, b"", number, payload])
            await self._router.send_multipart([client, b"", b"\xff" * 8, b""])

    def close(self) -> None:
        self._context.destroy(linger=0)


def stored(ids: list[int], first: int = 0, salt: str | None = "tenant") -> dict[str, Any]:
    """Blocks `first` and following, whose hashes are their numbers, of a prompt."""
    blocks = range(first, len(ids) // SIZE)
    return {
        "type": "BlockStored", "block_hashes": list(blocks), "parent_block_hash": first - 1 if first else None,
        "token_ids": ids[first * SIZE :], "block_size": SIZE, "lora_id": None, "medium": "GPU", "lora_name": None,
        "extra_keys": [[salt] if salt and not block else None for block in blocks],
    }  # fmt: skip


def removed(*hashes: int) -> dict[str, Any]:
    return {"type": "BlockRemoved", "block_hashes": list(hashes), "medium": "GPU"}


def known(affinity: Affinity, salt: str = "tenant") -> int:
    """Blocks of the prompt that the engine is thought to hold."""
    parts = affinity.shadow.overlaps(prompt_of_tokens(IDS, salt, SIZE)).get("engine", [])
    return parts[-1].chunks if parts else 0


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  (what is waited for comes by ZeroMQ)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def following(affinity: Affinity) -> AsyncIterator[tuple[Publisher, KVEvents]]:
    publisher = Publisher()
    events = KVEvents(
        EngineBlocks("engine", affinity, by_tokens=True), publisher.endpoint, replay=publisher.replay, topic="kv"
    )
    tasks = [asyncio.create_task(publisher.serve()), asyncio.create_task(events.follow())]
    try:
        await publisher.publish(stored(IDS))  # whether it is heard or replayed is a matter of luck
        await until(lambda: known(affinity) == 10)
        yield publisher, events
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
        publisher.close()


@pytest.fixture
def affinity() -> Affinity:
    return Affinity(Random(1))


async def heard(publisher: Publisher, is_so: Callable[[], bool]) -> None:
    """A subscription takes a moment to arrive: say something harmless until what was said before is known."""
    async with asyncio.timeout(20):
        while not is_so():
            await publisher.publish()
            await asyncio.sleep(0.02)


async def test_what_an_engine_stores_and_removes_is_known(affinity: Affinity) -> None:
    async with following(affinity) as (publisher, events):
        assert affinity.choose(prompt_of_tokens(IDS, "tenant", SIZE), ONE).predicted_tokens == 40
        assert known(affinity, "another tenant") == 0
        affinity.reset("engine")
        await publisher.publish({"type": "AllBlocksCleared"}, stored(IDS), removed(9, 8, 7))
        await heard(publisher, lambda: known(affinity) == 7)
        assert (events.missed, events.broken) == (0, 0)


async def test_what_was_missed_is_asked_for_again(affinity: Affinity) -> None:
    async with following(affinity) as (publisher, events):
        await publisher.publish(removed(9, 8), is_lost=True)
        await publisher.publish(removed(7), is_lost=True)
        await heard(publisher, lambda: known(affinity) == 7)
        assert events.missed == 0


async def test_what_nobody_can_repeat_is_counted(affinity: Affinity) -> None:
    async with following(affinity) as (publisher, events):
        await publisher.publish(removed(9), is_lost=True, keeps=False)
        await heard(publisher, lambda: events.missed > 0)
        await publisher.publish({"type": "AllBlocksCleared"})
        await heard(publisher, lambda: known(affinity) == 0)


async def test_an_engine_that_begins_anew_holds_nothing_of_before(affinity: Affinity) -> None:
    async with following(affinity) as (publisher, _):
        await publisher.publish()
        publisher.restart()
        await publisher.publish(stored(IDS[:12]))
        await heard(publisher, lambda: known(affinity) == 3)


async def test_a_message_that_is_none_stops_nothing(affinity: Affinity) -> None:
    async with following(affinity) as (publisher, events):
        await publisher.publish(removed(9))
        await heard(publisher, lambda: known(affinity) == 9)
        await publisher.garble()
        await publisher.publish(removed(8))
        await until(lambda: known(affinity) == 8)
        assert events.broken == 1


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode([1]), msgspec.msgpack.encode({"ts": 1})])
def test_what_is_no_batch_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="KV events"):
        read_batch(payload)


def test_events_are_read_as_objects_and_as_lists(affinity: Affinity) -> None:
    event = stored(IDS)
    in_order = ["BlockStored", *list(event.values())[1:]]
    for events in ([event], [in_order], [in_order[:7]]):
        body = [1.0, events, 0]
        batch = read_batch(msgspec.msgpack.encode(body))
        assert batch == read_batch(msgspec.msgpack.encode({"ts": 1.0, "events": events}))
        blocks = EngineBlocks("engine", affinity, by_tokens=True)
        blocks.apply(batch)
        assert len(blocks) == 10
        assert known(affinity, "tenant" if len(events[0]) > 7 else "") == 10
        blocks.clear()


def test_blocks_elsewhere_and_of_adapters_are_not_ours(affinity: Affinity) -> None:
    odd: list[dict[str, Any]] = [
        {"medium": "CPU"},
        {"group_idx": 1},
        {"lora_name": "x"},
        {"token_ids": [1]},
        {"parent_block_hash": 77},
    ]
    body = {"ts": 1.0, "events": [*({**stored(IDS), **change} for change in odd), {"type": "Unheard"}]}
    blocks = EngineBlocks("engine", affinity, by_tokens=True)
    blocks.apply(read_batch(msgspec.msgpack.encode(body)))

    assert len(blocks) == known(affinity) == 0


def test_where_prompts_are_keyed_by_text_an_engine_tells_its_room_and_its_restart(affinity: Affinity) -> None:
    prompt = prompt_of_tokens(IDS, "tenant", SIZE)
    affinity.choose(prompt, ONE)
    blocks = EngineBlocks("engine", affinity, by_tokens=False)
    many = [stored(list(range(1000 * number, 1000 * number + 1000)), salt=None) for number in range(1, 9)]
    for number, event in enumerate(many):
        event["block_hashes"] = [1000 * number + block for block in event["block_hashes"]]
    blocks.apply(read_batch(msgspec.msgpack.encode({"ts": 1.0, "events": [*many, removed(0)]})))
    assert affinity.keeping.chance(7000) == 1.0 > affinity.keeping.chance(20_000)
    assert known(affinity) == 10
    blocks.clear()
    assert known(affinity) == 0
