"""A response of one gateway is known to another by its id, to its tenant alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.answers.redis.connection import Link, Value
from gateway.answers.redis.store import RedisAnswers
from gateway.curation.feedback import Feedback
from gateway.curation.invalidate import Invalidation
from gateway.errors import StoreAway, UnknownId
from gateway.explain import explain_served
from gateway.semantic.rule import LaneRule
from gateway.served import Served, ServedMemory
from gateway.shared.responses import SharedResponses
from gateway.telemetry.samples import shared_samples
from tests.gateway.house import House, house, read
from tests.gateway.shared.flights.town import until
from tests.gateway.shared.servers import SECRET
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis
QUESTION, REWORDED = "What is the capital city of France?", "What's the capital city of France?"


@asynccontextmanager
async def memory(link: Link, most: int = 100) -> AsyncIterator[ServedMemory]:
    """What one gateway remembers; what it wrote is there when it is closed."""
    responses = SharedResponses(link, most=most)
    await responses.open()
    yield ServedMemory(elsewhere=responses)
    await responses.close()


async def served(gateway: House) -> Served:
    """What is remembered of a semantic hit."""
    await gateway.chat(QUESTION)
    await gateway.pipeline.close()
    reply = await gateway.ask(REWORDED)
    await read(reply)
    assert reply.outcome.tier == "semantic"
    verdict = reply.served.verdict
    assert verdict is not None
    return replace(reply.served, verdict=replace(verdict, neighbour=None))


def desk(gateway: House, remembered: ServedMemory) -> Feedback:
    invalidation = Invalidation(gateway.answers, gateway.semantic, gateway.ledger)
    return Feedback(gateway.answers, invalidation, remembered, gateway.semantic, gateway.ledger)


async def test_a_response_is_known_elsewhere_with_all_that_was_decided(link: Link, tmp_path: Path) -> None:
    async with house(tmp_path) as gateway, memory(link) as theirs:
        given = await served(gateway)
        async with memory(link) as ours:
            ours.note("r1", given)
            ours.ended("r1")
        found = await theirs.look_up("r1", "t")

        assert found == given
        assert found is not None
        assert explain_served("r1", found) == explain_served("r1", given)


async def test_a_verdict_may_be_said_at_any_gateway_and_counts_once(link: Link, tmp_path: Path) -> None:
    async with house(tmp_path) as gateway, memory(link) as theirs:
        given = await served(gateway)
        async with memory(link) as ours:
            ours.note("r1", given)
            ours.ended("r1")
        for remembered in (ours, theirs, ours):
            said = await desk(gateway, remembered).of_response("t", "r1", is_good=False, comment="")
            assert (said.state, said.bad) == ("kept", 1)

        report = await gateway.semantic.lanes.report(LaneRule.of("t", given.rules))
        assert list(report.labels) == [("feedback", False)]


async def test_another_tenant_does_not_know_a_response(link: Link, tmp_path: Path) -> None:
    async with house(tmp_path) as gateway, memory(link) as theirs:
        async with memory(link) as ours:
            ours.note("r1", await served(gateway))
            ours.ended("r1")
        with pytest.raises(UnknownId):
            await desk(gateway, theirs).of_response("u", "r1", is_good=True, comment="")


async def test_what_others_wrote_into_redis_is_not_believed(link: Link, tmp_path: Path, server: RedisServer) -> None:
    async with house(tmp_path) as gateway, memory(link) as theirs:
        async with memory(link) as ours:
            ours.note("r1", await served(gateway))
            ours.ended("r1")
        (name,) = server.client.keys()
        server.client.setrange(name, 40, b'"')
        assert await theirs.look_up("r1") is None


async def test_responses_are_few_and_end_by_themselves(link: Link, tmp_path: Path, server: RedisServer) -> None:
    async with house(tmp_path) as gateway:
        given = await served(gateway)
        async with memory(link, most=3) as ours:
            for number in range(10):
                ours.note(f"r{number}", given)
                ours.ended(f"r{number}")

        names = server.client.keys()
        assert len(names) == 3
        assert all(0 < server.client.ttl(name) <= 3600 for name in names)


async def test_what_is_on_its_way_to_redis_does_not_arrive_behind_an_erasure(
    link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as gateway:
        given = await served(gateway)
    is_on_its_way, may_arrive = asyncio.Event(), asyncio.Event()
    together = link.together

    async def slowly(commands: Sequence[Sequence[Value]]) -> list[Any]:
        if any(command[0] == "SET" for command in commands):
            is_on_its_way.set()
            await may_arrive.wait()
        return await together(commands)

    monkeypatch.setattr(link, "together", slowly)
    responses = SharedResponses(link)
    await responses.open()
    responses.tell("r1", given)
    await is_on_its_way.wait()
    erasing = asyncio.create_task(responses.erase(given.tenant))
    await asyncio.sleep(0.05)  # it does what it can by now
    may_arrive.set()

    assert await erasing == 1
    assert await responses.find("r1") is None
    await responses.close()


async def test_while_redis_is_away_own_responses_are_known_and_others_cannot_be_asked_about(tmp_path: Path) -> None:
    link = Link("redis://127.0.0.1:1", b"s" * 32)
    async with house(tmp_path) as gateway, memory(link) as ours:
        ours.note("r1", await served(gateway))
        ours.ended("r1")
        assert (await desk(gateway, ours).of_response("t", "r1", is_good=True, comment="")).good == 1
        with pytest.raises(StoreAway):
            await ours.look_up("r2")
    await link.close()


async def test_a_response_given_while_redis_was_away_is_known_elsewhere_when_it_is_back(
    link: Link, server: RedisServer, tmp_path: Path
) -> None:
    async with house(tmp_path) as gateway, memory(link) as theirs:
        given, own = await served(gateway), Link(server.url, SECRET, timeout_s=0.1)
        responses = SharedResponses(own)
        ours = ServedMemory(elsewhere=responses)
        await responses.open()
        server.hang()
        ours.note("r1", given)
        ours.ended("r1")
        await until(lambda: own.is_away)
        server.go_on()
        async with asyncio.timeout(5):
            while await theirs.look_up("r1", "t") is None:
                pass

        assert responses.num_dropped == 0
        await responses.close()
        await own.close()


async def test_responses_that_were_never_written_are_counted(tmp_path: Path) -> None:
    link = Link("redis://127.0.0.1:1", SECRET)
    responses = SharedResponses(link)
    async with house(tmp_path) as gateway:
        responses.tell("r1", await served(gateway))
    await responses.close()
    await link.close()

    assert responses.num_dropped == 1


async def test_hits_that_were_not_counted_are_told_apart_from_answers_given_up() -> None:
    link = Link("redis://127.0.0.1:1", SECRET)
    store = RedisAnswers(link, replica=b"r", budget_bytes=None)
    await store.count_hit("e1")
    await store.close()
    await link.close()

    samples = [one for one in shared_samples(store.report(), 2) if one.name == "twicetold_shared_losses"]
    assert {one.labels[0][1]: one.value for one in samples if one.value} == {"uses": 1, "responses": 2}
