"""The contract of answer stores, over a Redis and over a Redis Cluster: with names made from the fingerprints, as the
gateway makes them, and with foreign ones, as an import may bring them."""

from collections.abc import AsyncIterator

import pytest

from gateway.answers.base import Answers
from gateway.answers.memory import MemoryAnswers
from gateway.answers.redis.connection import Link
from gateway.answers.tiered import TieredAnswers
from tests.contracts.answers_contract import *  # noqa: F403
from tests.contracts.answers_contract import KEEP_STALE_S, Clock
from tests.gateway.answers.redis.conftest import PATIENCE_S, SECRET, store_of
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis

SMALL = 3000  # holds one or two entries: the tier in front forgets nearly everything


def named_by_fingerprint(exact: bytes) -> str:
    """As the entries of the contract are named."""
    return f"e_{exact.rstrip(b'.').decode()}"


@pytest.fixture(params=["one server", "one server, foreign names", "cluster", "tiered, small memory"])
async def answers(
    request: pytest.FixtureRequest, clock: Clock, server: RedisServer, two_nodes: tuple[RedisServer, RedisServer]
) -> AsyncIterator[Answers]:
    for node in two_nodes:
        node.client.flushall()
    link = Link(two_nodes[0].url if request.param == "cluster" else server.url, SECRET, timeout_s=PATIENCE_S)
    if "foreign" not in request.param:
        link.names.id_of = named_by_fingerprint  # type: ignore[method-assign]
    store = store_of(link, clock)
    await store.open()
    memory = MemoryAnswers(SMALL, keep_stale_s=KEEP_STALE_S, now=clock)
    yield TieredAnswers(memory, store) if "tiered" in request.param else store
    await store.close()
    await link.close()
