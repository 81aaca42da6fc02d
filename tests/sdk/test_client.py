"""What the clients send and understand, at their own edge."""

import httpx
import pytest

import twicetold
from tests.sdk.server import (
    HIT,
    Pieces,
    async_client_of,
    client_of,
    completion,
    events,
    refusal,
    said,
)
from twicetold import CacheInfo, Retries


def chunk(*deltas: dict[str, object], **fields: object) -> dict[str, object]:
    choices = [{"index": at, "delta": delta, "finish_reason": None} for at, delta in enumerate(deltas)]
    return {"id": "chatcmpl-1", "model": "m", "created": 7, "choices": choices, **fields}


def test_an_answer_says_what_was_said_and_where_it_came_from() -> None:
    client, server = client_of(said(headers=HIT), api_key="sk-me")
    answer = client.chat("Capital of France?")

    assert (answer.text, answer.usage.cached_tokens, answer.id) == ("Paris.", 3, "chatcmpl-1")
    assert answer.cache == CacheInfo("semantic", "same_question", "e_1", 0.9812, 40, 12, 3.0)
    assert server.asked[0].headers["authorization"] == "Bearer sk-me"
    assert server.body() == {"model": "m", "messages": [{"role": "user", "content": "Capital of France?"}]}


def test_cache_controls_are_arguments_and_stand_where_the_gateway_reads_them() -> None:
    client, server = client_of(said(), cache={"namespace": "app", "ttl": 5})
    client.chat(
        "?", ttl=60, max_age=30, no_cache=True, no_store=True, tags=("a", "b"), tiers=["exact"], min_similarity=0.97,
        cache_salt="s", only_if_cached=True, stale_while_revalidate=9, temperature=0.1, extra_body={"x": 1},
    )  # fmt: skip

    assert server.body() == {
        "model": "m",
        "messages": [{"role": "user", "content": "?"}],
        "temperature": 0.1,
        "x": 1,
        "cache_salt": "s",
        "cache": {
            "namespace": "app", "ttl": 60, "s-maxage": 30, "no-cache": True, "no-store": True, "tags": ["a", "b"],
            "tiers": ["exact"], "min_similarity": 0.97,
        },
    }  # fmt: skip
    assert server.asked[0].headers["cache-control"] == "only-if-cached, stale-while-revalidate=9"


def test_a_message_of_an_answer_can_be_sent_back_as_it_was() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    client, server = client_of(said(completion("", content=None, tool_calls=calls)))
    answer = client.chat("?")
    client.chat([{"role": "user", "content": "?"}, answer.message])

    assert (answer.text, answer.tool_calls[0].name, answer.tool_calls[0].parsed()) == ("", "f", {"a": 1})
    assert server.body()["messages"][1] == {"role": "assistant", "content": None, "tool_calls": calls}


def test_a_stream_gives_its_text_in_pieces_and_the_whole_at_its_end() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a"'}}
    more = {"index": 0, "function": {"arguments": ": 1}"}}
    client, server = client_of(
        events(
            chunk({"role": "assistant", "content": "Pa"}, {"content": "Ly"}),
            chunk({"content": "ris"}, {"tool_calls": [call]}),
            chunk({}, {"tool_calls": [more]}),
            chunk(usage=usage),
            headers=HIT,
        )
    )
    with client.chat("?", stream=True) as stream:
        assert stream.cache.tier == "semantic"
        texts = [piece.text for piece in stream]
        answer = stream.answer()

    assert "".join(texts) == answer.text == "Paris"
    assert (answer.usage.completion_tokens, answer.choices[1].message.content) == (2, "Ly")
    assert answer.choices[1].message.tool_calls[0].parsed() == {"a": 1}
    assert server.body()["stream_options"] == {"include_usage": True}


async def test_the_async_client_says_and_understands_the_same() -> None:
    client, server = async_client_of(said(headers=HIT))
    assert (await client.chat("?", ttl=1)).cache.entry == "e_1"
    assert server.body()["cache"] == {"ttl": 1}

    client, _ = async_client_of(events(chunk({"content": "Pa"}), chunk({"content": "ris"}), headers=HIT))
    async with await client.chat("?", stream=True) as stream:
        assert "".join([piece.text async for piece in stream]) == "Paris"
        assert (await stream.answer()).text == "Paris"


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_stream_is_the_same_however_its_bytes_are_cut(cut: int) -> None:
    content = 'event: x\r\ndata: {"choices":[{"delta":{"content":"né"}}]}\r\n\r\n: beat\n\ndata: [DONE]\n\n'.encode()
    pieces = [content[at : at + cut] for at in range(0, len(content), cut)]
    client, _ = client_of(httpx.Response(200, stream=Pieces(pieces), headers=HIT))

    assert client.chat("?", stream=True).answer().text == "né"


ERRORS = [
    (400, {}, twicetold.BadRequestError),
    (401, {}, twicetold.AuthenticationError),
    (403, {}, twicetold.PermissionDeniedError),
    (404, {}, twicetold.NotFoundError),
    (409, {}, twicetold.ConflictError),
    (413, {}, twicetold.RequestTooLargeError),
    (418, {}, twicetold.APIStatusError),
    (422, {}, twicetold.UnprocessableError),
    (429, {}, twicetold.RateLimitError),
    (500, {}, twicetold.ServerError),
    (503, {}, twicetold.UnavailableError),
    (504, {}, twicetold.UpstreamTimeoutError),
    (504, {"code": "not_cached"}, twicetold.NotCachedError),
]


@pytest.mark.parametrize(("status", "error", "kind"), ERRORS)
def test_a_refusal_has_a_class_of_its_own_and_the_servers_words(
    status: int, error: dict[str, str], kind: type[twicetold.APIStatusError]
) -> None:
    client, _ = client_of(refusal(status, {"x-request-id": "r"}, **{"message": "too warm", "param": "x[0]", **error}))
    with pytest.raises(kind) as caught:
        client.chat("?")

    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.message, caught.value.param) == (status, "too warm", "x[0]")
    assert "too warm (field x[0])" in str(caught.value)
    assert caught.value.request_id == "r"


@pytest.mark.parametrize(
    "content", [b"<html>Bad Gateway</html>", b'{"error": "Bad Gateway"}', b'{"detail": "Bad Gateway"}']
)
def test_whatever_refuses_is_quoted(content: bytes) -> None:
    client, _ = client_of(httpx.Response(502, content=content))
    with pytest.raises(twicetold.ServerError, match="Bad Gateway"):
        client.chat("?")


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, content=b"<html>", headers=HIT),
        httpx.Response(200, json={"id": "x"}, headers=HIT),
        httpx.Response(200, json=[], headers=HIT),
        httpx.Response(200, json=completion()),  # of no Twicetold
    ],
)
def test_what_is_no_answer_is_told_as_such(reply: httpx.Response) -> None:
    client, _ = client_of(reply)
    with pytest.raises(twicetold.UnreadableError):
        client.chat("?")


@pytest.mark.parametrize(
    "failure", [refusal(429), refusal(500), refusal(503), httpx.ConnectError("down"), httpx.ReadTimeout("slow")]
)
async def test_what_may_pass_is_tried_again_and_not_for_ever(failure: httpx.Response | httpx.HTTPError) -> None:
    client, server = client_of(failure, failure, said())
    assert client.chat("?").text == "Paris."
    patient, asked = async_client_of(failure, events(chunk({"content": "x"})))
    assert (await (await patient.chat("?", stream=True)).answer()).text == "x"
    assert (len(server.asked), len(asked.asked)) == (3, 2)

    client, server = client_of(failure)
    with pytest.raises(twicetold.TwicetoldError):
        client.chat("?")
    assert len(server.asked) == 3


@pytest.mark.parametrize("failure", [refusal(400), refusal(401), refusal(404), refusal(504, code="not_cached")])
def test_what_will_not_pass_is_asked_once(failure: httpx.Response) -> None:
    client, server = client_of(failure, said())
    with pytest.raises(twicetold.APIStatusError):
        client.chat("?")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("headers", "error", "wait_s"),
    [
        ({"retry-after": "3"}, 429, 3.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 503, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 503, 0.0),
        ({"retry-after": "61"}, 503, None),  # whoever asks for more is not waited for
        ({"retry-after": "soon"}, 503, 1.0),
        ({}, 503, 1.0),
    ],
)
def test_the_server_says_how_long_to_wait(headers: dict[str, str], error: int, wait_s: float | None) -> None:
    retries = Retries(first_s=1.0, jitter=lambda: 1.0)
    failure = twicetold.APIStatusError("later", status=error, headers=headers)
    assert retries.wait_s(failure, 1, is_repeatable=True) == wait_s


def test_pauses_grow_to_a_bound() -> None:
    retries = Retries(most=9, first_s=0.5, longest_s=8.0, jitter=lambda: 1.0)
    failure = twicetold.APIConnectionError("down")
    pauses = [retries.wait_s(failure, sent, is_repeatable=True) for sent in range(1, 11)]

    assert pauses == [0.5, 1, 2, 4, 8, 8, 8, 8, 8, None]


async def test_nothing_is_sent_again_once_an_answer_has_begun() -> None:
    begun = f"data: {chunk({'content': 'Pa'})}\n\n".replace("'", '"').replace("None", "null").encode()
    pieces: list[bytes | Exception] = [begun, httpx.ReadError("gone")]
    client, server = client_of(httpx.Response(200, stream=Pieces(pieces), headers=HIT), said())
    patient, asked = async_client_of(httpx.Response(200, stream=Pieces(pieces), headers=HIT), said())
    stream = client.chat("?", stream=True)
    assert next(stream).text == "Pa"
    with pytest.raises(twicetold.StreamError, match="broke off"):
        next(stream)
    with pytest.raises(twicetold.StreamError, match="broke off"):
        await (await patient.chat("?", stream=True)).answer()

    assert (len(server.asked), len(asked.asked)) == (1, 1)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (events(chunk({"content": "Pa"}), done=False), "broke off"),
        (events(chunk({"content": "Pa"}), {"error": {"message": "the engine died"}}, done=False), "the engine died"),
    ],
)
def test_an_answer_that_ends_in_its_middle_is_no_answer(reply: httpx.Response, words: str) -> None:
    client, _ = client_of(reply)
    with pytest.raises(twicetold.StreamError, match=words):
        client.chat("?", stream=True).answer()


async def test_a_stream_that_is_left_is_closed() -> None:
    bodies = [Pieces([b"data: {}\n\n"] * 9) for _ in range(2)]
    client, _ = client_of(httpx.Response(200, stream=bodies[0], headers=HIT))
    with client.chat("?", stream=True) as stream:
        next(stream)
    patient, _ = async_client_of(httpx.Response(200, stream=bodies[1], headers=HIT))
    async with await patient.chat("?", stream=True) as coming:
        await anext(coming)
    assert [body.was_closed for body in bodies] == [True, True]


async def test_a_stream_of_another_server_is_refused_and_closed() -> None:
    bodies = [Pieces([b"data: {}\n\n"]) for _ in range(2)]
    client, _ = client_of(httpx.Response(200, stream=bodies[0]))
    patient, _ = async_client_of(httpx.Response(200, stream=bodies[1]))
    with pytest.raises(twicetold.UnreadableError, match="not an answer of Twicetold"):
        client.chat("?", stream=True)
    with pytest.raises(twicetold.UnreadableError, match="not an answer of Twicetold"):
        await patient.chat("?", stream=True)
    assert [body.was_closed for body in bodies] == [True, True]


def test_a_timeout_is_of_the_client_or_of_the_call() -> None:
    client, server = client_of(said(), timeout=9.0)
    client.chat("?")
    client.chat("?", timeout=0.5)

    assert [asked.extensions["timeout"]["read"] for asked in server.asked] == [9.0, 0.5]
    assert [asked.extensions["timeout"]["connect"] for asked in server.asked] == [5.0, 0.5]


def test_a_client_without_a_model_says_so_before_it_asks() -> None:
    with twicetold.Twicetold() as client, pytest.raises(twicetold.TwicetoldError, match="name a model"):
        client.chat("?")
