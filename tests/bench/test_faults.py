"""The crash and the disk test, in short; the long runs are `python -m bench.faults.crash` and `bench.faults.disk`."""

import asyncio
import os
import time
from pathlib import Path
from random import Random

import pytest

from bench.faults.crash import House, house_of
from bench.faults.crash import run as crash
from bench.faults.disk import NoMount
from bench.faults.disk import run as on_disk
from bench.faults.traffic import CHAT, Said, said_of
from bench.http1 import Connection
from bench.processes import upstream


def test_a_killed_gateway_has_every_answer_it_acknowledged() -> None:
    tallies, faults, ends = crash({"file/gateway": 1}, seed=3, until_s=time.monotonic() + 600)
    asked, told, found = ends["file"]

    assert faults == []
    assert tallies["file/gateway"].kills == 1
    assert asked >= found >= told


def test_a_stored_answer_that_is_not_what_was_told_in_every_part_is_a_fault(tmp_path: Path) -> None:
    async def ask(house: House, number: int) -> Said:
        async with Connection(house.gateway.url, CHAT) as lane:
            said = said_of(await lane.post(house.book.chat(number)))
        assert said is not None
        return said

    with upstream() as backend, house_of("file", tmp_path, backend.url, Random(3)) as house:
        first, second = house.book.new("chat"), house.book.new("chat")
        house.book.said[first] = asyncio.run(ask(house, first))
        house.book.said[second] = {**asyncio.run(ask(house, second)), "usage": {}}
        found = asyncio.run(house.look([first, second]))

        assert found == {first, second}
        assert [fault.partition(": ")[0] for fault in house.book.faults] == [f"chat {second}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")
def test_a_data_directory_that_is_deleted_costs_no_request_and_is_made_again() -> None:
    try:
        (fault,) = on_disk(["data directory deleted"])
    except NoMount as error:
        pytest.skip(f"no disk can be mounted here: {error}")

    assert fault.wrong is None, fault.row()
    assert fault.right == fault.asked
    assert fault.counted > 0
