import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.cli import main

GOOD = [{"t_ms": 0, "input_tokens": 1100, "block_hashes": [1, 2, 3]}] * 3


def trace_file(path: Path, lines: Sequence[object]) -> str:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["trace.jsonl", "trace.jsonl.gz"])
def test_every_policy_and_the_optimum_are_printed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--trace", trace_file(tmp_path / name, GOOD), "--blocks", "1,3", "--json"]) == 0

    body = json.loads(capsys.readouterr().out)
    one, three = body["sizes"]
    assert set(one["hit_rate"]) == {"adaptive", "cost-aware", "lru", "lfu", "random"}
    assert three["hit_rate"]["adaptive"] == three["best"] == body["ceiling"] == pytest.approx(2 / 3)
    assert one["blocks"] == 1


def test_a_table_is_printed_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--trace", trace_file(tmp_path / "t", GOOD), "--policy", "lru"]) == 0

    out = capsys.readouterr().out
    assert "best possible" in out
    assert "100,000" in out
    assert "66.7%" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"input_tokens": 1100, "block_hashes": None}, "block_hashes is missing"),
        ({"input_tokens": 1100}, "block_hashes is missing"),
        ({"input_tokens": -1, "block_hashes": []}, "input_tokens must be a whole number from 0, got -1"),
        ({"block_hashes": []}, "input_tokens"),
        ({"input_tokens": 600, "block_hashes": [1]}, "block_hashes has 1 blocks, and 600 input_tokens fill 2"),
        ({"input_tokens": 600, "block_hashes": [1, "2"]}, "block_hashes must be a list"),
        ({"input_tokens": 600, "block_hashes": [1, 1]}, "names a block twice"),
        ([], "not an object"),
    ],
)
def test_a_bad_line_is_named_with_its_field(
    line: object, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--trace", trace_file(tmp_path / "t.gz", [*GOOD, line])]) == 2

    error = capsys.readouterr().err
    assert "line 4: " in error
    assert said in error


def test_what_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t").write_text('{"input_tokens": 1\n')

    assert main(["simulate", "--trace", str(tmp_path / "t")]) == 2
    assert "line 1: not JSON" in capsys.readouterr().err
    assert main(["simulate", "--trace", str(tmp_path / "none")]) == 2
    assert "cannot read the trace" in capsys.readouterr().err
