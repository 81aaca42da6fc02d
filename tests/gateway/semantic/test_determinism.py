"""The same labels and questions make the same verdicts, whichever process asks."""

import asyncio
import json
import os
import sys

from tests.gateway.semantic.decided import verdicts


async def test_a_lane_decides_alike_in_another_process_to_the_last_digit() -> None:
    other = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.gateway.semantic.decided",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONHASHSEED": "7"},  # sets in another order
    )
    here = json.loads(json.dumps(verdicts()))
    said, _ = await other.communicate()

    assert json.loads(said) == here
    assert {one["action"] for one in here} == {"serve", "shadow", "pass"}
