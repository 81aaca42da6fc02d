"""Files that were cut off in the middle, by a crash or a full disk: a gateway starts over all of them, and serves."""

import os
import resource
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from gateway.callers.keys import Wish
from gateway.keptfile import write_whole
from gateway.services import build
from gateway.settings import CacheSettings, Settings
from tests.contracts.answers_contract import digest, entry_of

UPSTREAM = "http://127.0.0.1:9/v1"


def settings_of(folder: Path) -> Settings:
    return Settings(data_dir=folder, upstream=UPSTREAM, cache=CacheSettings(semantic=False))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_whatever_file_is_cut_in_half_the_gateway_starts_and_keeps_answers(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    services = build(settings_of(folder))
    async with services.opened():
        await services.answers.put(entry_of("a"))
        await services.keys.create(Wish("one"))
        await services.recent.prices.change("EUR", {})
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("secret"))
    assert {"answers.db", "embeddings.db", "prices.json"} <= {path.name for path in files}

    for number, path in enumerate(files):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        services = build(settings_of(folder))
        async with services.opened():
            assert services.has_store, path
            await services.answers.put(entry_of(f"new-{number}"))
            assert await services.answers.get(digest("s"), digest(f"new-{number}")) is not None
    with closing(sqlite3.connect(folder / "answers.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_cannot_be_written_stays_as_it_was_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    write_whole(path, "before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (path.read_text(), names(tmp_path)) == ("before", ["prices.json"])


def test_what_a_killed_writer_left_is_swept_up_by_a_later_one(tmp_path: Path) -> None:
    old, new = tmp_path / "prices.json.abc.part", tmp_path / "prices.json.def.part"
    for part in (old, new):
        part.touch()
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    write_whole(tmp_path / "prices.json", "{}")

    assert names(tmp_path) == ["prices.json", new.name]
