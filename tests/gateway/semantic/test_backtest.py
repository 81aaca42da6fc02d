"""`twicetold backtest` and `calibrate`, on the real embedder: what they print, write, and complain of."""

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embeddings.base import Embedder
from embeddings.control import Label
from embeddings.control.prior import CAUTIOUS
from embeddings.local import SentenceTransformerEmbedder
from embeddings.verifier import Verifier, load_verifier
from gateway.cli import main
from gateway.offline.backtest import backtest, replay_labels
from gateway.offline.calibrate import calibrate
from gateway.policy import Rules
from gateway.semantic.labels import Given, Kept, LabelStore
from gateway.semantic.rule import LaneKey
from gateway.semantic.shelf import SHIPPED, Shelf
from tests.gateway.semantic.pairs import DEVICES, FORMS, WISHES, pairs

LANE = LaneKey("t", "default")


def log(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def run(
    path: Path,
    minilm: SentenceTransformerEmbedder,
    capsys: Any,
    targets: Sequence[float] = (0.01,),
    *,
    fits: bool = False,
) -> Any:
    def load() -> tuple[Embedder, Verifier]:
        return minilm, load_verifier(minilm.fingerprint)

    assert backtest(path, targets, load, shadow_rate=0.1, rules=Rules(), fits=fits, as_json=True) == 0
    return json.loads(capsys.readouterr().out)


def stream(devices: int = 3) -> list[dict[str, Any]]:
    """Every wish in every form, of some devices; then the first again, word by word."""
    rows = [
        {"prompt": form.format(wish=wish, device=device), "class_id": wish}
        for form in FORMS
        for device in DEVICES[:devices]
        for wish in WISHES
    ]
    return [*rows, rows[0]]


def test_a_stream_is_replayed_for_every_target(
    tmp_path: Path, minilm: SentenceTransformerEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    (report,) = run(log(tmp_path / "s.jsonl.gz", stream()), minilm, capsys, (0.01, 0.5)).values()

    assert [one["target"] for one in report] == [0.01, 0.5]
    for one in report:
        assert (one["prompts"], one["answerable"], one["exact"]) == (55, 49, 1)
        assert one["wrong"] <= one["semantic"]
        assert one["lower"] <= (one["wrong_hit_rate"] or 0) <= one["upper"]
    assert report[0]["semantic"] <= report[1]["semantic"]


def test_verifiers_are_fitted_on_the_way_where_that_is_asked(
    tmp_path: Path, minilm: SentenceTransformerEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log(tmp_path / "s.jsonl", stream(devices=5))
    ((plain,),) = run(path, minilm, capsys).values()
    ((fitted,),) = run(path, minilm, capsys, fits=True).values()

    assert (plain["fits"], fitted["prompts"]) == (0, plain["prompts"])
    assert fitted["fits"] >= 1


def test_a_log_with_answers_is_compared_by_them(
    tmp_path: Path, minilm: SentenceTransformerEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How do I reset my lamp?"}]
    rows: list[dict[str, Any]] = [
        {"messages": messages, "answer": "Hold the button."},
        {"messages": messages, "answer": "Hold the button."},
        {"prompt": "How can I reset my lamp?", "answer": "hold the button"},
        {"prompt": "How do I reset my lamp?", "answer": "Hold the button."},
    ]
    (report,) = run(log(tmp_path / "log.jsonl", rows), minilm, capsys).values()

    assert (report[0]["prompts"], report[0]["exact"], report[0]["wrong"]) == (4, 1, 0)
    assert report[0]["labels"] + report[0]["semantic"] == 1  # another system prompt is another world


def test_an_answer_that_everything_got_teaches_a_replay_nothing(
    tmp_path: Path, minilm: SentenceTransformerEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    unlike = ["Who wrote Faust?", "How deep is Lake Baikal?", "Bake rye bread", "kubectl drain fails with an eviction"]
    near = ["Refund my train ticket to Munich", "Can the ticket to Munich be refunded", "Is a Munich ticket refundable"]
    rows = [{"prompt": text, "answer": "Sorry, I can't help with that."} for text in (*unlike, *near)]
    ((report,),) = run(log(tmp_path / "log.jsonl", rows), minilm, capsys).values()
    ((taught,),) = run(log(tmp_path / "log.jsonl", rows[len(unlike) :]), minilm, capsys).values()

    assert (report["labels"], report["semantic"]) == (0, 0)
    assert taught["labels"] > 0


def test_bare_forms_take_the_road_of_the_gateway_and_stop_when_they_are_wrong(
    tmp_path: Path, minilm: SentenceTransformerEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [f"how do I {wish} the {device}?" for device in DEVICES for wish in WISHES][:60]
    rows = [{"prompt": text, "class_id": text} for text in asked]
    wrong = [{"prompt": f"could you please tell me {text}", "class_id": f"another {text}"} for text in asked]
    right = [{"prompt": f"could you please tell me {text}", "class_id": text} for text in asked]
    ((stopped,),) = run(log(tmp_path / "wrong.jsonl", [*rows, *wrong]), minilm, capsys).values()
    ((served,),) = run(log(tmp_path / "right.jsonl", [*rows, *right]), minilm, capsys).values()

    assert stopped["semantic"] < 40 < served["semantic"]
    assert served["wrong"] == 0


async def stored_labels(folder: Path, count: int) -> None:
    store = LabelStore(folder / "labels.db", per_tenant=10_000)
    await store.open()
    for number, (a, b, is_right) in enumerate(pairs(count)):
        probability = 0.99 if is_right else 0.4
        features = (*CAUTIOUS.mean, probability)  # any so many
        label = Label(a, b, f"e_{number}", is_right, "shadow", probability, features, True, float(number))
        await store.put(Given(LANE, b"s" * 32, label))
    await store.close()


async def test_stored_labels_are_replayed(
    tmp_path: Path, minilm: SentenceTransformerEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    await stored_labels(tmp_path, 400)
    ((name, report),) = run(tmp_path, minilm, capsys, (0.005, 0.05)).items()

    assert "labels of t, route default" in name
    assert [one["labels"] for one in report] == [400, 400]
    assert report[0]["semantic"] <= report[1]["semantic"] <= 400
    assert all(one["wrong"] == 0 for one in report)


async def test_a_label_that_was_corrected_is_replayed_as_it_was_said_last(tmp_path: Path) -> None:
    said = [Label("a", "b", "e", True, "feedback", 0.9999, (), True, was_hit=True)]
    said.append(replace(said[0], is_right=False, corrects=True))
    nobody = load_verifier("")
    (tally,) = replay_labels([Kept(n, label) for n, label in enumerate(said)], nobody, [0.5], 0.0)

    assert (tally.labels, tally.semantic, tally.wrong) == (1, 1, 1)


@pytest.mark.parametrize("limit", ["0", "-5", "x"])
def test_a_limit_that_cannot_be_is_named(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["backtest", "log.jsonl", f"--limit={limit}"])
    assert "--limit" in capsys.readouterr().err


def test_pairs_are_fitted_and_the_better_verifier_is_written(
    tmp_path: Path, minilm: SentenceTransformerEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{int(is_right)}\t{a}\t{b}\n" for a, b, is_right in pairs(160))
    (tmp_path / "pairs.tsv").write_text("label\tquery_a\tquery_b\n" + rows, "utf-8")

    assert calibrate(tmp_path / "pairs.tsv", tmp_path, lambda: minilm) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("held back", "cosine alone", "in use (shipped)", "fitted", "Written to"))
    assert Shelf(tmp_path / "verifiers").in_use(LANE, minilm.fingerprint).name.startswith("0001-0-")


async def test_labels_of_a_data_directory_are_fitted_lane_by_lane(
    tmp_path: Path, minilm: SentenceTransformerEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    await stored_labels(tmp_path, 160)

    assert calibrate(None, tmp_path, lambda: minilm) == 0
    assert "written to" in capsys.readouterr().out
    shelf = Shelf(tmp_path / "verifiers")
    assert shelf.in_use(LANE, minilm.fingerprint).name != SHIPPED
    assert shelf.in_use(LaneKey("u", "default"), minilm.fingerprint).name == SHIPPED


@pytest.mark.parametrize(
    ("command", "text", "complaint"),
    [
        ("backtest", '{"prompt": "a", "class_id": "1"}\n{"prompt": 5}\n', "line 2: prompt must be a text"),
        ("backtest", '{"prompt": "a"}\n', "line 1: class_id or answer is missing"),
        ("backtest", '{"prompt": "a", "class_id": [1]}\n', "line 1: class_id must be a text"),
        ("backtest", "{\n", "line 1: not JSON"),
        ("backtest", "[]\n", "line 1: not an object"),
        ("backtest", "", "has nothing to replay"),
        ("calibrate", "label\tquery_a\n1\ta\n", "line 1: the header has no column query_b"),
        ("calibrate", "label\tquery_a\tquery_b\n2\ta\tb\n", "line 2: label must be 0 or 1"),
        ("calibrate", "label\tquery_a\tquery_b\n1\t \tb\n", "line 2: query_a is empty"),
        ("calibrate", "label\tquery_a\tquery_b\n1\ta\n", "line 2: 2 columns, and the header has 3"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_by_line_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, text: str, complaint: str
) -> None:
    path = tmp_path / "file"
    path.write_text(text, "utf-8")

    assert main([command, str(path)]) == 2
    assert complaint in capsys.readouterr().err


def test_a_folder_without_labels_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", str(tmp_path)]) == 2
    assert main(["calibrate", "--data-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("labels.db") == 2
