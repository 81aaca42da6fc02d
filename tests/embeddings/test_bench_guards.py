import gzip
from pathlib import Path

import pytest

from bench.guards import Pair, main, report_pairs


def test_missing_data_is_said_and_not_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(tmp_path)

    assert "no evaluation data" in capsys.readouterr().out


def test_pairs_and_streams_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "streams").mkdir()
    with gzip.open(tmp_path / "pairs" / "tiny.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("label\tquery_a\tquery_b\tsource\n")
        file.write("1\tWhat is prefix caching?\tWhat's prefix caching?\tx\n")
        file.write("0\tHow do I turn on dark mode?\tHow do I turn off dark mode?\tx\n")
    with gzip.open(tmp_path / "streams" / "spider.jsonl.gz", "wt", encoding="utf-8") as file:
        for scope, prompt, wanted in (
            ("a", "What's caching?", "1"),
            ("a", "What is caching?", "1"),
            ("b", "What is caching?", "1"),
        ):
            file.write(f'{{"scope": "{scope}", "prompt": "{prompt}", "class_id": "{wanted}"}}\n')

    main(tmp_path)

    printed = capsys.readouterr().out
    assert "antonyms 1 (1) / 0 (0)" in printed
    assert "3 questions beyond exact repeats, 1 of a class seen before" in printed
    assert "100.0 %" in printed


def test_a_share_of_nothing_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    report_pairs("none", [Pair(False, 0.1, frozenset(), True)])

    assert "-  (0)" in capsys.readouterr().out
