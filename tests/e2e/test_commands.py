"""The command line as a user types it."""

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import takewhile
from pathlib import Path

import pytest

from gateway.answers.marks import Marks
from gateway.answers.salvage import prepare
from gateway.cli.doctor import findings_of
from gateway.settings import CacheSettings, Settings
from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream


def twicetold(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {f"TWICETOLD_{name.upper()}": text for name, text in settings.items()}
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_help_names_every_command() -> None:
    said = twicetold("--help").stdout

    assert all(verb in said for verb in ("serve", "stats", "doctor"))


def test_stats_shows_a_running_gateway(gateway: Gateway) -> None:
    gateway.post({"model": "m", "messages": [{"role": "user", "content": "for the table"}]})
    shown = twicetold("stats", "--once", "--url", gateway.url)

    assert shown.returncode == 0
    assert all(word in shown.stdout for word in ("exact", "semantic", "kv", "full", "saved", "kept"))


def test_stats_of_nobody_says_so(taken_port: int) -> None:
    shown = twicetold("stats", "--once", "--url", "http://127.0.0.1:1")

    assert shown.returncode == 1
    assert "no gateway answers at http://127.0.0.1:1" in shown.stderr


def test_a_port_that_is_taken_stops_the_start_with_one_line(taken_port: int, tmp_path: Path) -> None:
    start = twicetold("serve", "--port", str(taken_port), "--data-dir", str(tmp_path))

    assert start.returncode == 1
    assert start.stderr.strip().splitlines() == [
        f"twicetold: cannot listen on 127.0.0.1:{taken_port}: Address already in use"
    ]


def test_a_bad_setting_stops_the_start_and_is_named(tmp_path: Path) -> None:
    start = twicetold("serve", "--data-dir", str(tmp_path), cache__min_similarity="lots")

    assert start.returncode == 2
    assert "cache.min_similarity" in start.stderr


def test_a_model_that_cannot_be_had_stops_the_start_with_what_to_do(tmp_path: Path) -> None:
    start = twicetold("serve", "--port", "0", "--data-dir", str(tmp_path), "--model", str(tmp_path / "nowhere"))

    assert start.returncode == 1
    assert "nowhere" in start.stderr
    assert "Traceback" not in start.stderr


def test_doctor_finds_a_healthy_installation_healthy(tmp_path: Path) -> None:
    seen = twicetold("doctor", "--port", "0", "--data-dir", str(tmp_path))

    assert seen.returncode == 0, seen.stdout
    assert "bad" not in seen.stdout


def verdicts(settings: Settings) -> dict[str, tuple[str, str]]:
    return {finding.what: (finding.verdict, finding.mend) for finding in findings_of(settings)}


def test_doctor_says_that_a_start_will_serve_exact_hits_only_for_a_while(tmp_path: Path) -> None:
    prepare(tmp_path / "answers.db", 2.0, Marks(b""))

    def warned() -> bool:
        before_port = takewhile(lambda finding: finding.what != "port", findings_of(Settings(data_dir=tmp_path)))
        return ("index", "warn") in [(finding.what, finding.verdict) for finding in before_port]

    assert not warned()
    with closing(sqlite3.connect(tmp_path / "answers.db")) as connection:
        connection.execute("UPDATE totals SET entries = 1000000")
        connection.commit()
    assert warned()
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "0123.lists").touch()
    assert not warned()


def test_doctor_says_how_to_mend_what_is_wrong(tmp_path: Path, taken_port: int) -> None:
    (tmp_path / "answers.db").write_bytes(b"this is no database" * 100)
    found = verdicts(
        Settings(
            port=taken_port,
            data_dir=tmp_path,
            model=str(tmp_path / "nowhere"),
            upstream="http://127.0.0.1:1",
            cache=CacheSettings(embedder=str(tmp_path / "no-embedder"), disk_mb=10**8),
        )
    )

    wrong = ("port", "answers", "local model", "upstream", "embedder", "data folder")
    assert {what: found[what][0] for what in wrong} == {
        "port": "bad",
        "answers": "warn",
        "local model": "bad",
        "upstream": "bad",
        "embedder": "warn",
        "data folder": "warn",
    }
    assert all(found[what][1] for what in wrong)


def test_an_upstream_that_is_down_is_a_502_and_nothing_is_kept(tmp_path: Path) -> None:
    with running_gateway(tmp_path / "data", "--upstream", "http://127.0.0.1:1", cache__semantic="false") as gateway:
        response = gateway.post({"model": "m", "messages": [{"role": "user", "content": "anyone?"}]})

        assert (response.status_code, response.json()["error"]["code"]) == (502, "backend_unavailable")
        assert gateway.get("/readyz").status_code == 503
        assert gateway.stats()["entries"] == 0


def test_a_store_that_cannot_be_opened_costs_durability_and_nothing_else(
    upstream: RunningUpstream, tmp_path: Path
) -> None:
    (tmp_path / "data" / "answers.db").mkdir(parents=True)
    with running_gateway(tmp_path / "data", "--upstream", upstream.base_url, cache__semantic="false") as gateway:
        body = {"model": "m", "messages": [{"role": "user", "content": "without a disk"}]}
        tiers = [gateway.post(body).headers["x-twicetold-tier"] for _ in range(2)]

        assert tiers == ["full", "exact"]
        assert gateway.stats()["cache_failures"] > 0


def test_a_local_model_and_an_upstream_are_told_apart_by_name(upstream: RunningUpstream, tmp_path: Path) -> None:
    from tests.backends.local.tiny import build

    model = build("qwen3", tmp_path / "tiny")
    flags = ("--model", str(model), "--upstream", upstream.base_url)
    with running_gateway(tmp_path / "data", *flags, cache__semantic="false") as gateway:
        gateway.wait("local", "upstream")
        question = {"messages": [{"role": "user", "content": "who are you?"}], "max_tokens": 3}
        here, there = (gateway.post({**question, "model": name}) for name in ("tiny", "elsewhere"))
        listed = {model.id for model in gateway.openai().models.list()}

    assert (here.status_code, there.status_code) == (200, 200)
    assert upstream.counters()["requests"] == 1
    assert "tiny" in listed
    assert len(listed) > 1


def test_a_key_in_the_named_variable_goes_to_the_upstream_and_the_callers_does_not(
    upstream: RunningUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_UPSTREAM_KEY", "sk-operator")
    flags = ("--upstream", upstream.base_url, "--api-key-env", "MY_UPSTREAM_KEY")
    with running_gateway(tmp_path / "data", *flags, cache__semantic="false") as gateway:
        gateway.post(
            {"model": "m", "messages": [{"role": "user", "content": "keys"}]}, Authorization="Bearer sk-caller"
        )

    assert upstream.app.headers["authorization"] == "Bearer sk-operator"
