"""Coding agents in front of a gateway: their nonces are seen in the report, and taken out where that was asked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream, running_upstream

HOUSE = " ".join(f"Rule {number} of the house is kept by everybody who lives in it." for number in range(60))
CONFIG = """
    [cache]
    semantic = false
    [[normalise]]
    namespace = "stable"
    patterns = ['build [0-9a-f]{8}, ']
    rules = ["agent_nonces", "clock"]
    send = true
    [prefixes]
    price_per_million = 2.5
    """


@pytest.fixture(scope="module")
def server() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(server: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("prefixes")
    config = folder / "twicetold.toml"
    config.write_text(CONFIG)
    with running_gateway(folder / "data", "--upstream", server.base_url, "--config", str(config)) as running:
        yield running


def ask(gateway: Gateway, second: int, namespace: str, question: str) -> str:
    head = (
        f"x-anthropic-billing-header: cc_version=2.1.37; cc_entrypoint=cli; cch={second:05x};\nbuild 12ab34{second:02}"
    )
    system = f"{head}, Current time: 2026-06-09 12:00:{second:02}\n{HOUSE}"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    told = gateway.post({"model": "m", "messages": messages, "cache": {"namespace": namespace}})
    return str(told.headers["x-twicetold-tier"])


def test_nonces_are_taken_out_where_that_was_asked_for(gateway: Gateway, server: RunningUpstream) -> None:
    assert [ask(gateway, second, "stable", "What is a block table?") for second in (10, 11)] == ["full", "exact"]
    assert [ask(gateway, second, "other", "What is a block table?") for second in (10, 11)] == ["full", "full"]
    sent = [body["messages"][0]["content"] for body in server.app.received]
    assert sent[0] == f"Current time: 2026-06-09 12:00\n{HOUSE}"
    assert [text.count("cch=") for text in sent] == [0, 1, 1]
    assert 'twicetold_normalised_total{place="prompt",rule="clock"} 2.0' in gateway.get("/metrics").text


def test_the_report_names_what_is_still_in_the_way(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for second in range(20, 26):
        for namespace in ("stable", "other"):
            ask(gateway, second, namespace, f"What is block {second}?")

    (row,) = gateway.get("/admin/api/prefixes").json()["models"]
    assert {one["kind"] for one in row["findings"]} == {"agent_nonces", "clock"}
    assert all(one["words"] is None for one in row["findings"])
    assert main(["prefixes", "--url", gateway.url]) == 0
    assert "a coding agent's nonce in the system prompt at token 1 costs " in capsys.readouterr().out
