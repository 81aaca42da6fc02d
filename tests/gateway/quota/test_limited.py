"""Limits and policies over HTTP, as official clients see them. One gateway; every test is a tenant of its own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from tests.gateway.quota.serving import Gateway, limited_gateway
from tests.upstream import RunningUpstream, running_upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with limited_gateway(tmp_path_factory.mktemp("limited"), upstream) as running:
        yield running


def say(gateway: Gateway, key: str, **policy: Any) -> str:
    """Say what whoever shows this key may do; its name as a tenant."""
    tenant = gateway.tenant(key)
    said = gateway.admin("PUT", f"/tenants/{tenant}", policy)
    assert said.status_code == 200, said.text
    return tenant


def usage(gateway: Gateway, tenant: str) -> dict[str, Any]:
    told: dict[str, Any] = gateway.admin("GET", f"/tenants/{tenant}").json()["usage"]
    return told


def until(holds: Any, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def client(gateway: Gateway, key: str, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=retries, timeout=60)


@contextmanager
def unending(gateway: Gateway, key: str) -> Iterator[None]:
    """A stream of which the beginning has come, and no end will."""
    body = {"model": "hang:mid", "stream": True, "max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {key}"}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as stream:
        lines = stream.iter_lines()
        next(lines)
        yield


def ask(client: openai.OpenAI, text: str, model: str = "m") -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])


def test_openais_client_sees_a_rate_limit_error_with_its_headers(gateway: Gateway) -> None:
    say(gateway, "rpm", limits={"requests_per_minute": 2})
    with client(gateway, "rpm") as asking:
        told = asking.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": "a"}])
        assert told.headers["x-ratelimit-limit-requests"] == "2"
        assert told.headers["x-ratelimit-remaining-requests"] == "1"
        ask(asking, "a")  # a hit is a request, too
        with pytest.raises(openai.RateLimitError) as raised:
            ask(asking, "a")
    assert (raised.value.code, raised.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 30
    assert raised.value.response.headers["x-ratelimit-reset-requests"].endswith("s")


def test_openais_client_comes_again_after_retry_after(gateway: Gateway) -> None:
    say(gateway, "busy", limits={"concurrent": 1})
    found: list[Any] = []
    with client(gateway, "busy", retries=9) as asking:
        again = threading.Thread(target=lambda: found.append(ask(asking, "other")))
        with unending(gateway, "busy"):
            refused = gateway.chat("other", "busy")
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            again.start()
            until(lambda: gateway.services.quota.refusals["concurrent"] > 1)
        again.join()
    assert found[0].choices[0].message.content


def test_who_spent_a_budget_still_gets_what_is_stored_and_clients_do_not_knock_again(
    gateway: Gateway, upstream: RunningUpstream
) -> None:
    tenant = say(gateway, "spent", limits={"tokens_per_day": 10})
    with client(gateway, "spent", retries=2) as asking:
        ask(asking, "kept")
        before = upstream.counters()["requests"]
        assert ask(asking, "kept").choices[0].message.content
        with pytest.raises(openai.RateLimitError) as raised:
            ask(asking, "new")
    assert raised.value.code == "insufficient_quota"
    assert "This tenant has spent" in raised.value.message
    assert raised.value.response.headers["x-should-retry"] == "false"
    vectors = gateway.post("/v1/embeddings", {"model": "m", "input": "new"}, authorization="Bearer spent")
    assert (vectors.status_code, upstream.counters()["requests"]) == (429, before)
    assert usage(gateway, tenant)["day"]["hits"] == 1


def test_money_is_counted_by_the_price_list_and_a_hit_costs_none(gateway: Gateway) -> None:
    tenant = say(gateway, "rich", limits={"money_per_month": 1.0})
    for _ in range(2):
        gateway.chat("priced", "rich", model="gpt-4o")
    told = usage(gateway, tenant)["month"]
    answer = gateway.chat("priced", "rich", model="gpt-4o").json()["usage"]
    assert told["money"] == pytest.approx((answer["prompt_tokens"] * 2.5 + answer["completion_tokens"] * 10) / 1e6)


def test_anthropics_clients_are_told_in_anthropics_words(gateway: Gateway) -> None:
    say(gateway, "claude", limits={"requests_per_minute": 1, "tokens_per_minute": 5000})
    wanted = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    told = gateway.post("/v1/messages", wanted, **{"x-api-key": "claude"})
    assert told.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert told.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
    refused = gateway.post("/v1/messages", wanted, **{"x-api-key": "claude"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert int(refused.headers["retry-after"]) <= 60


def test_who_leaves_in_the_middle_gives_back_what_was_held_and_pays_for_what_was_said(gateway: Gateway) -> None:
    tenant = say(gateway, "leaver", limits={"concurrent": 1, "tokens_per_day": 100_000})
    with unending(gateway, "leaver"):
        assert usage(gateway, tenant)["held_tokens"] > 5000
    until(lambda: usage(gateway, tenant)["running"] == 0)
    told = usage(gateway, tenant)
    assert (told["held_tokens"], told["day"]["requests"]) == (0, 1)
    assert 0 < told["day"]["tokens"] < 50


def test_a_failure_costs_no_tokens_and_holds_nothing(gateway: Gateway) -> None:
    tenant = say(gateway, "unlucky", limits={"concurrent": 1, "tokens_per_day": 1000})
    failed = gateway.chat("fails", "unlucky", model="error:400")
    assert (failed.status_code, failed.headers["x-ratelimit-limit-tokens"]) == (400, "1000")
    told = usage(gateway, tenant)
    assert (told["running"], told["held_tokens"], told["day"]["tokens"]) == (0, 0, 0)


def test_only_allowed_models_are_answered_listed_and_looked_up(gateway: Gateway) -> None:
    say(gateway, "picky", models=["test-*"])
    bearer = {"authorization": "Bearer picky"}
    listed = gateway.http.get("/v1/models", headers=bearer).json()["data"]
    assert all(model["id"].startswith("test-") for model in listed)
    assert gateway.chat("x", "picky", model="test-model").status_code == 200
    asked = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    for path, body in (
        ("/v1/chat/completions", asked),
        ("/v1/messages", {**asked, "max_tokens": 5}),
        ("/v1/messages/count_tokens", asked),
        ("/v1/responses", {"model": "m", "input": "x"}),
        ("/v1/completions", {"model": "m", "prompt": "x"}),
        ("/v1/embeddings", {"model": "m", "input": "x"}),
        ("/v1/cache/lookup", {"request": asked}),
    ):
        refused = gateway.post(path, body, **bearer)
        assert refused.status_code == 403, path
    assert refused.json()["error"]["code"] == "model_not_allowed"


def test_a_control_that_is_not_allowed_is_left_out_and_told_or_refused(gateway: Gateway) -> None:
    say(gateway, "plain", controls=["ttl"])
    gateway.chat("again", "plain")
    told = gateway.chat("again", "plain", headers={"cache-control": "no-cache"})
    assert (told.headers["x-twicetold-ignored"], told.headers["x-twicetold-tier"]) == ("no-cache", "exact")
    say(gateway, "plain", controls=["ttl"], refuse_controls=True)
    refused = gateway.chat("again", "plain", headers={"cache-control": "no-cache"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "control_not_allowed")
    assert gateway.chat("again", "plain", headers={"cache-control": "no-store"}).status_code == 200


def test_lookups_puts_and_verdicts_are_requests_too(gateway: Gateway) -> None:
    tenant = say(gateway, "aside", limits={"requests_per_minute": 3})
    asked = {"model": "m", "messages": [{"role": "user", "content": "aside"}]}
    bearer = {"authorization": "Bearer aside"}
    put = gateway.http.put("/v1/cache/entries", json={"request": asked, "answer": "yes"}, headers=bearer)
    found = gateway.post("/v1/cache/lookup", {"request": asked}, **bearer)
    assert (put.headers["x-ratelimit-remaining-requests"], found.headers["x-ratelimit-remaining-requests"]) == (
        "2",
        "1",
    )
    verdict = {"entry": found.json()["entry"], "verdict": "good"}
    assert gateway.post("/v1/cache/feedback", verdict, **bearer).status_code == 200
    assert gateway.post("/v1/cache/feedback", verdict, **bearer).status_code == 429
    assert usage(gateway, tenant)["day"] == {"requests": 3, "hits": 1, "tokens": 0, "money": 0.0}


def test_an_operator_says_lists_and_takes_back(gateway: Gateway) -> None:
    tenant = say(gateway, "said", name="Support", limits={"tokens_per_day": 5})
    (listed,) = (one for one in gateway.admin("GET", "/tenants").json()["data"] if one["tenant"] == tenant)
    assert listed["policy"] == {"name": "Support", "limits": {"tokens_per_day": 5}}
    assert gateway.admin("PUT", f"/tenants/{tenant}", {"limits": {"tokens_per_day": -1}}).status_code == 400
    assert gateway.admin("PUT", "/tenants/Bob", {}).status_code == 400
    assert gateway.admin("GET", "/tenants/Bob").status_code == 400
    wrong = gateway.admin("POST", "/keys", {"name": "app", "policy": {"limits": {"tokens_per_day": "5"}}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "policy.limits.tokens_per_day")
    assert gateway.admin("DELETE", f"/tenants/{tenant}").json()["policy"] is None
    assert gateway.admin("DELETE", f"/tenants/{tenant}").status_code == 404
    assert "x-ratelimit-limit-tokens" not in gateway.chat("free again", "said").headers
