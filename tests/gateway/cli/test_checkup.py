"""What the doctor says of a Redis and of servers, asked for real."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.checkup import Finding, Seen, backend_findings, judge, redis_findings
from gateway.cli.door_checkup import door_findings
from gateway.identity.secret import load_secret
from gateway.seal.ring import KeyRing, key_of
from gateway.settings import Settings
from gateway.settings.backends import BackendSettings
from gateway.settings.trust import SealSettings
from tests.kvtier.tiers.servers import RedisServer, clustered, needs_redis, serving
from tests.upstream import running_upstream

SECRET = "what all gateways are told, and nobody else"
OTHERS = ("twicetold:00000001", "twicetold:00000002")
GOOD = Seen("7.2.0", False, 0.2, 2 << 30, 1 << 20, "volatile-lru", "900 1", False, False, True, ())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from serving(tmp_path_factory.mktemp("redis"))


def verdicts(findings: Iterator[Finding]) -> dict[str, str]:
    return {finding.what: finding.verdict for finding in findings}


@needs_redis
def test_a_redis_is_asked_what_it_is(server: RedisServer, tmp_path: Path) -> None:
    server.client.xadd("twicetold:0123abcd:feed", {"k": "put"})
    findings = list(redis_findings(Settings(data_dir=tmp_path / "new", redis=server.url, secret=SECRET)))

    assert [finding.what for finding in findings] == ["redis", "redis memory", "redis persistence", "shared secret"]
    assert [finding.verdict for finding in findings] == ["ok", "warn", "warn", "warn"]
    assert "one server" in findings[0].detail
    assert "no maxmemory" in findings[1].detail
    assert "under 1 other (twicetold:0123abcd)" in findings[3].detail


@needs_redis
def test_asking_makes_no_secret(server: RedisServer, tmp_path: Path) -> None:
    assert verdicts(redis_findings(Settings(data_dir=tmp_path / "new", redis=server.url)))["shared secret"] == "warn"
    assert not (tmp_path / "new").exists()


@needs_redis
def test_a_cluster_is_one_too(tmp_path: Path) -> None:
    for node, _ in clustered(tmp_path):
        first, *_ = redis_findings(Settings(data_dir=tmp_path / "new", redis=node.url, secret=SECRET))
        assert first.verdict == "ok"
        assert "a cluster" in first.detail


def test_a_redis_that_is_away_is_bad(tmp_path: Path) -> None:
    (found,) = redis_findings(Settings(data_dir=tmp_path, redis="redis://127.0.0.1:1"))
    assert found.verdict == "bad"
    assert "start it" in found.mend


@needs_redis
@pytest.mark.parametrize("credentials", ["", ":wrong@", "me:wrong@"])
def test_another_password_is_said_to_be_one(server: RedisServer, tmp_path: Path, credentials: str) -> None:
    server.ask("CONFIG", "SET", "requirepass", "right")
    try:
        url = server.url.replace("redis://", f"redis://{credentials}")
        (found,) = redis_findings(Settings(data_dir=tmp_path, redis=url))
    finally:
        server.ask("CONFIG", "SET", "requirepass", "")
    assert found.verdict == "bad"
    assert found.mend.startswith("correct the password")


@needs_redis
def test_a_replica_that_takes_no_writes_is_bad(server: RedisServer, tmp_path: Path) -> None:
    server.ask("REPLICAOF", "127.0.0.1", 1)
    try:
        found = verdicts(redis_findings(Settings(data_dir=tmp_path, redis=server.url, secret=SECRET)))
    finally:
        server.ask("REPLICAOF", "NO", "ONE")
    assert found["redis"] == "bad"


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (GOOD, {}),
        (replace(GOOD, version="6.0.16"), {"redis": "bad"}),
        (replace(GOOD, policy="allkeys-lru"), {"redis memory": "warn"}),
        (replace(GOOD, policy="noeviction"), {"redis memory": "warn"}),
        (replace(GOOD, max_bytes=1 << 30), {"redis memory": "warn"}),
        (replace(GOOD, snapshots=""), {"redis persistence": "warn"}),
        (replace(GOOD, snapshots="", appends=True), {}),
        (replace(GOOD, snapshots=None), {}),
        (replace(GOOD, last_save_failed=True), {"redis persistence": "warn"}),
        (replace(GOOD, others=OTHERS), {}),
        (replace(GOOD, others=OTHERS, has_ours=False), {"shared secret": "warn"}),
    ],
)
def test_what_would_hurt_is_named(seen: Seen, wrong: dict[str, str]) -> None:
    found = verdicts(judge(seen, Settings(redis="redis://there", secret=SECRET)))
    assert {what: verdict for what, verdict in found.items() if verdict != "ok"} == wrong


def test_a_redis_that_keeps_answers_only_may_refuse_more_of_them() -> None:
    seen = replace(GOOD, policy="noeviction")
    settings = Settings(redis="redis://there", secret=SECRET, upstream="http://localhost:1")
    assert set(verdicts(judge(seen, settings)).values()) == {"ok"}


def test_servers_are_asked_as_the_gateway_would_ask_them() -> None:
    with running_upstream() as upstream:
        there = BackendSettings("there", upstream.base_url)
        gone = BackendSettings("gone", "http://127.0.0.1:1/v1")
        found = verdicts(backend_findings(Settings(backends=(there, gone))))

    assert found == {"backend there": "ok", "backend gone": "warn"}


@pytest.mark.parametrize("given", [SealSettings(), SealSettings(key="two")])
def test_a_sealed_folder_whose_key_is_not_given_is_bad_and_no_key_is_made_in_it(
    tmp_path: Path, given: SealSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    load_secret(tmp_path, seal=KeyRing([key_of("one")]))
    before = list(tmp_path.iterdir())

    found = {finding.what: finding for finding in door_findings(Settings(data_dir=tmp_path, seal=given))}["seal"]
    assert (found.verdict, "seal.old_keys_env" in found.mend) == ("bad", True)
    assert verdicts(door_findings(Settings(data_dir=tmp_path, seal=SealSettings(key="one"))))["seal"] == "ok"
    assert main(["keys", "create", "app", "--data-dir", str(tmp_path)]) == 1
    assert "name it in seal.key_env" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == before
