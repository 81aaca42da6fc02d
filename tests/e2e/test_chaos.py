"""Under an upstream that fails in every way, and many clients: short forms of the long runs in `bench.faults`."""

import asyncio
import time
from random import Random

import pytest

from bench.faults.chaos import Course, check_ledger, check_stored, storm
from bench.faults.watching import Look, at_rest
from bench.processes import Server
from tests.e2e.server import Gateway
from tests.upstream import RunningUpstream


def after_all(gateway: Gateway, num_tasks: int) -> Look:
    """The first look at which all is as before, or the last after half a minute."""
    deadline = time.monotonic() + 30
    while True:
        seen = at_rest(gateway.url, gateway.process.pid, 0.0)
        if seen.tasks <= num_tasks or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def test_every_client_gets_a_whole_answer_or_a_clear_error_and_nothing_bad_is_kept_or_stays_behind(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    before = at_rest(gateway.url, gateway.process.pid, 0.0)
    upstream.control(mode="chaos:0.4")
    course = Course(300, Random(0))
    looks = asyncio.run(storm(Server(gateway.url, gateway.process.pid), course, 40, time.monotonic()))
    stored, wrong = check_stored(gateway.url)
    after = after_all(gateway, before.tasks)

    assert course.bad == []
    assert wrong == []
    assert course.kinds["error"] > 20
    assert stored > 50
    assert sum(course.kinds.values()) == 300
    assert check_ledger(gateway.url, course) == []
    assert max(one.tasks for one in looks) > before.tasks  # else nothing was looked at
    assert after.tasks <= before.tasks
    assert after.under_way == 0


@pytest.mark.skip(reason="ten minutes and 640 clients: python -m bench.faults.soak --minutes 10 (docs/reliability.md)")
def test_nothing_grows_under_hundreds_of_streams() -> None:
    """Shown by the long run."""
