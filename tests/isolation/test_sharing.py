"""Where tenants share, an answer crosses when enough of them have asked the very same, and never before."""

import random
from pathlib import Path

from bench.isolation.askers import Asker, Tenant
from bench.isolation.asking import Question
from bench.isolation.commons import CommonPairs
from bench.isolation.scraped import scrape
from bench.isolation.town import ALONE, LEAST, give_keys, house

QUESTION = Question("chat", "lease")


async def test_an_answer_crosses_only_when_enough_tenants_have_asked_the_same(tmp_path: Path) -> None:
    async with house("commons", tmp_path) as home:
        keys = await give_keys(home)
        pairs = CommonPairs(home, keys, random.Random(1), LEAST)
        await pairs.run(200)
        await scrape(home, keys, pairs.watch)

    assert pairs.watch.leaks == []
    assert not pairs.watch.refused
    assert sum(n for (_, _, tier), n in pairs.watch.tiers.items() if "shared" in tier) > 3  # it does cross


async def test_the_watch_sees_an_answer_that_crosses_when_too_few_have_asked(tmp_path: Path) -> None:
    async with house("commons", tmp_path, least=LEAST - 1) as home:
        tenants = [Tenant(f"key {n}", texts) for n, texts in enumerate(await give_keys(home))]
        pairs = CommonPairs(home, [], random.Random(1), LEAST)
        for tenant in tenants[1:4]:
            await pairs.ask(Asker(tenant), QUESTION, "tenant")
            await home.services[0].pipeline.close()  # what is owed to the store is written

    assert any(f"when {LEAST - 1} of {LEAST} had asked" in leak for leak in pairs.watch.leaks)


async def test_the_watch_sees_an_answer_that_crosses_to_who_shares_with_nobody(tmp_path: Path) -> None:
    async with house("commons", tmp_path) as home:
        keys = await give_keys(home)
        tenants = [Tenant(f"key {n}", texts) for n, texts in enumerate(keys)]
        pairs = CommonPairs(home, keys, random.Random(1), LEAST)
        for tenant in tenants[1 : 1 + LEAST]:
            await pairs.ask(Asker(tenant), QUESTION, "tenant")
            await home.services[0].pipeline.close()
        await pairs.ask(Asker(tenants[0]), QUESTION, "tenant")
        assert pairs.watch.leaks == []
        await pairs.ask(Asker(Tenant(ALONE.name, keys[5])), QUESTION, "tenant")  # taken for the one who does not share

    assert any("an answer of another" in leak for leak in pairs.watch.leaks)
