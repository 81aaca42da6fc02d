"""A replay against a real gateway process over the tests' upstream."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.datasets import DATA
from bench.load import Job, measure
from bench.processes import gateway
from bench.replay import main
from tests.upstream import running_upstream

PROMPTS = (
    {"prompt": "How do I reset my password?", "class_id": "reset"},
    {"prompt": "Where is the nearest branch?", "class_id": "branch"},
    {"prompt": "How do I reset my password?", "class_id": "reset"},
    {"prompt": "How do I reset my password?", "class_id": "branch"},
    {"prompt": "Which cards are free?", "class_id": "cards"},
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = tmp_path_factory.mktemp("config") / "exact.toml"
    config.write_text("[cache]\nsemantic = false\n", "utf-8")  # loading the embedder would take seconds
    with running_upstream() as upstream, gateway("--upstream", upstream.base_url, "--config", str(config)) as server:
        yield server.url


def replayed(url: str, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    out = tmp_path / "found.json"
    extra = json.dumps({"cache": {"namespace": tmp_path.name}})
    assert main(["--url", url, "--out", str(out), "--extra", extra, *arguments]) == 0
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return found


@pytest.mark.parametrize("streaming", ["--streaming", "--no-streaming"])
def test_a_labelled_stream_is_sent_counted_and_judged(url: str, tmp_path: Path, streaming: str) -> None:
    stream = tmp_path / "five.jsonl"
    stream.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS), "utf-8")

    found = replayed(url, tmp_path, "--stream", str(stream), streaming)

    summary, labels = found["summary"], found["labels"]
    assert (summary["requests"], summary["answered"], summary["errors"]) == (5, 5, {})
    assert summary["hit_rate"] == 2 / 5
    assert labels["true_hits"] == {**labels["true_hits"], "hits": 1, "of": 2}
    assert labels["wrong_exact"] == {**labels["wrong_exact"], "hits": 1, "of": 2}


def test_inserts_fill_without_asking_and_are_no_prompts(url: str, tmp_path: Path) -> None:
    row = {"prompt": "How do I reset my password?", "class_id": "reset"}
    rows = [{**row, "phase": "insert"}, {**row, "phase": "insert"}, {**row, "phase": "query"}]
    stream = tmp_path / "phases.jsonl"
    stream.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    found = replayed(url, tmp_path, "--stream", str(stream))

    assert found["summary"]["tiers"]["full"]["reasons"] == {"no_cache": 2}
    assert found["labels"]["true_hits"] == {**found["labels"]["true_hits"], "hits": 1, "of": 1}
    assert found["labels"]["wrong_of_prompts"] == {**found["labels"]["wrong_of_prompts"], "of": 1}


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not beside the repository")
def test_a_conversation_goes_turn_by_turn(url: str, tmp_path: Path) -> None:
    found = replayed(url, tmp_path, "--conversations", "mtbench101", "--limit", "2", "--concurrency", "2")

    assert found["summary"]["errors"] == {}
    assert found["summary"]["answered"] == found["summary"]["requests"]
    assert found["labels"] is None


def test_the_load_generator_sees_every_answer_and_its_tier(url: str) -> None:
    body = json.dumps({"model": "test-model", "messages": [{"role": "user", "content": "load"}]})

    first, again = measure([Job("miss", url, (body,), 1), Job("hits", url, (body,), 20, 4)], cpu=None)

    assert (first.tiers, again.tiers) == ({"full": 1}, {"exact": 20})
    assert len(again.total_ms) == again.count == 20


def test_a_gateway_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stream = tmp_path / "one.jsonl"
    stream.write_text(json.dumps(PROMPTS[0]), "utf-8")

    assert main(["--url", "http://127.0.0.1:9", "--stream", str(stream)]) == 1
    assert "no gateway lists its models" in capsys.readouterr().err
