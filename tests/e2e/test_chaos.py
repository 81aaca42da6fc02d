"""Under an upstream that fails in every way, and many clients: short forms of the long runs in `bench.faults`."""

import asyncio
import time
from random import Random

import pytest

from bench.faults.chaos import Course, check_stored, storm
from bench.processes import Server
from tests.e2e.server import Gateway
from tests.upstream import RunningUpstream


def test_every_client_gets_a_whole_answer_or_a_clear_error_and_nothing_bad_is_kept(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    upstream.control(mode="chaos:0.4")
    course = Course(300, Random(0))
    asyncio.run(storm(Server(gateway.url, gateway.process.pid), course, 40, time.monotonic()))
    stored, wrong = check_stored(gateway.url)

    assert course.bad == []
    assert wrong == []
    assert course.kinds["error"] > 20
    assert stored > 50


@pytest.mark.skip(reason="ten minutes and 500 clients: python -m bench.faults.soak --minutes 10 (docs/reliability.md)")
def test_nothing_grows_under_hundreds_of_streams() -> None:
    """Shown by the long run."""
