"""Real processes, shared by the tests of a module: what one module had stored is found in no other."""

from collections.abc import Iterator

import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream, running_upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """An exact cache in front of the test upstream: no embedder, no engine, so it starts at once."""
    limits = {"timeouts__first_token_s": "1", "timeouts__idle_s": "1", "timeouts__total_s": "3", "max_body_mb": "1"}
    folder = tmp_path_factory.mktemp("gateway") / "data"
    with running_gateway(folder, "--upstream", upstream.base_url, cache__semantic="false", **limits) as running:
        running.wait("upstream")
        yield running


@pytest.fixture(autouse=True)
def polite(upstream: RunningUpstream) -> None:
    """Every test starts with an upstream that behaves."""
    upstream.control(mode="normal", next=[], reset=True)
