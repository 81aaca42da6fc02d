"""The figures of `bench.faults` that say whether a promise holds: each can say that it does not."""

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random

import pytest

from bench.faults.chaos import FLAT_MB, LOOKS, Course, check_memory
from bench.faults.crash import count_vectors
from bench.faults.crowd import Count
from bench.faults.reading import How, Streams, read_stream
from bench.faults.soak import check_growth, check_ledger, check_streams
from bench.faults.watching import Look, slope, verdict

PIECE = b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'


def looks(per_hour: float, count: int = 400, noise: float = 0.5) -> list[Look]:
    draws = Random(1)
    return [
        Look(at_s, 170 + per_hour * at_s / 3600 + draws.uniform(-noise, noise), 0, 30, 8, 0, 1)
        for at_s in range(0, 2 * count, 2)
    ]


@pytest.mark.parametrize(("per_hour", "is_broken"), [(0, False), (5, False), (-40, False), (30, True), (55, True)])
def test_memory_that_grows_breaks_a_promise_and_memory_that_is_flat_does_not(per_hour: float, is_broken: bool) -> None:
    broken, unshown = check_memory(looks(per_hour))

    assert bool(broken) is is_broken
    assert unshown == []


def test_what_cannot_be_told_from_noise_is_neither_broken_nor_shown() -> None:
    seen = looks(25, LOOKS, noise=40)
    growth = slope([(one.at_s, one.gateway_mb) for one in seen])

    assert not growth.is_over(FLAT_MB)
    assert not growth.is_under(FLAT_MB)
    for part in (seen, seen[: LOOKS - 1]):
        broken, unshown = check_memory(part)
        assert (broken, len(unshown)) == ([], 1)


def test_the_course_is_warm_when_a_third_is_asked() -> None:
    course = Course(9, Random(0))
    warm = []
    while course.next() is not None:
        warm.append(course.warm_s > 0)

    assert warm == [False] * 3 + [True] * 6


@pytest.mark.parametrize(
    ("vectors", "rows", "is_whole"),
    [
        (0, [], True),
        (2, [("a", b"v"), ("b", b"v"), ("of unknown words", b"")], True),
        (2, [("a", b"v"), ("b", b"v"), (None, None)], False),  # an answer to nothing
        (1, [("a", b"v"), ("b", b"v")], False),  # the index lacks one
        (2, [("a", b"v"), ("b", None)], False),  # it would be embedded again at every start
        (1, [("a", b"v"), ("b", None)], False),  # nobody embedded it
        (3, [("a", b"v"), ("b", b"v")], False),  # of what is gone
    ],
)
def test_the_vectors_of_the_index_are_counted_against_the_questions_of_the_store(
    tmp_path: Path, vectors: int, rows: list[tuple[str | None, bytes | None]], is_whole: bool
) -> None:
    with closing(sqlite3.connect(tmp_path / "answers.db")) as connection:
        connection.execute("CREATE TABLE entries (question TEXT, vector BLOB)")
        connection.executemany("INSERT INTO entries VALUES (?, ?)", rows)
        connection.commit()

    assert count_vectors(tmp_path / "answers.db", vectors).is_whole(len(rows)) is is_whole


@pytest.mark.parametrize(
    ("broken", "unshown", "ends"), [([], [], 0), (["a"], [], 1), ([], ["b"], 2), (["a"], ["b"], 1)]
)
def test_a_run_ends_well_only_when_all_is_shown_to_be_kept(
    broken: list[str], unshown: list[str], ends: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict("run", broken, unshown) == ends
    assert ("all promises kept" in capsys.readouterr().out) is (ends == 0)


def engine_and_gateway(gateway_per_hour: float, engine_per_hour: float, noise: float) -> list[Look]:
    draws = Random(2)
    return [
        Look(
            at_s,
            400 + gateway_per_hour * at_s / 3600 + draws.uniform(-noise, noise),
            300 + engine_per_hour * at_s / 3600 + draws.uniform(-noise, noise),
            *(40, 3000, 500, 500),
        )
        for at_s in range(900, 3600, 10)
    ]


@pytest.mark.parametrize(
    ("gateway", "engine", "noise", "grown", "unshown"),
    [
        (0, 0, 2, "", ""),
        (-40, 10, 2, "", ""),
        (60, 0, 2, "gateway_mb", ""),
        (0, 60, 2, "engines_mb", ""),
        (0, 0, 200, "", "gateway_mb engines_mb"),  # a saw: it might hide anything
        (25, 0, 60, "", "gateway_mb engines_mb"),
        (15, 0, 15, "", "gateway_mb"),  # an hour of ours said +17 [+10, +23]
    ],
)
def test_a_soak_tells_flat_memory_from_growing_and_from_what_noise_hides(
    gateway: float, engine: float, noise: float, grown: str, unshown: str
) -> None:
    found = [[name for name in ("gateway_mb", "engines_mb") if any(name in said for said in part)]
             for part in check_growth(engine_and_gateway(gateway, engine, noise))]  # fmt: skip

    assert found == [grown.split(), unshown.split()]


def test_a_soak_with_few_looks_shows_nothing() -> None:
    grown, unshown = check_growth(engine_and_gateway(500, 0, 1)[:20])

    assert grown == []
    assert len(unshown) == 1


@pytest.mark.parametrize(
    ("most", "slowly", "left", "is_broken"),
    [(500, 9, 9, False), (499, 9, 9, True), (500, 0, 9, True), (500, 9, 0, True), (0, 0, 0, True)],
)
def test_a_soak_without_its_streams_its_slow_readers_or_its_leavers_has_shown_nothing(
    most: int, slowly: int, left: int, is_broken: bool
) -> None:
    counts = [Count(at_s, most - at_s % 7, 40) for at_s in range(100)] if most else []

    assert bool(check_streams(counts, slowly, left, 500)) is is_broken


@pytest.mark.parametrize(
    ("answered", "left", "left_within", "is_even"),
    [
        (900, 100, 100, True),
        (901, 100, 99, True),
        (910, 100, 100, False),  # ten are answered that nobody was told
        (890, 115, 100, False),  # ten are in no ledger that nobody gave up
        (902, 100, 100, True),  # two ended in the moment in which their clients left
        (1000, 0, 0, True),
        (999, 0, 0, False),
    ],
)
def test_the_ledger_of_a_soak_is_even_but_for_who_left_in_the_last_moment(
    answered: int, left: int, left_within: int, is_even: bool
) -> None:
    assert (check_ledger(1000, answered - 5, 5, left, left_within) == []) is is_even


async def test_open_streams_are_counted_and_who_leaves_looks_at_what_is_there() -> None:
    streams, seen = Streams(), list[tuple[int, int]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + PIECE)
        while streams.now < 3 and not seen:  # noqa: ASYNC110 (they are of this loop)
            await asyncio.sleep(0.01)
        seen.append((streams.now, streams.slow))
        if b"/whole" in head:
            writer.write(PIECE * 20 + b"data: [DONE]\n\n")
        else:
            await reader.read()  # until it has left
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ask = partial(read_stream, url, body=b"{}", streams=streams)
        whole, slowly, left = await asyncio.gather(
            ask("/whole", pause_s=0.0, leave_after_s=None),
            ask("/whole", pause_s=1.0, leave_after_s=1.5),
            ask("/part", pause_s=0.0, leave_after_s=1.5),
        )

    assert whole == How("complete")
    assert (slowly.kind, slowly.has_all) == ("left", True)
    assert (left.kind, left.has_all) == ("left", False)
    assert max(seen) == (3, 1)
    assert (streams.now, streams.slow) == (0, 0)
