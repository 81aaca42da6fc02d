"""The contract of answer stores, over a Redis with entries named after their fingerprints, as the gateway names them,
and over a Redis Cluster with foreign names, as an import may bring them: the short way and the long one."""

from collections.abc import AsyncIterator

import pytest

from gateway.answers.base import Answers
from gateway.answers.redis.connection import Link
from tests.contracts.answers_contract import *  # noqa: F403
from tests.contracts.answers_contract import Clock
from tests.gateway.answers.redis.conftest import PATIENCE_S, SECRET, store_of
from tests.kvtier.tiers.servers import RedisServer, needs_redis

pytestmark = needs_redis


def named_by_fingerprint(exact: bytes) -> str:
    """As the entries of the contract are named."""
    return f"e_{exact.rstrip(b'.').decode()}"


@pytest.fixture(params=["one server", "cluster, foreign names"])
async def answers(
    request: pytest.FixtureRequest, clock: Clock, server: RedisServer, nodes: tuple[RedisServer, RedisServer]
) -> AsyncIterator[Answers]:
    link = Link(nodes[0].url if "cluster" in request.param else server.url, SECRET, timeout_s=PATIENCE_S)
    if "foreign" not in request.param:
        link.names.id_of = named_by_fingerprint  # type: ignore[method-assign]
    store = store_of(link, clock)
    await store.open()
    yield store
    await store.close()
    await link.close()
