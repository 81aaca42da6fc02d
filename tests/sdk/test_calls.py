"""What the calls beside chat send and understand."""

from typing import Any

import httpx
import pytest

import twicetold
from tests.sdk.server import HIT, Pieces, async_client_of, client_of, completion, refusal, said
from twicetold import Imported, Warmed
from twicetold.batches import BATCH_LINES, batches

ROW: dict[str, Any] = {
    "id": "e_1", "question": "?", "model": "m", "tenant": "t", "namespace": "", "created_s": 1.0, "expires_s": None,
    "hits": 2, "good": 0, "bad": 0, "size_bytes": 9, "alias_of": None, "tags": ["a"],
}  # fmt: skip


def lines(*wires: bytes | Exception) -> httpx.Response:
    return httpx.Response(200, stream=Pieces(wires))


async def test_embeddings_come_in_the_order_of_their_texts() -> None:
    rows = [{"index": 1, "embedding": [0.5]}, {"index": 0, "embedding": [0.25]}]
    wire = {"data": rows, "model": "e", "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    client, server = client_of(said(wire))
    found = client.embeddings(["a", "b"], model="e", dimensions=1, ttl=9)
    patient, _ = async_client_of(said(wire))

    assert found == await patient.embeddings(["a", "b"], model="e")
    assert (found.vectors, found.usage.prompt_tokens) == (((0.25,), (0.5,)), 2)
    assert server.body() == {"model": "e", "input": ["a", "b"], "dimensions": 1, "cache": {"ttl": 9}}


async def test_a_list_of_entries_is_read_page_by_page_and_no_page_too_many() -> None:
    pages = [said({"data": [ROW], "next": "n1"}), said({"data": [{**ROW, "id": "e_2"}], "next": None})]
    client, server = client_of(*pages, admin_key="adm")
    patient, _ = async_client_of(*pages)
    found = client.entries(tag="a", text="x y", page_size=1)

    assert next(found).id == "e_1"
    assert len(server.asked) == 1
    assert [entry.id for entry in found] == ["e_2"]
    assert [entry.id async for entry in patient.entries()] == ["e_1", "e_2"]
    assert dict(server.asked[1].url.params) == {"tag": "a", "text": "x y", "limit": "1", "after": "n1"}
    assert server.asked[0].headers["authorization"] == "Bearer adm"


def test_what_is_put_may_be_a_text_json_an_answer_or_a_model_of_the_official_client() -> None:
    from openai.types.chat import ChatCompletion

    client, server = client_of(said({"kept": True, "entry": "e", "reason": "complete", "ttl_s": None}))
    client.put("?", "Paris.", elapsed_s=2)
    client.put("?", completion())
    client.put("?", ChatCompletion.model_validate(completion()), lookup="lookup-1")

    assert server.body(0)["answer"] == "Paris."
    assert server.body(0)["elapsed_s"] == 2.0
    assert server.body(1)["response"] == completion()
    assert server.body(2)["response"]["choices"] == completion()["choices"]
    assert server.body(2)["lookup"] == "lookup-1"


@pytest.mark.parametrize(("verdict", "word"), [(True, "good"), ("bad", "bad"), (False, "bad")])
def test_a_verdict_is_a_word_or_a_truth_on_a_response_or_an_entry(verdict: Any, word: str) -> None:
    client, server = client_of(said(headers=HIT), said({"entry": "e", "state": "kept", "good": 0, "bad": 1}))
    answer = client.chat("?")
    client.feedback(answer, verdict, comment="c")
    client.feedback(entry="e_1", verdict=verdict)

    assert server.body(1) == {"id": "chatcmpl-1", "verdict": word, "comment": "c"}
    assert server.body(2) == {"entry": "e_1", "verdict": word}
    with pytest.raises(TypeError, match="a response or its id"):
        client.feedback(7, verdict)


async def test_warming_counts_and_goes_on_after_a_refusal_but_not_without_a_server() -> None:
    stored, present = said({"state": "stored"}), said({"state": "present"})
    client, server = client_of(stored, refusal(400), present, api_key="sk-me")
    done = client.warm(["a", "b", "c"], tags=["t"], refresh=True)
    assert (done.stored, done.present, [question for question, _ in done.errors]) == (1, 1, ["b"])
    assert server.body(0) == {
        "request": {"model": "m", "messages": [{"role": "user", "content": "a"}], "cache": {"tags": ["t"]}},
        "api_key": "sk-me",
        "refresh": True,
    }

    patient, asked = async_client_of(stored, refusal(400), present)
    assert (await patient.warm(list("abcde"), at_once=2)).present == 3
    assert len(asked.asked) == 5
    away, asked = async_client_of(httpx.ConnectError("down"), retries=0)
    with pytest.raises(twicetold.APIConnectionError):
        await away.warm(list("abcde"), at_once=2)
    assert len(asked.asked) <= 2
    assert Warmed() == client.warm([])


def test_a_prefix_is_warmed_inside_the_walls_of_the_client() -> None:
    client, server = client_of(said({"state": "computing"}), api_key="sk-me", cache={"namespace": "app", "ttl": 9})
    client.warm_prefix([{"role": "system", "content": "Be brief."}], pin=False)

    assert server.body() == {
        "model": "m", "messages": [{"role": "system", "content": "Be brief."}],
        "api_key": "sk-me", "namespace": "app", "pin": False,
    }  # fmt: skip


async def test_an_export_that_breaks_off_is_told_after_what_came() -> None:
    client, server = client_of(lines(b'{"kind": "header"}\n{"ki', b'nd": "entry"}\n{"kind'))
    patient, _ = async_client_of(lines(b'{"kind": "header"}\n', httpx.ReadError("gone")))
    stream = client.export(tag="a", after="c")
    assert [next(stream)["kind"], next(stream)["kind"]] == ["header", "entry"]
    with pytest.raises(twicetold.StreamError, match="broke off"):
        next(stream)
    with pytest.raises(twicetold.StreamError, match="broke off"):
        [line async for line in await patient.export()]
    assert dict(server.asked[0].url.params) == {"tag": "a", "after": "c"}


def test_an_import_goes_in_batches_that_know_their_first_line() -> None:
    counts = {"lines": 1, "imported": 1, "kept": 0, "expired": 0, "failed": 1, "errors": [{"line": 3}]}
    client, server = client_of(said(counts))
    file: list[Any] = [{"n": number} for number in range(BATCH_LINES)] + [b'{"n": 1}\n', '{"n": "ü"}\n']
    done = client.import_(file, on_conflict="replace", map={"a": "b"}, dry_run=True)

    assert done == Imported(2, 2, 0, 0, 2, ({"line": 3}, {"line": 3}))
    asked = [dict(request.url.params) for request in server.asked]
    assert asked[1] == {"first": str(BATCH_LINES + 1), "on_conflict": "replace", "map": "a=b", "dry_run": "true"}
    assert server.asked[1].content == '{"n": 1}\n{"n": "ü"}'.encode()
    assert server.asked[1].headers["content-type"] == "application/x-ndjson"


def test_a_batch_is_never_larger_than_its_largest_line() -> None:
    large = b"x" * 400_000
    assert [(first, len(content)) for first, content in batches([large] * 3)] == [(n, 400_000) for n in (1, 2, 3)]


def test_entries_are_found_by_meaning() -> None:
    client, server = client_of(said({"data": [{**ROW, "similarity": 0.91}], "next": None}))
    assert [entry.similarity for entry in client.entries(meaning="capital of France")] == [0.91]
    assert server.asked[0].url.params["meaning"] == "capital of France"


def test_what_has_no_method_is_called_by_its_path_and_what_may_do_it_twice_is_sent_once() -> None:
    client, server = client_of(refusal(500), said({"lanes": []}), admin_key="adm")
    assert client.admin("GET", "/quality", minutes=5) == {"lanes": []}
    assert [str(asked.url) for asked in server.asked] == ["http://gw/admin/api/quality?minutes=5"] * 2

    client, server = client_of(refusal(500))
    with pytest.raises(twicetold.ServerError):
        client.admin("POST", "/keys", {"name": "app"})
    assert (len(server.asked), server.body()) == (1, {"name": "app"})


def test_keys_are_not_shown() -> None:
    client, _ = client_of(said(), api_key="sk-secret", admin_key="adm-secret")
    assert "secret" not in repr(vars(client))
