"""What makes no sense is told by its name, before anything is sent."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.sdk.server import async_client_of, client_of, completion, said
from twicetold import AsyncTwicetold, Lookup, Twicetold

WRONG: dict[str, tuple[Callable[[Twicetold], object], type[Exception], str]] = {
    "no messages": (lambda client: client.chat(None), TypeError, "^messages: a text or a list"),  # type: ignore[call-overload]
    "a number": (lambda client: client.chat(5), TypeError, "^messages: .* not int"),  # type: ignore[call-overload]
    "one message": (lambda client: client.lookup({"role": "user"}), TypeError, "^messages: .* not dict"),  # type: ignore[arg-type]
    "a text among messages": (lambda client: client.chat(["Why?"]), TypeError, r"^messages\[0\]: .* not str"),  # type: ignore[list-item]
    "no input": (lambda client: client.respond(None), TypeError, "^input: "),  # type: ignore[call-overload]
    "no texts": (lambda client: client.embeddings(None), TypeError, "^input: "),  # type: ignore[arg-type]
    "no answer": (lambda client: client.put("?", None), TypeError, "^answer: .* not NoneType"),
    "no questions": (lambda client: client.warm({"a": 1}), TypeError, "^questions: "),
    "the name of a file": (lambda client: client.import_("zork"), TypeError, "^lines: an open file"),
    "NaN": (lambda client: client.chat("?", temperature=math.nan), ValueError, "^temperature: nan"),
    "NaN in a list": (lambda client: client.admin("PUT", "/x", {"a": [0, math.inf]}), ValueError, r"^a\[1\]: inf"),
    "half a character": (lambda client: client.chat("a\ud800"), ValueError, r"^messages\[0\].content: half .* at 1 "),
    "an object": (lambda client: client.chat("?", extra_body={"x": {"y": object()}}), TypeError, "^x.y: object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_argument_that_cannot_be_sent_is_named_and_nothing_is_sent(case: str) -> None:
    call, kind, words = WRONG[case]
    client, server = client_of(said())
    with pytest.raises(kind, match=words):
        call(client)
    assert server.asked == []


def test_a_circle_is_refused_too() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    client, _ = client_of(said())
    with pytest.raises(ValueError, match="Circular"):
        client.admin("POST", "/x", circle)


@pytest.mark.parametrize("url", ["zork", "", "ftp://gw", "http://", "http://gw:port", "127.0.0.1:8420"])
@pytest.mark.parametrize("kind", [Twicetold, AsyncTwicetold])
def test_what_is_no_address_is_told_when_the_client_is_made(kind: type[Any], url: str) -> None:
    with pytest.raises(ValueError, match=r"^base_url: "):
        kind(url)


def test_there_are_no_fewer_than_no_retries() -> None:
    with pytest.raises(ValueError, match=r"^retries: "):
        Twicetold(retries=-1)


async def test_a_text_is_one_question() -> None:
    client, server = client_of(said({"state": "stored"}))
    patient, asked = async_client_of(said({"state": "stored"}))

    assert (client.warm("abc").stored, (await patient.warm("abc")).stored) == (1, 1)
    assert (
        server.body()["request"]["messages"]
        == [{"role": "user", "content": "abc"}]
        == (asked.body()["request"]["messages"])
    )


def test_embeddings_take_the_model_of_the_client() -> None:
    client, server = client_of(said({"data": [], "model": "m"}))
    client.embeddings(["a"])
    assert server.body()["model"] == "m"


@pytest.mark.parametrize("given", [None, 7, {}, {"choices": [{}]}, b"bytes"], ids=repr)
async def test_what_a_function_gives_is_had_even_if_it_cannot_be_kept(given: Any) -> None:
    async def ask() -> Any:
        return given

    missed = {"id": "l", "hit": False, "tier": None, "reason": "miss"}
    refused = said({"error": {"message": "no"}}, 400)
    client, _ = client_of(said(missed), refused)
    patient, _ = async_client_of(said(missed), refused)

    assert isinstance(client.lookup("?"), Lookup)
    assert client.cached("?", lambda: given) is given
    assert await patient.cached("?", ask) is given


@pytest.mark.parametrize(
    "given", ["Paris.", completion(), {"choices": completion()["choices"]}], ids=["text", "whole", "bare"]
)
def test_an_answer_of_any_kind_comes_back_as_its_text(given: Any) -> None:
    client, server = client_of(
        said({"id": "l", "hit": False}), said({"kept": True, "entry": "e", "reason": "", "ttl_s": 1})
    )
    assert client.cached("?", lambda: given) == "Paris."
    assert len(server.asked) == 2


def test_half_a_character_in_an_answer_is_not_kept_and_not_lost() -> None:
    client, server = client_of(said({"id": "l", "hit": False}))
    assert client.cached("?", lambda: "a\ud800") == "a\ud800"
    assert len(server.asked) == 1
