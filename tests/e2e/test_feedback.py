"""What users say of answers, through a real server: who may say it, of what, and what comes of it."""

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream


def ask(gateway: Gateway, text: str, key: str = "sk-test") -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    return gateway.post(body, Authorization=f"Bearer {key}")


def say(gateway: Gateway, key: str = "sk-test", **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{gateway.url}/v1/cache/feedback", json=body, headers=headers, timeout=30, **LOOPBACK)


def test_two_bad_verdicts_on_two_responses_retire_an_answer(gateway: Gateway) -> None:
    first, again = ask(gateway, "retire me"), ask(gateway, "retire me")
    assert again.headers["x-twicetold-tier"] == "exact"
    said = [say(gateway, id=answer.json()["id"], verdict="bad").json() for answer in (first, again)]

    assert [(one["state"], one["bad"]) for one in said] == [("kept", 1), ("retired", 2)]
    assert ask(gateway, "retire me").headers["x-twicetold-tier"] == "full"


def test_one_user_saying_it_twice_retires_nothing(gateway: Gateway) -> None:
    answer = ask(gateway, "say it twice").json()["id"]
    said = [say(gateway, id=answer, verdict="bad", comment="no!").json() for _ in range(3)]

    assert [(one["state"], one["good"], one["bad"]) for one in said] == [("kept", 0, 1)] * 3
    assert say(gateway, id=answer, verdict="good").json()["good"] == 1  # the last word counts


def test_a_verdict_on_an_entry_is_one_on_its_last_response(gateway: Gateway) -> None:
    first = ask(gateway, "by entry")
    entry = first.headers["x-twicetold-entry"]
    assert say(gateway, entry=entry, verdict="bad").json()["bad"] == 1
    assert say(gateway, id=first.json()["id"], verdict="bad").json()["bad"] == 1  # the same response

    ask(gateway, "by entry")
    assert say(gateway, entry=entry, verdict="bad").json()["state"] == "retired"


def test_nobody_can_judge_what_another_tenant_got_or_learn_that_it_is_there(gateway: Gateway) -> None:
    mine = ask(gateway, "mine alone", key="sk-mine")
    entry, response = mine.headers["x-twicetold-entry"], mine.json()["id"]

    for key, given, invented in (("id", response, "chatcmpl-0"), ("entry", entry, "e_0")):
        theirs = say(gateway, "sk-other", **{key: given}, verdict="bad")
        nothing = say(gateway, "sk-other", **{key: invented}, verdict="bad")
        assert theirs.status_code == nothing.status_code == 404
        assert theirs.text.replace(given, "X") == nothing.text.replace(invented, "X")
        assert theirs.json()["error"]["type"] == "invalid_request_error"
    assert say(gateway, "sk-mine", id=response, verdict="good").json()["good"] == 1


def test_an_answer_nobody_kept_can_be_judged_and_nothing_happens(gateway: Gateway) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "leave nothing"}], "cache": {"no-store": True}}
    answer = gateway.post(body, Authorization="Bearer sk-test").json()

    said = say(gateway, id=answer["id"], verdict="bad").json()
    assert (said["entry"], said["state"]) == (None, "not_kept")


def test_a_verdict_on_a_retired_answer_is_not_one_on_the_next(gateway: Gateway) -> None:
    old = [ask(gateway, "answer anew").json()["id"] for _ in range(3)]
    for answer in old[:2]:
        say(gateway, id=answer, verdict="bad")
    ask(gateway, "answer anew")

    assert say(gateway, id=old[2], verdict="bad").json()["state"] == "not_kept"
    assert ask(gateway, "answer anew").headers["x-twicetold-tier"] == "exact"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"verdict": "bad"}, "id"),
        ({"id": "x", "entry": "y", "verdict": "bad"}, "id"),
        ({"id": "x", "verdict": "so-so"}, "verdict"),
        ({"id": "x"}, "verdict"),
        ({"id": 7, "verdict": "bad"}, "id"),
        ({"id": "x", "verdict": "bad", "comment": "c" * 2001}, "comment"),
        ({"id": "x", "verdict": "bad", "stars": 5}, "stars"),
    ],
)
def test_a_verdict_that_cannot_be_understood_names_the_field(
    gateway: Gateway, body: dict[str, Any], param: str
) -> None:
    response = say(gateway, **body)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_a_stream_can_be_judged_by_the_id_of_its_chunks(gateway: Gateway) -> None:
    client = gateway.openai()
    chunks = list(
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "stream me"}], stream=True)
    )

    assert say(gateway, id=chunks[0].id, verdict="good").json()["state"] == "kept"
    with pytest.raises(openai.NotFoundError):
        client.post("/cache/feedback", body={"id": "chatcmpl-none", "verdict": "good"}, cast_to=object)


def test_a_retired_answer_stays_gone_after_a_restart(upstream: RunningUpstream, tmp_path: Path) -> None:
    flags = ("--upstream", upstream.base_url)
    with running_gateway(tmp_path / "data", *flags, cache__semantic="false") as gateway:
        gateway.wait("upstream")
        answers = [ask(gateway, "gone for good") for _ in range(2)]
        kept = ask(gateway, "kept for good").headers["x-twicetold-entry"]
        say(gateway, id=answers[0].json()["id"], verdict="bad")
        assert say(gateway, id=answers[1].json()["id"], verdict="bad").json()["state"] == "retired"
        gateway.stop()
    with running_gateway(tmp_path / "data", *flags, cache__semantic="false") as gateway:
        gateway.wait("upstream")
        assert ask(gateway, "gone for good").headers["x-twicetold-tier"] == "full"
        assert ask(gateway, "kept for good").headers["x-twicetold-tier"] == "exact"
        assert say(gateway, entry=kept, verdict="good").json()["good"] == 1


def test_an_entry_is_named_only_when_the_answer_is_kept(gateway: Gateway, upstream: RunningUpstream) -> None:
    upstream.control(mode="with:length")
    answer = ask(gateway, "cut this one short please")

    assert answer.json()["choices"][0]["finish_reason"] == "length"
    assert "x-twicetold-entry" not in answer.headers
    assert say(gateway, id=answer.json()["id"], verdict="bad").json()["state"] == "not_kept"
