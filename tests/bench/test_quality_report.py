"""Walks are kept, wrong hits are told apart by what a reader made of them, and tables go where their marks are."""

from pathlib import Path

import pytest

from bench.datasets import DataError
from bench.quality import docs
from bench.quality.audit import READ, judged, readings, wrong_rows
from bench.quality.jobs import run_all
from bench.quality.report import promise_table
from bench.quality.risk import Run, Runner, Task
from bench.quality.streams import Asked, Stream
from bench.quality.walk import Outcome, Tally
from embeddings.control.prior import CAUTIOUS
from embeddings.hashing import HashingEmbedder
from embeddings.verifier.model import conservative

ASKED = (
    Asked("what is a block table", "a"),
    Asked("what is the block table", "b"),
    Asked("how do I wash a wool coat", "c"),
    Asked("how do I wash a wool coat", "d"),
)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    read = HashingEmbedder().read([one.text for one in ASKED])
    return Stream("t", ASKED, {reading.text: reading for reading in read}, "f", kept=tmp_path_factory.mktemp("memo"))


def test_a_walk_is_kept_and_not_walked_again(stream: Stream, tmp_path: Path) -> None:
    runner, told = Runner(stream, conservative(), conservative(), CAUTIOUS), list[Run]()
    tasks = [Task("t", "lane", 0.01), Task("t", "cosine", 0.8, 1)]
    first = run_all(tasks, {"t": runner}, 1, tmp_path / "runs.jsonl", told.append)
    with (tmp_path / "runs.jsonl").open("a") as lines:
        lines.write('{"task": {"str')  # as it is when a run is killed
    again = run_all(tasks, {"t": runner}, 1, tmp_path / "runs.jsonl", told.append)

    assert first == again == told
    assert [run.task for run in first] == tasks


def test_wrong_hits_are_doubled_rows_or_what_they_were_read_as(stream: Stream) -> None:
    table, wool = _wrong(ASKED[1], ASKED[0]), _wrong(ASKED[2], ASKED[0])
    runs = [Run(Task("t", "lane", 0.01, seed), Tally(4, 3, near=3, mistakes=[table, wool])) for seed in (1, 2)]
    found = judged(runs, {"t": stream})

    assert (found.hits, found.wrong, found.doubles, found.same) == (6, 4, 2, 0)
    assert (found.left, found.counted) == (2, 4)
    assert [row[:3] for row in wrong_rows(runs, {"t": stream})] == [("t", "2", "double"), ("t", "2", "unread")]


def test_every_reading_is_one_of_two_words_and_has_its_reason() -> None:
    rows = [line.split("\t") for line in READ.read_text("utf-8").splitlines()]

    assert all(len(row) == 5 and all(row) for row in rows)
    assert {row[3] for row in rows[1:]} <= {"same", "different"}
    assert len(readings()) == len(rows) - 1  # none is there twice


def test_a_table_goes_between_its_marks_or_nowhere(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- quality:a -->\nold\n<!-- /quality:a -->\nafter\n")
    docs.put(page, {"a": "| new |"})

    assert page.read_text() == "before\n<!-- quality:a -->\n| new |\n<!-- /quality:a -->\nafter\n"
    with pytest.raises(DataError, match="no place for b"):
        docs.put(page, {"b": "| lost |"})


def test_the_promise_is_told_by_label_and_without_hits_whose_label_says_nothing(stream: Stream) -> None:
    kept = [Run(Task("spider", "lane", 0.01, 1), Tally(4, 3, near=2, mistakes=[_wrong(ASKED[2], ASKED[0])]))]
    told = promise_table(kept, {"spider": stream}).splitlines()[-2]

    assert "| 0 / 1 **<** | 1 / 2 = 50.0 % | 1, 0 | 1 / 1 | 0 / 1 = 0.0 % |" in told


def _wrong(asked: Asked, stored: Asked) -> Outcome:
    return Outcome(asked, is_answerable=True, how="near", stored=stored.text, served_class=stored.class_id)
