"""Real servers for tests of the shared store: one alone, and a cluster of two nodes."""

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from tests.contracts.answers_contract import KEEP_STALE_S, Clock
from tests.kvtier.tiers.servers import RedisServer, clustered, serving

SECRET = b"s" * 32
LARGE = 100_000_000
PATIENCE_S = 10.0  # a test machine may be busy; only tests of a server that is away have to wait for a timeout


@pytest.fixture(scope="session")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from serving(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, RedisServer]]:
    yield from clustered(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(one_server: RedisServer) -> RedisServer:
    """An empty one."""
    one_server.client.flushall()
    return one_server


@pytest.fixture
def nodes(two_nodes: tuple[RedisServer, RedisServer]) -> tuple[RedisServer, RedisServer]:
    """An empty cluster."""
    for node in two_nodes:
        node.client.flushall()
    return two_nodes


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[Link]:
    link = Link(server.url, SECRET, timeout_s=PATIENCE_S)
    yield link
    await link.close()


@pytest.fixture
async def store(link: Link, clock: Clock) -> AsyncIterator[RedisAnswers]:
    store = store_of(link, clock)
    await store.open()
    yield store
    await store.close()


def store_of(link: Link, clock: Clock, replica: bytes = b"a", budget_bytes: int = LARGE) -> RedisAnswers:
    return RedisAnswers(
        link, replica=replica, budget_bytes=budget_bytes, keep_stale_s=KEEP_STALE_S, hits_every_s=0.05, now=clock
    )
