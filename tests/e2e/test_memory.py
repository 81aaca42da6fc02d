"""A gateway that is short of memory lets nobody in before it ends, and says so."""

import time
from pathlib import Path

import pytest

from gateway.edge.memory import STATM
from tests.e2e.server import running_gateway
from tests.upstream import running_upstream

TOO_LITTLE_MB = "40"  # less than Python with a web server takes
BODY = {"model": "test-model", "messages": [{"role": "user", "content": "Is there room?"}]}

pytestmark = pytest.mark.skipif(not STATM.exists(), reason="the system does not say what a process takes")


def test_what_is_asked_of_a_gateway_without_memory_is_refused_and_comes_again_later(tmp_path: Path) -> None:
    settings = {"cache__semantic": "false", "edge__memory_mb": TOO_LITTLE_MB}
    with (
        running_upstream() as upstream,
        running_gateway(tmp_path / "data", "--upstream", upstream.base_url, **settings) as gateway,
    ):
        deadline = time.monotonic() + 20
        while (refused := gateway.post(BODY)).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.1)  # it looks once a second

        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert gateway.get("/healthz").status_code == 200
        share = next(
            line for line in gateway.get("/metrics").text.splitlines() if line.startswith("twicetold_memory_share")
        )
        assert float(share.split()[-1]) > 1
