"""The clients against a real gateway: every call, and what the cache makes of it."""

import time
from typing import Any

import httpx
import pytest

import twicetold
from tests.e2e.server import Gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream
from twicetold import AsyncTwicetold, Twicetold


def test_a_repeat_comes_from_the_cache_streamed_or_not(client: Twicetold) -> None:
    first, again = client.chat("Say it twice"), client.chat("Say it twice")
    with client.chat("Say it twice", stream=True) as stream:
        streamed = stream.answer()

    assert (first.cache.tier, again.cache.tier, stream.cache.tier) == ("full", "exact", "exact")
    assert first.text == again.text == streamed.text != ""
    assert again.usage == first.usage == streamed.usage
    assert again.cache.saved_tokens == first.usage.total_tokens


async def test_the_async_client_shares_the_cache_of_its_key(client: Twicetold, gateway: Gateway) -> None:
    said = client.chat("One key, one cache").text
    async with AsyncTwicetold(f"{gateway.url}/v1", api_key="sk-test", model="m") as other:
        answer = await other.chat("One key, one cache")
        stream = await other.chat("One key, one cache", stream=True)
        assert (answer.text, answer.cache.tier, (await stream.answer()).text) == (said, "exact", said)
        assert (await other.lookup("One key, one cache")).text == said
        assert (await other.models()) == client.models()


def test_cache_controls_do_what_they_say(client: Twicetold, gateway: Gateway) -> None:
    client.chat("control me", namespace="n", tags=["t"], ttl=3600)

    assert client.chat("control me").cache.tier == "full"  # another namespace
    assert client.chat("control me", namespace="n", only_if_cached=True).cache.tier == "exact"
    assert client.chat("control me", namespace="n", no_cache=True).cache.reason == "no_cache"
    assert client.chat("control me", namespace="n", tiers=[]).cache.reason == "tiers_off"
    assert client.chat("leave nothing", no_store=True).cache.entry is None
    with pytest.raises(twicetold.NotCachedError, match="only-if-cached"):
        client.chat("leave nothing", only_if_cached=True)
    with pytest.raises(twicetold.BadRequestError) as refused:
        client.chat("?", ttl=-1)
    assert refused.value.param == "cache.ttl"


def test_an_app_with_its_own_model_uses_the_cache_without_the_proxy(
    client: Twicetold, upstream: RunningUpstream
) -> None:
    before = upstream.counters()["requests"]
    missed = client.lookup("Who painted the Mona Lisa?", model="mine")
    assert (bool(missed), missed.cache.tier, missed.cache.reason) == (False, "full", "miss")
    kept = client.put("Who painted the Mona Lisa?", "Leonardo.", model="mine", lookup=missed, tags=["art"])
    found = client.lookup("Who painted the Mona Lisa?", model="mine")

    assert found.answer is not None
    assert (kept.is_kept, found.text, found.cache.tier) == (True, "Leonardo.", "exact")
    assert found.cache.entry == kept.entry == found.answer.cache.entry
    assert upstream.counters()["requests"] == before
    assert client.feedback(found, "bad").bad == 1
    assert client.feedback(missed, "bad").state == "retired"  # the answer that this miss got
    assert not client.lookup("Who painted the Mona Lisa?", model="mine")


def test_what_the_proxy_keeps_and_what_is_put_are_one(client: Twicetold) -> None:
    answer = client.chat("one and the same", temperature=0.5)
    found = client.lookup("one and the same", temperature=0.5)
    assert (found.text, found.cache.entry) == (answer.text, answer.cache.entry)
    assert not client.lookup("one and the same")

    client.put("put before it is asked", answer)
    assert client.chat("put before it is asked").text == answer.text


def test_a_put_is_refused_with_a_reason(client: Twicetold) -> None:
    cut = {"choices": [{"index": 0, "message": {"content": "cut o"}, "finish_reason": "length"}]}
    assert client.put("cut", cut) == twicetold.Kept(False, None, "finish_length", None)
    assert client.put("?", "x", no_store=True).reason == "no_store"
    wrongs: list[dict[str, Any]] = [{"choices": []}, {"choices": [{"message": {"content": 7}}]}]
    for wrong in wrongs:
        with pytest.raises(twicetold.BadRequestError) as refused:
            client.put("wrong", wrong)
        assert refused.value.param == "response"
    with pytest.raises(twicetold.BadRequestError) as refused:
        client.lookup([{"role": "nobody", "content": "?"}])
    assert refused.value.param == "request.messages[0].role"
    with pytest.raises(twicetold.BadRequestError) as refused:
        client.lookup("?", ttl=-1)
    assert refused.value.param == "request.cache.ttl"


async def test_a_function_is_asked_once_and_a_gateway_that_is_away_is_done_without(
    client: Twicetold, gateway: Gateway
) -> None:
    asked = []

    def ask() -> str:
        asked.append("?")
        return "42"

    async def ask_slowly() -> str:
        return ask()

    assert [client.cached("The answer?", ask) for _ in range(3)] == ["42"] * 3
    async with AsyncTwicetold(gateway.url, api_key="sk-test", model="m") as other:
        assert await other.cached("The answer?", ask_slowly) == "42"
    assert len(asked) == 1
    with Twicetold("http://127.0.0.1:9", model="m", retries=0) as away:
        assert away.cached("The answer?", ask) == "42"


def test_a_lookup_in_another_shape_is_answered_in_it(client: Twicetold, gateway: Gateway) -> None:
    client.chat("in every shape")
    body = {"shape": "responses", "request": {"model": "m", "input": "in every shape"}}
    address, key = f"{gateway.url}/v1/cache/lookup", {"authorization": "Bearer sk-test"}
    found = httpx.post(address, json=body, headers=key, **LOOPBACK)

    assert found.json()["response"]["object"] == "response"
    assert found.headers["x-twicetold-tier"] == "exact"
    assert httpx.post(address, json={**body, "shape": "x"}, **LOOPBACK).json()["error"]["param"] == "shape"


def test_responses_are_answered_and_streamed(client: Twicetold) -> None:
    first, again = client.respond("respond to me"), client.respond("respond to me")
    with client.respond("respond to me", stream=True) as stream:
        kinds = [event["type"] for event in stream]

    assert (first.cache.tier, again.cache.tier, stream.cache.tier) == ("full", "exact", "exact")
    assert first.text == again.text != ""
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_the_operator_sees_finds_and_removes(client: Twicetold) -> None:
    for number in range(3):
        client.chat(f"operate on {number}", tags=["op"], namespace="ops")
    deadline = time.monotonic() + 10
    while len(found := list(client.entries(tag="op", page_size=2))) < 3:
        assert time.monotonic() < deadline
    whole = client.entry(found[0].id)

    assert [(entry.preview, entry.tags) for entry in found] == [(f"operate on {n}", ("op",)) for n in (2, 1, 0)]
    assert whole.request["messages"] == [{"role": "user", "content": "operate on 2"}]
    assert whole.text != ""
    assert client.explain("operate on 2", namespace="ops")["would"]["tier"] == "exact"
    assert client.delete_entry(found[0].id) == 1
    with pytest.raises(twicetold.NotFoundError):
        client.entry(found[0].id)
    assert client.invalidate(tag="op", dry_run=True).count == 2
    assert client.invalidate(tag="op").count == 2
    assert client.chat("operate on 1", namespace="ops").cache.tier == "full"


def test_statistics_are_values(client: Twicetold) -> None:
    before = client.stats()
    answer = client.chat("count me")
    client.chat("count me")
    after = client.stats()

    assert after.tiers["exact"].requests - before.tiers["exact"].requests == 1
    assert after.saved_tokens - before.saved_tokens == answer.usage.total_tokens
    assert client.explain_response(answer)["tier"] == "full"


async def test_questions_are_warmed(client: Twicetold, gateway: Gateway) -> None:
    questions: list[Any] = ["warm 1", "warm 2", [{"role": "user", "content": "warm 3"}]]
    assert client.warm(questions[:2]) == twicetold.Warmed(stored=2)
    async with AsyncTwicetold(gateway.url, api_key="sk-test", model="m") as other:
        done = await other.warm([*questions, [{"role": "nobody"}]], at_once=2)
    assert (done.stored, done.present, len(done.errors)) == (1, 2, 1)
    assert client.chat("warm 3").cache.tier == "exact"


async def test_what_is_exported_can_be_imported_elsewhere(client: Twicetold, gateway: Gateway) -> None:
    said = [client.chat(f"travel {number}", namespace="travel").text for number in range(2)]
    deadline = time.monotonic() + 10
    while len(list(client.entries(namespace="travel"))) < 2:
        assert time.monotonic() < deadline
    with client.export(namespace="travel") as lines:
        file = list(lines)
    assert [line["kind"] for line in file] == ["header", "entry", "entry", "end"]
    assert client.import_(file, dry_run=True).kept == 2

    client.invalidate(namespace="travel")
    async with AsyncTwicetold(gateway.url, api_key="sk-test", model="m") as other:
        done = await other.import_(file)
        assert (done.lines, done.imported, done.failed) == (4, 2, 0)
    assert [
        client.chat(f"travel {number}", namespace="travel", only_if_cached=True).text for number in range(2)
    ] == said


def test_whoever_may_not_is_told_so(gateway: Gateway) -> None:
    client = Twicetold(gateway.url, headers={"host": "evil.example"})
    with client, pytest.raises(twicetold.PermissionDeniedError, match="loopback"):
        client.stats()


def test_a_request_that_cannot_be_read_is_refused(client: Twicetold) -> None:
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    with pytest.raises(twicetold.BadRequestError) as refused:
        client.lookup("?", extra_body={"x": deep})
    assert refused.value.param == "request"


def test_what_a_backend_fails_with_is_told_whole_or_streamed(gateway: Gateway, upstream: RunningUpstream) -> None:
    with Twicetold(gateway.url, api_key="sk-test", model="m", retries=0) as client:
        upstream.control(next=["error:429", "error-mid:400", "cut"])
        with pytest.raises(twicetold.RateLimitError) as busy:
            client.chat("too much")
        assert twicetold.errors.retry_after_s(busy.value.headers) == 7
        for _ in range(2):
            with client.chat("it breaks", stream=True) as stream, pytest.raises(twicetold.StreamError):
                stream.answer()
        assert client.chat("it breaks").cache.tier == "full"  # nothing of it was kept
