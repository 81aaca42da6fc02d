"""A page of another site has no model work for it: not by what a browser sends without asking leave first."""

import httpx
import pytest

from tests.e2e.server import Gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

EVIL = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
ASK = b'{"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}'
ROUTES = ["chat/completions", "completions", "responses", "messages", "messages/count_tokens", "embeddings"]


def post(gateway: Gateway, route: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return httpx.post(f"{gateway.url}/v1/{route}", content=ASK, headers=named, timeout=30, **LOOPBACK)


@pytest.mark.parametrize("route", ROUTES)
def test_what_a_foreign_page_sends_unasked_reaches_no_model(
    gateway: Gateway, upstream: RunningUpstream, route: str
) -> None:
    refused = httpx.post(
        f"{gateway.url}/v1/{route}", content=ASK, headers={**EVIL, "content-type": "text/plain"}, **LOOPBACK
    )

    assert refused.status_code == 403
    assert refused.json()["error"].get("code", "foreign_page") == "foreign_page"
    assert refused.json().get("type") == ("error" if route.startswith("messages") else None)
    assert upstream.counters()["requests"] == 0


@pytest.mark.parametrize(
    "page", [{"origin": "http://localhost:5173"}, {"origin": "null"}, {"sec_fetch_site": "same-site"}], ids=str
)
@pytest.mark.parametrize("kind", [{}, {"content_type": "application/x-www-form-urlencoded"}], ids=str)
def test_each_sign_of_a_foreign_page_is_enough(gateway: Gateway, page: dict[str, str], kind: dict[str, str]) -> None:
    assert post(gateway, "chat/completions", **page, **kind).status_code == 415


def test_a_browser_that_asks_leave_gets_none(gateway: Gateway) -> None:
    asked = {**EVIL, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer = httpx.options(f"{gateway.url}/v1/chat/completions", headers=asked, **LOOPBACK)

    assert not answer.is_success
    assert not any(name.startswith("access-control-") for name in answer.headers)


def test_who_is_no_foreign_page_is_asked_for_no_content_type(gateway: Gateway) -> None:
    assert post(gateway, "chat/completions").status_code == 200
    assert post(gateway, "chat/completions", content_type="text/plain").status_code == 200
    ours = {"origin": gateway.url, "sec_fetch_site": "same-origin", "content_type": "text/plain"}
    assert post(gateway, "chat/completions", **ours).status_code == 200
    other = {"origin": "http://localhost:5173", "content_type": "application/json; charset=utf-8"}
    assert post(gateway, "chat/completions", **other).status_code == 200
    assert post(gateway, "chat/completions", host="gate.example").status_code == 200


def test_a_page_whose_name_was_made_to_resolve_to_this_machine_gets_nothing(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    rebound = {"host": "evil.example:8420", "origin": "http://evil.example:8420", "content_type": "application/json"}
    for route in ROUTES:
        assert post(gateway, route, **rebound).status_code == 403
    assert upstream.counters()["requests"] == 0
