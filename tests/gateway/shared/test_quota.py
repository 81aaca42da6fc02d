"""Accounts that gateways share: Lua decides as the values do, and what dies or is away holds nobody up."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backends.chat import Usage
from gateway.answers.redis.connection import Away, Link
from gateway.callers.caller import Caller
from gateway.controls import Controls
from gateway.errors import BudgetSpent, PolicyUnreadable, RateLimited
from gateway.quota.admission import Admission, Subjects
from gateway.quota.buckets import Need, Refusal, Sums, moment_of
from gateway.quota.gate import Quota
from gateway.quota.guess import Guess
from gateway.quota.local import LocalAccounts
from gateway.quota.policies import Policies, TenantPolicy
from gateway.quota.records import Record
from gateway.settings.trust import Limits
from gateway.shared.quota import LEASE_S, RedisAccounts
from gateway.shared.racks import RedisTenants
from tests.gateway.shared.servers import SECRET
from tests.kvtier.tiers.servers import RedisServer, serving

LATE_S = datetime(2026, 11, 30, 23, 50, tzinfo=UTC).timestamp()  # a day and a month end soon
TENANT, KEY = "a" * 32, "a" * 32 + "/key_1"
UNBOUND = Limits(tokens_per_month=10**9)


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now_s = LATE_S

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("count_hits", [False, True])
async def test_redis_decides_as_the_values_do(link: Link, *, count_hits: bool) -> None:
    draw, clock = random.Random(7), Clock()
    mine, theirs = LocalAccounts(), RedisAccounts(link, "r", now=clock)
    key = Limits(4, 500, count_hits=count_hits)
    subjects: Subjects = [(TENANT, Limits(6, 900, 4, 4000, 9000, 0.2)), (KEY, key)]
    out: list[tuple[Need, str]] = []
    seen = set()
    for _ in range(200):
        clock.now_s += draw.choice((0.0, 0.3, 4.0, 20.0, -5.0))
        await theirs.renew()
        moment = moment_of(clock.now_s)
        if out and draw.random() < 0.6:
            held, lease = out.pop(draw.randrange(len(out)))
            used = Sums(1, draw.randrange(2), draw.randrange(300), draw.random() / 100)
            mine.settle(subjects, held, used, moment)
            theirs.settle(subjects, lease, held, used, moment)
            assert await theirs.tell()
            continue
        need = Need(draw.randrange(400), draw.random() / 100)
        wanted = mine.enter(subjects, need, moment)
        _, got, lease = await theirs.enter(subjects, need, moment)
        assert got == wanted
        seen.add((_what(got.refusal), _what(got.shortage)))
        if got.refusal is None:
            out.append((Need() if got.shortage else need, lease))
    assert len(seen) >= 4, seen  # it came to different ends
    for name, limits in subjects:
        account = mine.of(name).at(limits, moment)
        read = await theirs.read(name, limits, moment)
        assert (read.day.number, read.month.number) == (account.day.number, account.month.number)
        assert read.month.sums.tokens == account.month.sums.tokens
        assert read.month.sums.money == pytest.approx(account.month.sums.money)
        assert read.running == account.running == len(out)


def _what(refusal: Refusal | None) -> str:
    return "" if refusal is None else refusal.what


def gateway(link: Link, clock: Clock, name: str) -> tuple[Quota, RedisAccounts]:
    shared = RedisAccounts(link, name, now=clock)
    return Quota(shared=shared, now=clock), shared


def admission(quota: Quota, limits: Limits) -> Admission:
    return quota.enter(TenantPolicy(limits=((TENANT, limits),)), lambda: Guess("m", 10, 20))


async def test_what_one_gateway_gives_the_other_does_not_give_again(link: Link) -> None:
    clock = Clock()
    (one, told), (other, _) = gateway(link, clock, "one"), gateway(link, clock, "other")
    async with admission(one, Limits(concurrent=1)), admission(other, Limits(concurrent=1)) as late:
        with pytest.raises(RateLimited):
            late.check()
    await told.tell()
    async with admission(other, Limits(concurrent=1)) as now:
        now.check()
        now.settle(Usage(50, 50), is_hit=False, model="m")
    await other.close()
    async with admission(one, Limits(tokens_per_day=100)) as spent:
        with pytest.raises(BudgetSpent):
            spent.check_shortage(Controls())


async def test_what_a_dead_gateway_held_is_free_when_its_lease_has_run_out(link: Link) -> None:
    clock = Clock()
    (dead, _), (alive, _) = gateway(link, clock, "dead"), gateway(link, clock, "alive")
    limits = Limits(concurrent=1, tokens_per_month=40)
    await admission(dead, limits).__aenter__()
    clock.now_s += LEASE_S + 1
    async with admission(alive, limits) as admitted:
        admitted.check()
        admitted.check_shortage(Controls())


async def test_without_redis_a_gateway_goes_by_what_it_last_heard_and_tells_later() -> None:
    clock, away = Clock(), Link("redis://127.0.0.1:1", SECRET, timeout_s=0.05)
    quota, shared = gateway(away, clock, "one")
    limits = Limits(tokens_per_day=100)
    async with admission(quota, limits) as first:
        first.check()
        first.settle(Usage(60, 60), is_hit=False, model="m")
    async with admission(quota, limits) as second:
        with pytest.raises(BudgetSpent):
            second.check_shortage(Controls())
    assert quota.num_alone == 2
    assert not await shared.tell()  # it still owes
    await away.close()


async def test_a_policy_said_to_one_gateway_is_known_to_the_other_and_a_forged_one_is_none(link: Link) -> None:
    said = Record(TENANT, 5.0, {"limits": {"concurrent": 2}})
    await RedisTenants(link).save(said)
    assert list(await RedisTenants(link).load()) == [said]
    await link.call("HSET", link.name("tenants"), TENANT, b"0" * 16 + Record(TENANT, 9.0, None).as_bytes())
    assert list(await RedisTenants(link).load()) == []


async def test_what_is_forgotten_is_gone_from_redis(link: Link) -> None:
    clock = Clock()
    quota, shared = gateway(link, clock, "one")
    async with admission(quota, Limits(tokens_per_day=100)) as admitted:
        admitted.settle(Usage(60, 60), is_hit=False, model="m")
    assert await quota.erase(TENANT) == 1
    await shared.tell()
    assert await link.call("EXISTS", link.name("quota", "{" + TENANT + "}", "h", TENANT)) == 0


class Forgetful(Link):
    """Loses the replies to what Redis ran, so many times."""

    num_lost = 0

    async def run_all(self, runs: Any) -> list[Any]:
        replies = await super().run_all(runs)
        if self.num_lost:
            self.num_lost -= 1
            raise Away("it does not answer in time")
        return replies


async def spend(shared: RedisAccounts, clock: Clock, times: int) -> None:
    """So many requests of a thousand tokens, of a tenant and its key."""
    subjects, moment = [(TENANT, UNBOUND), (KEY, UNBOUND)], moment_of(clock.now_s)
    for _ in range(times):
        _, _, lease = await shared.enter(subjects, Need(500, 0.1), moment)
        shared.settle(subjects, lease, Need(500, 0.1), Sums(1, 0, 1000, 0.25), moment)


async def sums_of(shared: RedisAccounts, clock: Clock) -> list[tuple[int, int, float]]:
    found = [(await shared.read(name, UNBOUND, moment_of(clock.now_s))).month.sums for name in (TENANT, KEY)]
    return [(sums.requests, sums.tokens, sums.money) for sums in found]


async def test_a_settlement_that_ran_and_is_told_again_is_counted_once(server: RedisServer, link: Link) -> None:
    clock, forgetful = Clock(), Forgetful(server.url, SECRET)
    shared, other = RedisAccounts(forgetful, "one", now=clock), RedisAccounts(link, "one", now=clock)
    for turn in range(1, 4):
        forgetful.num_lost = 2
        await spend(shared, clock, 2)
        assert not await shared.tell()
        await spend(shared, clock, 1)  # goes along with the retry
        assert not await shared.tell()
        assert await shared.tell()
        assert await sums_of(shared, clock) == [(3 * turn, 3000 * turn, 0.75 * turn)] * 2
    await spend(other, clock, 1)  # of the same name, as a gateway that started again
    assert await other.tell()
    assert await sums_of(shared, clock) == [(10, 10_000, 2.5)] * 2
    ran = link.name("quota", "{" + TENANT + "}", "s", "*")
    kept = [await link.call("ZCARD", key) for key in await link.call("KEYS", ran)]
    assert all(0 < number <= 7 for number in kept), kept  # what has been heard of is forgotten
    await forgetful.close()


async def test_settlements_that_a_stopped_redis_runs_late_are_counted_once(tmp_path: Path) -> None:
    for server in serving(tmp_path):
        clock, link = Clock(), Link(server.url, SECRET, timeout_s=0.05)
        shared = RedisAccounts(link, "one", now=clock)
        await spend(shared, clock, 1)
        assert await shared.tell()
        await spend(shared, clock, 2)
        server.hang()
        try:
            most = link.round_trips + 4
            while link.round_trips < most:  # each lies in the ear of a stopped server
                assert not await shared.tell()
                await asyncio.sleep(0.02)
        finally:
            server.go_on()
        for _ in range(1000):
            if is_told := await shared.tell():
                break
            await asyncio.sleep(0.02)
        assert is_told
        assert await sums_of(shared, clock) == [(3, 3000, 0.75)] * 2
        await link.close()


async def test_what_is_being_told_when_a_stop_comes_is_still_owed(link: Link) -> None:
    clock = Clock()
    shared = RedisAccounts(link, "one", now=clock)
    for turns in range(30):  # before it is sent, on its way, and when it is told
        await spend(shared, clock, 1)
        telling = asyncio.ensure_future(shared.tell())
        for _ in range(turns):
            await asyncio.sleep(0)
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
    assert await shared.tell()
    assert await sums_of(shared, clock) == [(30, 30_000, 7.5)] * 2


async def test_who_leaves_while_redis_is_asked_holds_nothing(link: Link) -> None:
    clock = Clock()
    quota, shared = gateway(link, clock, "one")
    limits = Limits(concurrent=1000, tokens_per_minute=10**6)
    for turns in range(30):  # before it is sent, on its way, and when it has come
        entering = asyncio.ensure_future(admission(quota, limits).__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not entering.cancel():
            await (await entering).__aexit__(None, None, None)
        with suppress(asyncio.CancelledError):
            await entering
    await asyncio.sleep(0.05)
    await shared.tell()
    account = await shared.read(TENANT, limits, moment_of(clock.now_s))
    assert (account.running, account.held.tokens, account.tokens) == (0, 0, 0.0)


async def test_a_field_of_a_newer_version_is_no_missing_word_where_redis_alone_has_it(link: Link) -> None:
    newer = Record(TENANT, 1.0, {"share": False}, {"surprise": 1})
    await RedisTenants(link).save(newer)
    policies = Policies([], [RedisTenants(link)])
    await policies.open()
    with pytest.raises(PolicyUnreadable):
        policies.check(Caller(TENANT))
    assert await RedisTenants(link).load() == [newer]

    await policies.say(TENANT, {"models": ["a"]})
    policies.check(Caller(TENANT))
