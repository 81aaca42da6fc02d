"""Two gateways on one real Redis: one generation, whoever leads, whatever breaks."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import BackendBusy
from backends.fake import Step, say
from tests.gateway.house import SECRET
from tests.gateway.shared.flights.town import QUESTION, chat, listen, town, until
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving

pytestmark = needs_redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from serving(tmp_path_factory.mktemp("redis"))


@pytest.fixture(autouse=True)
def _swept(redis: RedisServer) -> None:
    redis.client.flushall()


async def test_forty_identical_requests_at_two_gateways_are_one_generation(redis: RedisServer, tmp_path: Path) -> None:
    script: list[Step] = [*say("once for all")[:2], 0.1, *say("once for all")[2:]]
    async with town(redis, tmp_path, script, script) as here:
        answers = await asyncio.gather(*(chat(one) for one in here.houses for _ in range(20)))

        assert here.calls == 1
        assert {completion.text for _, completion in answers} == {"once for all"}
        assert sum(outcome.tier == "full" for outcome, _ in answers) == 1
        assert sum(outcome.reason == "in_flight" for outcome, _ in answers) == 39


async def test_a_follower_hears_the_start_while_the_rest_is_still_to_come(redis: RedisServer, tmp_path: Path) -> None:
    may_end = asyncio.Event()
    script: list[Step] = [*say("now and later")[:3], may_end, *say("now and later")[3:]]
    async with town(redis, tmp_path, script, script) as here:
        leading = asyncio.create_task(chat(here.houses[0]))
        await until(lambda: here.calls == 1)
        request = chat(here.houses[1])
        following = asyncio.create_task(request)
        await until(lambda: here.flights[1].num_followed == 1)
        may_end.set()
        assert (await following)[1].text == (await leading)[1].text == "now and later"
        assert here.calls == 1


async def test_a_stream_hears_the_start_although_somebody_here_waits_for_the_whole(
    redis: RedisServer, tmp_path: Path
) -> None:
    may_end = asyncio.Event()
    script: list[Step] = [*say("now and later")[:3], may_end, *say("now and later")[3:]]
    async with town(redis, tmp_path, script, script, lease_s=60) as here:
        leading = asyncio.create_task(chat(here.houses[0]))
        await until(lambda: here.calls == 1)
        whole = asyncio.create_task(chat(here.houses[1], stream=False))
        await until(lambda: here.flights[1].num_followed == 1)
        heard: list[str] = []
        streamed = asyncio.create_task(listen(here.houses[1], heard))
        await until(lambda: "".join(heard) == "now and")
        may_end.set()
        for asked in (leading, whole):
            assert (await asked)[1].text == "now and later"
        await streamed

        assert "".join(heard) == "now and later"
        assert here.calls == 1


async def test_an_error_of_the_leader_is_told_to_followers_as_it_is(redis: RedisServer, tmp_path: Path) -> None:
    may_fail = asyncio.Event()
    script: list[Step] = [may_fail, BackendBusy("the queue is full", retry_after_s=7)]
    async with town(redis, tmp_path, script, script, lease_s=60) as here:
        asked = [asyncio.create_task(chat(one)) for one in here.houses]
        await until(lambda: any(one.num_followed for one in here.flights))
        may_fail.set()
        errors = await asyncio.gather(*asked, return_exceptions=True)

        assert [type(error) for error in errors] == [BackendBusy, BackendBusy]
        assert [(str(error), getattr(error, "retry_after_s", None)) for error in errors] == [
            ("the queue is full", 7)
        ] * 2
        assert here.calls == 1


async def test_a_leader_whose_clients_left_goes_on_for_a_follower_elsewhere(redis: RedisServer, tmp_path: Path) -> None:
    may_end = asyncio.Event()
    script: list[Step] = [*say("still wanted")[:2], may_end, *say("still wanted")[2:]]
    async with town(redis, tmp_path, script, script, lease_s=60) as here:
        leading = asyncio.create_task(chat(here.houses[0]))
        await until(lambda: here.calls == 1)
        following = asyncio.create_task(chat(here.houses[1]))
        await until(lambda: any(led.num_ears for led in here.flights[0].leading))
        leading.cancel()
        await asyncio.wait([leading])
        may_end.set()

        assert (await following)[1].text == "still wanted"
        assert (here.calls, here.cancelled) == (1, 0)


async def test_a_generation_is_cancelled_when_nobody_listens_anywhere(redis: RedisServer, tmp_path: Path) -> None:
    script: list[Step] = [*say("for nobody")[:2], asyncio.Event()]
    async with town(redis, tmp_path, script, script, lease_s=60) as here:
        leading = asyncio.create_task(chat(here.houses[0]))
        await until(lambda: here.calls == 1)
        following = asyncio.create_task(chat(here.houses[1]))
        await until(lambda: any(led.num_ears for led in here.flights[0].leading))
        for asked in (leading, following):
            asked.cancel()
        await until(lambda: here.cancelled == 1)

        assert here.calls == 1


async def test_a_gateway_that_is_stopped_hands_its_generations_over(redis: RedisServer, tmp_path: Path) -> None:
    script: list[Step] = [*say("half an answer")[:3], asyncio.Event()]
    async with town(redis, tmp_path, script, say("half an answer"), lease_s=60) as here:
        leading = asyncio.create_task(chat(here.houses[0]))
        await until(lambda: here.calls == 1)
        following = asyncio.create_task(chat(here.houses[1]))
        await until(lambda: any(led.num_ears for led in here.flights[0].leading))
        await here.flights[0].close()
        await asyncio.gather(leading, return_exceptions=True)

        assert (await following)[1].text == "half an answer"
        assert here.calls == 2


async def test_a_request_that_came_after_the_end_starts_a_generation_of_its_own(
    redis: RedisServer, tmp_path: Path
) -> None:
    script = say("cut", finish_reason="length")  # which is not kept
    async with town(redis, tmp_path, script, script) as here:
        await chat(here.houses[0])
        await chat(here.houses[1])

        assert here.calls == 2


async def test_every_key_ends_by_itself(redis: RedisServer, tmp_path: Path) -> None:
    script: list[Step] = [*say("gone soon")[:2], 0.05, *say("gone soon")[2:]]
    async with town(redis, tmp_path, script, script) as here:
        await asyncio.gather(*(chat(one) for one in here.houses))

    names = redis.client.keys()
    assert names
    assert all(redis.client.pttl(name) > 0 for name in names)


async def test_what_is_not_shared_never_touches_redis(redis: RedisServer, tmp_path: Path) -> None:
    async with town(redis, tmp_path, say("mine")) as here:
        await here.houses[0].chat(QUESTION, timeout=5)

        assert here.links[0].commands <= 1  # it looks into its letter box
        assert not redis.client.keys()


async def test_without_redis_everybody_leads(tmp_path: Path, redis: RedisServer) -> None:
    redis.kill()
    try:
        async with town(redis, tmp_path, say("alone"), say("alone")) as here:
            answers = await asyncio.gather(*(chat(one) for one in here.houses))

            assert [completion.text for _, completion in answers] == ["alone", "alone"]
            assert here.calls == 2
    finally:
        redis.start()


async def test_a_plain_miss_costs_two_round_trips(redis: RedisServer, tmp_path: Path) -> None:
    async with town(redis, tmp_path, say("one two three")) as here:
        await chat(here.houses[0], "to load the scripts")
        before = here.links[0].commands
        await chat(here.houses[0])

        assert here.links[0].commands - before == 2


async def test_more_than_the_bound_is_generated_twice(redis: RedisServer, tmp_path: Path) -> None:
    may_end = asyncio.Event()
    script: list[Step] = [*say("a long story " * 100), may_end]
    async with town(redis, tmp_path, script, say("short"), max_bytes=500) as here:
        leading = asyncio.create_task(chat(here.houses[0]))
        await until(lambda: any(one.flight.num_landed > 100 for one in here.flights[0].leading))

        assert (await chat(here.houses[1]))[1].text == "short"
        may_end.set()
        await leading


async def test_another_secret_shares_nothing(redis: RedisServer, tmp_path: Path) -> None:
    script: list[Step] = [0.05, *say("apart")]
    async with town(redis, tmp_path, script, script, secrets=(SECRET, b"t" * 32)) as here:
        await asyncio.gather(*(chat(one) for one in here.houses))

        assert here.calls == 2


async def test_a_caller_who_leaves_one_gateway_and_asks_the_other_is_answered(
    redis: RedisServer, tmp_path: Path
) -> None:
    """Between a claim and the letter that follows it the last rider of the leader may have left."""
    script: list[Step] = [*say("fine")[:2], 0.02, *say("fine")[2:]]
    async with town(redis, tmp_path, script, script, lease_s=60) as here:
        for number in range(8):
            calls, question = here.calls, f"What is lease {number}?"
            first = asyncio.create_task(chat(here.houses[0], question))
            await until(lambda calls=calls: here.calls > calls)  # type: ignore[misc]
            again = asyncio.create_task(chat(here.houses[1], question))
            await asyncio.sleep(number / 2000)
            first.cancel()
            assert (await again)[1].text == "fine"
