"""Official clients against a running gateway: every check of every script is a test. What a script checks, it says."""

from pathlib import Path

import pytest

from tests.clients.clients import NODE_CLIENTS, PYTHON_CLIENTS, Client, outcomes
from tests.e2e.server import Gateway

CASES = [
    pytest.param(client, check, id=f"{client.script.parent.name}-{client.name}-{check}")
    for client in (*PYTHON_CLIENTS, *NODE_CLIENTS)
    for check in client.checks
]


@pytest.mark.parametrize(("client", "check"), CASES)
def test_an_official_client_sees(client: Client, check: str, request: pytest.FixtureRequest) -> None:
    if client.missing:
        pytest.skip(client.missing)
    gateway: Gateway = request.getfixturevalue("gateway")  # not started where every client is missing
    folder: Path = request.getfixturevalue("folder")

    error = outcomes(client, gateway.url, folder)[check]

    assert error is None, error
