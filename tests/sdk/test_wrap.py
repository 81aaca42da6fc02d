"""The official client with the gateway's words, against a real gateway."""

import json
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel

import twicetold
from tests.e2e.server import Gateway
from tests.sdk.server import HIT
from tests.upstream import RunningUpstream
from twicetold import NotTwicetoldError, wrap


def asks(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_an_answer_says_where_it_came_from_and_stays_what_it_was(gateway: Gateway) -> None:
    theirs = gateway.openai()
    client = wrap(theirs, cache={"namespace": "wrapped"})
    first = client.chat.completions.create(model="m", messages=asks("wrap me"), ttl=60, tags=["w"])
    again = client.chat.completions.create(model="m", messages=asks("wrap me"))

    assert (first.cache.tier, again.cache.tier, again.cache.entry) == ("full", "exact", first.cache.entry)
    assert isinstance(again, openai.types.chat.ChatCompletion)
    assert again.choices[0].message.content == first.choices[0].message.content
    assert "headers" not in repr(again) + again.model_dump_json() + str(again.to_dict())
    plain = theirs.chat.completions.create(model="m", messages=asks("wrap me"))
    assert not hasattr(plain, "cache")  # whoever kept the client has the client
    assert isinstance(client, OpenAI)


def test_cache_arguments_go_beside_what_the_caller_writes_himself(gateway: Gateway) -> None:
    client = wrap(gateway.openai())
    extra = {"cache": {"namespace": "mine"}, "x": 1}
    create = client.chat.completions.create
    create(model="m", messages=asks("beside"), extra_body=extra, tags=["t"])
    hit = create(
        model="m", messages=asks("beside"), extra_body=extra, only_if_cached=True, extra_headers={"x-mine": "1"}
    )

    assert hit.cache.is_hit
    with pytest.raises(openai.APIStatusError) as refused:
        create(model="m", messages=asks("beside"), only_if_cached=True)
    assert refused.value.code == "not_cached"


def test_a_stream_says_it_from_the_start(gateway: Gateway) -> None:
    client = wrap(gateway.openai())
    texts = []
    for tier in ("full", "exact"):
        with client.chat.completions.create(model="m", messages=asks("stream it"), stream=True) as stream:
            assert stream.cache.tier == tier
            texts.append("".join(chunk.choices[0].delta.content or "" for chunk in stream))
    assert texts[0] == texts[1] != ""


class City(BaseModel):
    name: str


def test_parsed_answers_say_it_too(gateway: Gateway, upstream: RunningUpstream) -> None:
    client = wrap(gateway.openai())
    ask: dict[str, Any] = {"model": "m", "messages": asks("parse it")}
    upstream.control(mode='say:{"name": "Paris"}')
    try:
        first = client.chat.completions.parse(response_format=City, **ask)
        again = client.chat.completions.parse(response_format=City, **ask, ttl=9)
    finally:
        upstream.control(mode="normal")

    assert (first.cache.tier, again.cache.tier) == ("full", "exact")
    assert again.choices[0].message.parsed == City(name="Paris")


def test_who_reads_headers_himself_still_can(gateway: Gateway) -> None:
    client = wrap(gateway.openai())
    raw = client.chat.completions.with_raw_response.create(model="m", messages=asks("raw"))
    assert twicetold.CacheInfo.from_headers(raw.headers).tier == "full"
    with client.chat.completions.with_streaming_response.create(
        model="m", messages=asks("raw"), extra_body={"cache": {"no-cache": True}}
    ) as streaming:
        assert streaming.headers["x-twicetold-reason"] == "no_cache"


async def test_the_async_client_does_the_same(gateway: Gateway) -> None:
    async with wrap(gateway.async_openai(), cache={"namespace": "async"}) as client:
        first = await client.chat.completions.create(model="m", messages=asks("again"))
        stream = await client.chat.completions.create(model="m", messages=asks("again"), stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        assert (first.cache.tier, stream.cache.tier, text) == ("full", "exact", first.choices[0].message.content)
        assert (await client.feedback(first, "bad", comment="no")).bad == 1
        assert isinstance(client, AsyncOpenAI)
        assert (await client.twicetold.lookup("again", model="m")).cache.entry == first.cache.entry


def test_answers_are_judged_by_the_client_that_got_them(gateway: Gateway) -> None:
    client = wrap(gateway.openai())
    for _ in range(2):
        answer = client.chat.completions.create(model="m", messages=asks("judge me"))
        said = client.feedback(answer, "bad")
    assert (said.state, said.bad) == ("retired", 2)
    assert client.chat.completions.create(model="m", messages=asks("judge me")).cache.tier == "full"


def test_completions_say_it_too() -> None:
    wire = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": []}
    asked: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(json.loads(request.content))
        return httpx2.Response(200, json=wire, headers=HIT)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with wrap(OpenAI(base_url="http://gw/v1", api_key="k", http_client=http)) as client:
        assert client.completions.create(model="m", prompt="complete", ttl=60).cache.tier == "semantic"
    assert asked == [{"model": "m", "prompt": "complete", "cache": {"ttl": 60}}]


def test_responses_say_it_too(gateway: Gateway) -> None:
    client = wrap(gateway.openai())
    for tier in ("full", "exact"):
        assert client.responses.create(model="m", input="respond", tags=["r"]).cache.tier == tier
    with client.responses.create(model="m", input="respond", stream=True) as stream:
        assert stream.cache.tier == "exact"
        assert [event.type for event in stream][-1] == "response.completed"


def test_a_client_made_of_a_wrapped_one_is_wrapped(gateway: Gateway) -> None:
    with wrap(gateway.openai(), cache={"namespace": "copied"}).with_options(timeout=9) as client:
        answer = client.chat.completions.create(model="m", messages=asks("copied"))

        assert client.timeout == 9
        assert client.twicetold.lookup("copied", model="m").cache.entry == answer.cache.entry


def test_azures_client_stays_one() -> None:
    azure = AzureOpenAI(azure_endpoint="http://az", api_key="k", api_version="2024-10-21")
    client: OpenAI = wrap(azure)

    assert isinstance(client, AzureOpenAI)
    assert client.base_url == azure.base_url


def test_what_another_server_said_is_told_as_such(upstream: RunningUpstream) -> None:
    with wrap(OpenAI(base_url=upstream.base_url, api_key="k")) as client:
        answer = client.chat.completions.create(model="m", messages=asks("elsewhere"))
    with pytest.raises(NotTwicetoldError):
        _ = answer.cache


def test_only_official_clients_are_wrapped() -> None:
    with pytest.raises(TypeError, match="OpenAI"):
        wrap(json)  # type: ignore[call-overload]


async def test_the_clients_own_stream_helpers_still_help(gateway: Gateway) -> None:
    client, patient = wrap(gateway.openai()), wrap(gateway.async_openai())
    with client.chat.completions.stream(model="m", messages=asks("help me")) as stream:
        text = stream.get_final_completion().choices[0].message.content
    with client.responses.stream(model="m", input="help me") as events:
        assert events.get_final_response().output_text == text
    async with patient, patient.chat.completions.stream(model="m", messages=asks("help me")) as coming:
        assert (await coming.get_final_completion()).choices[0].message.content == text
