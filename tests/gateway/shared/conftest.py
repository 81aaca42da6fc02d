"""One real Redis for a module."""

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.answers.redis.connection import Link
from tests.gateway.shared.servers import SECRET
from tests.kvtier.tiers.servers import RedisServer, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from serving(tmp_path_factory.mktemp("redis"))


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[Link]:
    server.client.flushall()
    link = Link(server.url, SECRET)
    yield link
    await link.close()
