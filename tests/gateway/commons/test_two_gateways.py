"""Gateways on one Redis share witnesses, and what these make shared."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.answers.selection import Selection
from gateway.curation.invalidate import Invalidation
from gateway.policy import Rules
from tests.gateway.commons.test_sharing import QUESTION, REWORDED, asked_by
from tests.gateway.shared.replicas import replica
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving

pytestmark = needs_redis
RULES = Rules(shadow_rate=0.0, share_tenants=2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    yield from serving(tmp_path)


async def test_tenants_of_two_gateways_vouch_for_one_answer_that_both_give(server: RedisServer, tmp_path: Path) -> None:
    async with replica(tmp_path, server.url, "one", RULES) as one, replica(tmp_path, server.url, "two", RULES) as two:
        await asked_by(one.house, "a")
        await asked_by(two.house, "b")
        await one.current()
        (here,) = await asked_by(one.house, "c")
        (there,) = await asked_by(two.house, "d", text=REWORDED)
        assert (here.reason, there.reason) == ("shared", "shared")

        g = two.house
        await Invalidation(g.answers, g.semantic, g.ledger).run(Selection(tenant="b"))
        await one.current()
        (after,) = await asked_by(one.house, "e", text=QUESTION)
        assert after.tier == "full"
