"""One gateway before an Anthropic server and one of OpenAI's kind: messages, embeddings, other gateways' headers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.gateway.shapes.messages import folded, read_events
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream, address

KEY = {"x-api-key": "sk-ant-one"}
ENTRY = '[[backends]]\nname = "{0}"\nurl = "{1}"\nflavour = "{0}"\nmodels = ["at-{0}"]\napi_key_env = "KEY"\n'
WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


@dataclass(frozen=True)
class Front:
    """A gateway, and one client for all that is asked of it."""

    gateway: Gateway
    client: httpx.Client


@pytest.fixture(scope="module")
def front(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("shapes")
    config = folder / "gateway.toml"
    config.write_text("\n".join(ENTRY.format(name, address(upstream, name)) for name in ("anthropic", "openai")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEY", "sk-operator")
        with running_gateway(folder / "data", "--config", str(config), cache__semantic="false") as running:
            running.wait()
            with httpx.Client(base_url=running.url, timeout=60, **LOOPBACK) as client:
                yield Front(running, client)


def post(front: Front, path: str, body: Any, **headers: str) -> httpx.Response:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    return front.client.post(f"/v1/{path}", headers={**KEY, **headers}, **content)


def ask(text: str, model: str = "at-anthropic", **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


# --- messages ---


@pytest.mark.parametrize("model", ["at-anthropic", "at-openai"])
def test_a_repeat_is_the_same_message_whole_and_streamed(front: Front, upstream: RunningUpstream, model: str) -> None:
    body = ask("What is kept, and for how long?", model)
    first, again = post(front, "messages", body), post(front, "messages", body)
    stream = post(front, "messages", {**body, "stream": True})

    whole, streamed = again.json(), folded(read_events(stream.content))
    assert [reply.headers["x-twicetold-tier"] for reply in (again, stream)] == ["exact", "exact"]
    assert {**first.json(), "id": ""} == {**whole, "id": ""} == {**streamed, "id": ""}
    assert len({first.json()["id"], whole["id"], streamed["id"]}) == 3
    assert upstream.counters()["requests"] == 1
    assert whole["usage"]["cache_read_input_tokens"] + whole["usage"]["input_tokens"] > 0


def test_openais_client_gets_what_anthropics_asked(front: Front, upstream: RunningUpstream) -> None:
    said = post(front, "messages", ask("Who else may read this?", "at-openai")).json()
    chat = post(front, "chat/completions", ask("Who else may read this?", "at-openai"))

    assert chat.headers["x-twicetold-tier"] == "exact"
    assert chat.json()["choices"][0]["message"]["content"] == said["content"][0]["text"]
    assert upstream.counters()["requests"] == 1


def test_an_anthropic_upstream_hears_what_was_said_and_the_operators_key(
    front: Front, upstream: RunningUpstream
) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "weather?", **mark}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True}]},
    ]
    body = {**ask(""), "messages": turns, "tools": [WEATHER], "system": [{"type": "text", "text": "Be brief."}]}

    assert post(front, "messages", body, **{"anthropic-beta": "context-1m-2025-08-07"}).status_code == 200
    assert upstream.app.received[-1] == {**body, "stream": False}
    assert upstream.app.headers["x-api-key"] == "sk-operator"
    assert upstream.app.headers["anthropic-beta"] == "context-1m-2025-08-07"


@pytest.mark.parametrize("model", ["at-anthropic", "at-openai"])
def test_calls_of_tools_are_blocks_streamed_and_whole(front: Front, upstream: RunningUpstream, model: str) -> None:
    upstream.control(next=["with:tools"])
    body = ask("weather and time?", model, tools=[WEATHER], tool_choice={"type": "any"})
    stream = folded(read_events(post(front, "messages", {**body, "stream": True}).content))
    stored = post(front, "messages", body).json()

    assert [block["type"] for block in stream["content"]] == ["tool_use", "tool_use"]
    assert stream["content"][0]["input"] == {"city": "Zürich", "days": 3}
    assert stream["stop_reason"] == "tool_use"
    assert stored["content"] == stream["content"]


def test_keys_of_anthropics_kind_have_walls_between_them(front: Front, upstream: RunningUpstream) -> None:
    body = ask("Is this mine alone?")
    tiers = [post(front, "messages", body, **{"x-api-key": key}).headers["x-twicetold-tier"] for key in ("a", "b", "a")]

    assert tiers[2] == "exact"
    assert upstream.counters()["requests"] == 2


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "invalid_request_error"),
        (b"[]", 400, "invalid_request_error"),
        (ask("x", "at-nobody"), 404, "not_found_error"),
        (ask("x", temperature="hot"), 400, "invalid_request_error"),
        (ask("x", "error:429"), 404, "not_found_error"),
        (ask("x", cache={"tiers": "all"}), 400, "invalid_request_error"),
        (ask("x", "at-openai", container="c"), 400, "invalid_request_error"),
        (ask("never asked", cache={"no-cache": False}), 504, "api_error"),
    ],
)
def test_whatever_goes_wrong_is_said_as_anthropic_says_it(front: Front, body: Any, status: int, kind: str) -> None:
    headers = {"cache-control": "only-if-cached"} if status == 504 else {}
    reply = post(front, "messages", body, **headers)

    assert (reply.status_code, reply.json()["type"], reply.json()["error"]["type"]) == (status, "error", kind)


def test_an_upstreams_error_keeps_its_status_and_a_broken_stream_ends_in_an_error_event(
    front: Front, upstream: RunningUpstream
) -> None:
    upstream.control(next=["error:400"])
    refused = post(front, "messages", ask("refuse me"))
    upstream.control(next=["cut"])
    cut = post(front, "messages", ask("break off", stream=True))

    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert read_events(cut.content)[-1]["error"]["type"] == "api_error"


def test_tokens_are_counted_by_who_can(front: Front, upstream: RunningUpstream) -> None:
    counted = post(front, "messages/count_tokens", ask("how many are these?"))
    refused = post(front, "messages/count_tokens", ask("and these?", "at-openai"))

    assert counted.json()["input_tokens"] > 0
    assert upstream.app.received[-1].keys() == {"model", "messages"}
    assert (refused.status_code, refused.json()["type"]) == (400, "error")


def test_models_are_listed_as_the_client_knows_them(front: Front) -> None:
    theirs = front.client.get("/v1/models", headers={**KEY, "anthropic-version": "2023-06-01"}).json()
    openais = front.client.get("/v1/models", headers=KEY).json()

    assert [model["id"] for model in theirs["data"]] == [model["id"] for model in openais["data"]]
    assert theirs["data"][0].keys() == {"type", "id", "display_name", "created_at"}
    assert (theirs["has_more"], theirs["last_id"]) == (False, theirs["data"][-1]["id"])


def test_other_gateways_headers_are_heard(front: Front, upstream: RunningUpstream) -> None:
    body = ask("Anew each time?", "at-openai")
    tiers = [
        post(front, "messages", body, **headers).headers["x-twicetold-tier"]
        for headers in (
            {},
            {"x-portkey-cache-force-refresh": "true"},
            {"x-bf-cache-key": "k"},
            {"x-bf-cache-ttl": "1h"},
        )
    ]

    assert tiers == ["kv", "kv", "kv", "exact"]
    assert post(front, "messages", body, **{"x-bf-cache-ttl": "soon"}).status_code == 400


# --- embeddings ---


def embed(front: Front, items: Any, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    return post(front, "embeddings", {"model": "at-openai", "input": items, **more}, **(headers or {}))


def vectors(reply: httpx.Response) -> list[Any]:
    data = reply.json()["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    return [item["embedding"] for item in data]


def test_of_a_batch_that_is_half_known_the_other_half_is_asked(front: Front, upstream: RunningUpstream) -> None:
    known = embed(front, ["one", "two"])
    mixed = embed(front, ["three", "two", "four", "one", "three"])

    assert upstream.app.received[-1]["input"] == ["three", "four"]
    assert (mixed.headers["x-twicetold-items"], mixed.headers["x-twicetold-reason"]) == ("2/5", "partial")
    assert vectors(mixed)[1] == vectors(known)[1]
    assert vectors(mixed)[3] == vectors(known)[0]
    assert vectors(mixed)[0] == vectors(mixed)[4]
    assert mixed.json()["usage"] == {"prompt_tokens": 15, "total_tokens": 15}
    assert known.json()["model"] == "at-openai"


def test_a_repeat_is_what_it_was_in_either_spelling(front: Front, upstream: RunningUpstream) -> None:
    with front.gateway.openai("sk-emb") as client:
        first = client.embeddings.create(model="at-openai", input="spelled", encoding_format="float")
        again = client.embeddings.create(model="at-openai", input=["spelled"])  # asks for base64

    assert again.data[0].embedding == pytest.approx(first.data[0].embedding, abs=1e-7)
    assert upstream.counters()["embedded"] == 1


def test_what_makes_another_vector_makes_another_key(front: Front, upstream: RunningUpstream) -> None:
    asked: list[tuple[Any, dict[str, str], dict[str, Any]]] = [
        ("same", {}, {}),
        ("same", {}, {"dimensions": 2}),
        ("same", {}, {"output_dtype": "int8"}),
        ("same", {}, {"cache": {"namespace": "n"}}),
        ("same", {}, {"cache_salt": "s"}),
        ("same", {"x-api-key": "another"}, {}),
        ([7, 8, 9], {}, {}),
        (["same "], {}, {}),
    ]
    for _ in range(2):
        for items, headers, more in asked:
            assert embed(front, items, headers, **more).status_code == 200

    assert upstream.counters()["embedded"] == len(asked)


def test_what_is_asked_twice_at_once_is_asked_once(front: Front, upstream: RunningUpstream) -> None:
    upstream.control(mode="slow:0.3")

    with ThreadPoolExecutor(4) as callers:
        replies = list(callers.map(lambda n: embed(front, ["shared", f"own {n}"]), range(4)))

    assert len({tuple(vectors(reply)[0]) for reply in replies}) == 1
    assert sum(body["input"].count("shared") for body in upstream.app.received) == 1


def test_the_caller_says_what_is_read_and_kept(front: Front, upstream: RunningUpstream) -> None:
    embed(front, "unkept", cache={"no-store": True})
    missed = embed(front, "unkept", {"cache-control": "only-if-cached"})
    embed(front, "fleeting", cache={"ttl": 0})
    embed(front, "anew")
    anew = embed(front, "anew", {"cache-control": "no-cache"})
    aged = embed(front, "anew", {"cache-control": "max-age=600"})

    assert missed.status_code == 504
    assert anew.headers["x-twicetold-reason"] == "no_cache"
    assert (aged.headers["x-twicetold-tier"], aged.headers["cache-status"]) == ("exact", "twicetold; hit; detail=exact")
    assert upstream.counters()["embedded"] == 4


def test_vectors_are_forgotten_by_tag(front: Front, upstream: RunningUpstream) -> None:
    embed(front, ["tagged", "too"], cache={"tags": ["docs-7"]})
    body = {"tag": "docs-7"}
    dry = front.client.post("/admin/api/invalidate", json={**body, "dry_run": True}).json()
    wet = front.client.post("/admin/api/invalidate", json={**body, "dry_run": False}).json()

    assert (dry["embeddings"], wet["embeddings"]) == (2, 2)
    assert embed(front, ["tagged", "too"]).headers["x-twicetold-items"] == "0/2"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "at-openai"}, 400, "input"),
        ({"model": "at-openai", "input": []}, 400, "input"),
        ({"model": "at-openai", "input": ["a", ""]}, 400, "input"),
        ({"model": "at-openai", "input": [[1], [-1]]}, 400, "input"),
        ({"model": "at-openai", "input": ["a"] * 2049}, 400, "input"),
        ({"model": "at-openai", "input": "a", "dimensions": 0}, 400, "dimensions"),
        ({"model": "at-openai", "input": "a", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"model": "at-nobody", "input": "a"}, 404, "model"),
        ({"model": "at-anthropic", "input": "a"}, 400, "model"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(front: Front, body: Any, status: int, param: str) -> None:
    reply = post(front, "embeddings", body)

    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)


def test_a_failing_upstream_is_told_and_nothing_is_kept_of_it(front: Front, upstream: RunningUpstream) -> None:
    upstream.control(next=["error:400"])

    assert embed(front, "later").status_code == 400
    assert embed(front, "later").status_code == 200


def test_metrics_count_items(front: Front) -> None:
    embed(front, "counted")
    told = front.client.get("/metrics").text

    assert 'twicetold_embedding_items_total{source="asked"}' in told
    assert 'twicetold_requests_total{model="at-openai",route="embeddings",tier="full"}' in told
