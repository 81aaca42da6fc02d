"""The commands that fill a gateway and empty it, against running ones: warm, export, import, keys."""

import argparse
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.cli import main
from gateway.cli.importing import Account, Track
from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

QUESTIONS = [f"What is number {number}?" for number in range(6)]


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway") / "data"
    config = folder.with_suffix(".toml")
    config.write_text('[[cache.routes]]\nnamespace = "quiet"\nhit_details = false\n')
    flags = ("--upstream", upstream.base_url, "--config", str(config))
    with running_gateway(folder, *flags, cache__semantic="false") as running:
        running.wait("upstream")
        for question in QUESTIONS:
            running.post(asking(question))
        yield running


@pytest.fixture(scope="module")
def other(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One of another secret, that takes small bodies only, and only callers with a key of its own."""
    folder = tmp_path_factory.mktemp("other") / "data"
    limits = {"cache__semantic": "false", "max_body_mb": "0.001", "keys__required": "true"}
    with running_gateway(folder, "--upstream", upstream.base_url, **limits) as running:
        running.wait("upstream")
        yield running


def asking(question: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": question}]}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in this process: a process of its own takes a second to start."""

    def ran(*arguments: str, status: int = 0) -> Ran:
        capsys.readouterr()
        ended = main(arguments)
        said = capsys.readouterr()
        assert ended == status, said.err
        return Ran(ended, said.out, said.err)

    return ran


def test_warmed_questions_are_exact_hits_and_are_not_asked_twice(
    gateway: Gateway, upstream: RunningUpstream, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K", "sk-app")
    lines = [*QUESTIONS[:3], *(json.dumps({"question": q, "system": "Be terse."}) for q in QUESTIONS[3:])]
    asked = tmp_path / "asked.jsonl"
    asked.write_text("\n".join([*lines, '{"broken": ', '{"question": 7}']))
    command = ("warm", str(asked), "--model", "m", "--url", gateway.url, "--key-env", "K", "--json")
    first = run(*command, status=3).json
    calls = upstream.counters()["requests"]
    again = run(*command, status=3).json
    hit = gateway.post(
        {"model": "m", "messages": [{"role": "user", "content": QUESTIONS[0]}]}, authorization="Bearer sk-app"
    )

    assert (first["stored"], first["failed"], again["stored"], again["present"]) == (6, 2, 0, 6)
    assert [error["where"].rpartition(" ")[2] for error in first["errors"]] == ["7", "8"]
    assert upstream.counters()["requests"] == calls
    assert hit.headers["x-twicetold-tier"] == "exact"


def test_where_the_route_says_so_no_caller_is_told_which_entry_answers(gateway: Gateway) -> None:
    for namespace, is_told in (("loud", True), ("quiet", False)):
        body = asking("Who is told?") | {"cache": {"namespace": namespace}}
        client = httpx.Client(base_url=f"{gateway.url}/v1/", headers=bearer("sk-told"), **LOOPBACK)
        with client:
            made = client.post("chat/completions", json=body)
            hit = client.post("chat/completions", json=body)
            stream = client.post("chat/completions", json={**body, "stream": True})
            found = client.post("cache/lookup", json={"request": body})
            put = client.put("cache/entries", json={"request": {**body, "seed": 1}, "answer": "I am."})
            verdict = client.post("cache/feedback", json={"id": hit.json()["id"], "verdict": "good"})
        told = ["x-twicetold-entry" in answer.headers for answer in (made, hit, stream, found)]

        assert told == [is_told] * 4
        assert [answer.headers["x-twicetold-tier"] for answer in (hit, stream, found)] == ["exact"] * 3
        assert (put.json()["kept"], verdict.json()["state"]) == (True, "kept")
        assert [answer.json()["entry"] is not None for answer in (found, put, verdict)] == [is_told] * 3


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.jsonl.gz"])
def test_an_export_is_imported_elsewhere_and_a_broken_line_is_told(
    gateway: Gateway, other: Gateway, tmp_path: Path, name: str, run: Run
) -> None:
    file, rejected = tmp_path / name, tmp_path / "rejected.jsonl"
    said = run("export", str(file), "--url", gateway.url, "--tenant", "anonymous", "--json").json
    opened = gzip.open if name.endswith(".gz") else open
    with opened(file, "rt") as text:
        lines = text.read().splitlines()
    assert (said["entries"], len(lines)) == (6, 8)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part*"))

    lines[3] = lines[3].replace('"stop"', '"length"')
    lines[4] = lines[4][:50]
    with opened(file, "wt") as text:
        text.write("\n".join(lines))
    key = run("keys", "create", name, "--url", other.url, "--json").json
    command = ("import", str(file), "--url", other.url, "--into", key["tenant"], "--rejected", str(rejected))
    ran = run(*command, status=3)
    again = run(*command, "--json", status=3).json
    tiers = [other.post(asking(q), **bearer(key["key"])).headers["x-twicetold-tier"] for q in QUESTIONS]

    there = ("explain", "--question", QUESTIONS[tiers.index("exact")], "--model", "m", "--url", other.url, "--json")

    assert run(*there, "--tenant", key["tenant"]).json["would"]["tier"] == "exact"
    assert run(*there).json["would"]["tier"] == "full"
    assert ran.out == "4 answers taken in, 0 there already, 0 expired, 2 lines wrong\n"
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == [f"{file}, line 4", f"{file}, line 5"]
    assert rejected.read_text().splitlines() == lines[3:5] * 2
    assert (again["imported"], again["kept"], again["failed"]) == (0, 4, 2)
    assert sorted(tiers) == ["exact"] * 4 + ["full"] * 2
    assert not list(tmp_path.glob("*.progress"))


def test_an_export_that_was_cut_off_goes_on(gateway: Gateway, tmp_path: Path, run: Run) -> None:
    whole, file = tmp_path / "whole.jsonl.gz", tmp_path / "answers.jsonl.gz"
    run("export", str(whole), "--url", gateway.url)
    with gzip.open(whole) as lines:
        first = b"".join(lines.readline() for _ in range(4))
    packed = gzip.compress(first + b'{"kind":"entry","half')
    (tmp_path / "answers.jsonl.gz.part").write_bytes(packed[:-8])
    (tmp_path / "answers.jsonl.gz.part.json").write_text("{}")
    refused = run("export", str(file), "--url", gateway.url, "--tag", "x", status=2)
    run("export", str(file), "--url", gateway.url)

    def entries(path: Path) -> list[tuple[str, str]]:
        with gzip.open(path) as raw:
            return [(line["kind"], line.get("id")) for line in map(json.loads, raw)]

    assert entries(file) == entries(whole)
    assert "--restart" in refused.err


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.jsonl.gz"])
def test_an_erasure_takes_the_lines_out_of_exports_and_of_what_was_cut_off(
    gateway: Gateway, tmp_path: Path, name: str, run: Run
) -> None:
    keys = [f"sk-{who}-{name}" for who in ("goes", "stays")]
    word = {key: f"Quetzal{number}" for number, key in enumerate(keys)}
    for key in keys:
        gateway.post(asking(f"Who saw the {word[key]}?"), **bearer(key))
    gateway.wait_for(lambda _: len(told_of(run, gateway, tmp_path)) >= 2, True)
    file, part = tmp_path / name, tmp_path / f"{name}.part"
    run("export", str(file), "--url", gateway.url)
    lines = unpacked(file).splitlines(keepends=True)
    part.write_bytes(packed_as(name, b"".join(lines[:-2]) + lines[-2][:90]))  # killed in the middle of a line
    before = [path.read_bytes() for path in (file, part)]
    (tenant,) = {line["tenant"] for line in map(json.loads, lines) if word[keys[0]] in str(line)}
    command = ("erase", "--tenant", tenant, "--url", gateway.url, "--export", str(file))
    missing = run(*command, "--export", str(tmp_path / "none.jsonl"), "--yes", status=2)
    dry = run(*command, "--json").json
    untouched = [path.read_bytes() for path in (file, part)]
    done = run(*command, "--yes").out
    again = run(*command, "--yes", "--json").json
    left = [unpacked(path).decode() for path in (file, part)]
    taken_in = run("import", str(file), "--url", gateway.url, "--dry-run", "--json").json

    assert "none.jsonl" in missing.err
    assert untouched == before
    assert [one["removed"] for one in dry["exports"]] == [1, 1]
    assert f"1  lines of {file}" in done
    assert "1 that nobody can read" in done
    assert [(one["removed"], one["unreadable"]) for one in again["exports"]] == [(0, 0), (0, 0)]
    assert [word[keys[0]] in text for text in left] == [False, False]
    assert all(len(text.splitlines()) >= len(lines) - 3 for text in left)
    assert word[keys[1]] in left[0]
    assert (taken_in["is_whole"], taken_in["failed"]) == (True, 0)
    assert json.loads(left[0].splitlines()[-1])["entries"] == len(lines) - 3  # header, end, and one that went
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("answers")) == [name, part.name]
    assert file.stat().st_mode & 0o777 == 0o600


def told_of(run: Run, gateway: Gateway, folder: Path) -> list[str]:
    """Lines of the answers in which a quetzal is named."""
    file = folder / "now.jsonl"
    run("export", str(file), "--url", gateway.url, "--restart")
    return [line for line in file.read_text().splitlines() if "Quetzal" in line]


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if ".gz" in path.name else path.read_bytes()


def packed_as(name: str, text: bytes) -> bytes:
    return gzip.compress(text) if name.endswith(".gz") else text


def test_an_import_goes_on_where_it_was_left_and_tells_a_file_that_is_not_whole(
    gateway: Gateway, other: Gateway, tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "answers.jsonl"
    run("export", str(file), "--url", gateway.url, "--tenant", "anonymous")
    file.write_bytes(file.read_bytes().rsplit(b"\n", 2)[0] + b"\n")  # its export was cut off
    wishes = {"on_conflict": "newer", "map": []}
    Track(argparse.Namespace(file=str(file), url=other.url), wishes).keep(Account(line=5))
    nobody = run("import", str(file), "--url", "http://127.0.0.1:1", status=1)
    dry = run("import", str(file), "--url", other.url, "--dry-run", "--json", status=3).json
    rest = run("import", str(file), "--url", other.url, "--json", status=3).json

    assert "no gateway answers" in nobody.err
    assert (dry["imported"], rest["imported"]) == (6, 2)
    assert not rest["is_whole"]


def test_keys_are_required_by_setting_and_refused_when_revoked(
    other: Gateway, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = asking("Who is it?")
    made = run("keys", "create", "app", "--expires", "1h", "--url", other.url)
    key, key_id = made.out.strip(), made.err.split()[0]
    monkeypatch.setenv("K", key)
    whose = run("keys", "tenant", "--url", other.url, "--key-env", "K").out.strip()
    accepted = other.post(body, **bearer(key))
    run("keys", "revoke", key_id, "--url", other.url)
    refused = [other.post(body, **headers) for headers in (bearer(key), bearer("sk-any"), {})]
    messages = httpx.post(
        f"{other.url}/v1/messages", json={**body, "max_tokens": 9}, headers={"x-api-key": "sk-any"}, **LOOPBACK
    )
    listed = run("keys", "list", "--url", other.url).out

    assert accepted.status_code == 200
    assert whose in made.err
    assert [answer.status_code for answer in refused] == [401] * 3
    assert refused[0].json()["error"]["code"] == "invalid_api_key"
    assert "revoked" in refused[0].json()["error"]["message"]
    assert (messages.status_code, messages.json()["type"]) == (401, "error")
    assert listed.splitlines()[0].split()[:2] == ["revoked", key_id]
    assert key not in listed


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("chat/completions", asking("?")),
        ("completions", {"model": "m", "prompt": "Once"}),
        ("responses", {"model": "m", "input": "?"}),
        ("messages", {**asking("?"), "max_tokens": 9}),
        ("messages/count_tokens", asking("?")),
        ("embeddings", {"model": "m", "input": "?"}),
        ("cache/lookup", {"request": asking("?")}),
        ("cache/feedback", {"id": "chatcmpl-1", "verdict": "good"}),
        ("models", None),
    ],
)
def test_no_route_serves_who_has_no_key_where_keys_are_required(
    other: Gateway, route: str, body: dict[str, Any] | None
) -> None:
    for headers in (bearer("sk-any"), {"x-api-key": "tt_" + "A" * 43}, {}):
        if body is None:
            answer = httpx.get(f"{other.url}/v1/{route}", headers=headers, **LOOPBACK)
        else:
            answer = httpx.post(f"{other.url}/v1/{route}", json=body, headers=headers, **LOOPBACK)
        assert answer.status_code == 401, answer.text


def test_a_key_made_in_the_folder_of_a_gateway_is_one_of_its_keys(tmp_path: Path, run: Run) -> None:
    made = run("keys", "create", "first", "--data-dir", str(tmp_path), "--json").json
    listed = run("keys", "list", "--data-dir", str(tmp_path), "--json").json

    assert [one["id"] for one in listed["data"]] == [made["id"]]
    assert run("keys", "rotate", "key_000000000000", "--data-dir", str(tmp_path), status=1).err.startswith(
        "twicetold: "
    )
