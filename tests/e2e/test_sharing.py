"""Customers of one deployment, with keys of their own, and a route whose answers they share."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

CONFIG = """
[keys]
required = true

[[tenants]]
tenant = "{alone}"
share = false

[[cache.routes]]
model = "test-*"
share_tenants = 2
"""
ALONE = "a" * 32


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("sharing")
    (folder / "twicetold.toml").write_text(CONFIG.format(alone=ALONE))
    flags = ("--upstream", upstream.base_url, "--config", str(folder / "twicetold.toml"))
    with running_gateway(folder / "data", *flags, cache__semantic="false") as running:
        running.wait("upstream")
        yield running


def admin(gateway: Gateway, method: str, path: str, **more: Any) -> Any:
    address = f"{gateway.url}/admin/api{path}"
    answer = httpx.request(method, address, headers={"x-twicetold-admin": "1"}, **LOOPBACK, timeout=30, **more)
    assert answer.is_success, answer.text
    return answer.json()


def key_of(gateway: Gateway, name: str, **more: str) -> tuple[str, str]:
    """A new tenant's key, and its name."""
    made = admin(gateway, "POST", "/keys", json={"name": name, **more})
    return made["key"], made["tenant"]


def shared_by(gateway: Gateway) -> list[dict[str, Any]]:
    """What is in the commons, as soon as there is something."""
    deadline = time.monotonic() + 20
    while not (found := admin(gateway, "GET", "/entries", params={"tenant": "commons"})["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return list(found)


def ask(gateway: Gateway, key: str, text: str = "What do we all ask?", **more: Any) -> httpx.Response:
    body = {"model": "test-1", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}
    answer = gateway.post(body, authorization=f"Bearer {key}")
    assert answer.status_code == 200, answer.text
    return answer


def test_what_two_customers_asked_a_third_is_given_until_its_writer_is_erased(gateway: Gateway) -> None:
    keys = [key_of(gateway, name) for name in ("one", "two", "three")]
    alone, _ = key_of(gateway, "alone", tenant=ALONE)
    made = [ask(gateway, key) for key, _ in keys[:2]]
    shared = shared_by(gateway)
    third = ask(gateway, keys[2][0])

    assert [one.headers["x-twicetold-reason"] for one in made] == ["miss", "miss"]
    assert third.headers["x-twicetold-reason"] == "shared"
    assert not {"x-twicetold-entry", "age"} & third.headers.keys()
    assert third.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert (shared[0]["writer"], shared[0]["origin"]) == (keys[1][1], "backend")
    assert ask(gateway, alone).headers["x-twicetold-reason"] == "miss"
    assert ask(gateway, keys[2][0], cache_salt="mine").headers["x-twicetold-reason"] == "miss"

    admin(gateway, "POST", "/erase", json={"tenant": keys[1][1], "dry_run": False})
    assert admin(gateway, "GET", "/entries", params={"tenant": "commons"})["data"] == []


def test_a_lookup_says_nothing_of_what_others_share(gateway: Gateway) -> None:
    keys = [key_of(gateway, name)[0] for name in ("four", "five", "six")]
    for key in keys[:2]:
        ask(gateway, key, "And this?")
    shared_by(gateway)
    request = {"model": "test-1", "messages": [{"role": "user", "content": "And this?"}], "temperature": 0}
    address, headers = f"{gateway.url}/v1/cache/lookup", {"authorization": f"Bearer {keys[2]}"}
    looked = httpx.post(address, json={"request": request}, headers=headers, **LOOPBACK)

    assert looked.status_code == 200, looked.text
    assert looked.json()["hit"] is False
    assert ask(gateway, keys[2], "And this?").headers["x-twicetold-reason"] == "shared"
