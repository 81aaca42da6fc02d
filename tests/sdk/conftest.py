"""A real gateway in front of the test upstream, for the SDK's tests that need one."""

from collections.abc import Iterator

import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream, running_upstream
from twicetold import Twicetold


@pytest.fixture(scope="session")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """An exact cache: no embedder, no engine, so it starts at once."""
    folder = tmp_path_factory.mktemp("sdk") / "data"
    with running_gateway(folder, "--upstream", upstream.base_url, cache__semantic="false") as running:
        running.wait("upstream")
        yield running


@pytest.fixture(scope="session")
def client(gateway: Gateway) -> Iterator[Twicetold]:
    with Twicetold(gateway.url, api_key="sk-test", model="m") as client:
        yield client
