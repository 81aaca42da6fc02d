"""The crash and the disk test, in short; the long runs are `python -m bench.faults.crash` and `bench.faults.disk`."""

import os
import time

import pytest

from bench.faults.crash import run as crash
from bench.faults.disk import NoMount
from bench.faults.disk import run as on_disk


def test_a_killed_gateway_has_every_answer_it_acknowledged() -> None:
    tallies, faults, ends = crash({"file/gateway": 1}, seed=3, until_s=time.monotonic() + 600)
    asked, told, found = ends["file"]

    assert faults == []
    assert tallies["file/gateway"].kills == 1
    assert asked >= found >= told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
def test_a_data_directory_that_is_deleted_costs_no_request_and_is_made_again() -> None:
    try:
        (fault,) = on_disk(["data directory deleted"])
    except NoMount as error:
        pytest.skip(f"no disk can be mounted here: {error}")

    assert fault.wrong is None, fault.row()
    assert fault.right == fault.asked
    assert fault.counted > 0
