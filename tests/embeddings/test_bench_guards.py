import gzip
from pathlib import Path

import pytest

from bench.guards import Pair, bare_line, decisions, guard_table, hard_set, report
from embeddings.local import SentenceTransformerEmbedder


def test_missing_data_is_said_and_not_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(tmp_path)

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
            ("a", "What's prefix caching?", "1"),
            ("a", "Please tell me what prefix caching is", "1"),
            ("b", "What is prefix caching?", "1"),
        ):
            file.write(f'{{"scope": "{scope}", "prompt": "{prompt}", "class_id": "{wanted}"}}\n')

    report(tmp_path)

    printed = capsys.readouterr().out
    assert "antonyms 1 (1) / 0 (0)" in printed
    assert "bare form: serves 1 same, 0 different" in printed
    assert "spider: 3 distinct prompts, bare form serves 1 rightly, 0 wrongly" in printed


def test_a_share_of_nothing_is_a_dash() -> None:
    assert "alike same - of 0" in guard_table([Pair("What is a cat?", "Where is the dog?", False)])
    assert bare_line([]).endswith("serves 0 same, 0 different")


def test_the_hard_set_is_whole_and_has_a_paraphrase_beside_every_near_twin() -> None:
    halves = hard_set()

    assert sum(not pair.is_same for pairs in halves.values() for pair in pairs) >= 400
    for pairs in halves.values():
        assert [pair.a for pair in pairs if pair.is_same] == [pair.a for pair in pairs if not pair.is_same]
        assert {pair.language for pair in pairs} == {"en", "zh"}


def test_a_decision_is_counted_by_language() -> None:
    pairs = [
        Pair("What is prefix caching?", "What's prefix caching?", True, "en"),
        Pair("How do I turn on dark mode?", "How do I turn off dark mode?", False, "en"),
    ]

    found = decisions(pairs, SentenceTransformerEmbedder().load())

    assert str(found["as shipped, en"]) == "true served 100.0 %, wrongly served 0.0 % of 1"
