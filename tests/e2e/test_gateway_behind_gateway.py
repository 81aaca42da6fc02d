"""A gateway whose backend is another one's engine: two real processes, one of them with weights."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.backends.local.tiny import build
from tests.e2e.server import Gateway, running_gateway

PREFIX = "Blocks of thirty-two tokens are kept by the hash of everything before them. " * 4
KV: dict[str, Any] = {"cache": {"tiers": ["kv"]}}
COLD: dict[str, Any] = {"cache": {"tiers": []}}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"days": {"enum": [1, 2, 3]}},
            "required": ["days"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("engine")
    model = build("llama", folder / "tiny", max_position_embeddings=2048)
    with running_gateway(folder / "data", "--model", str(model), cache__semantic="false") as running:
        running.wait("local")
        yield running


@pytest.fixture(scope="module")
def front(engine: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = {"cache__semantic": "false", "upstream_flavour": "twicetold"}
    data = tmp_path_factory.mktemp("front") / "data"
    with running_gateway(data, "--upstream", engine.url, **settings) as running:
        running.wait("upstream")
        yield running


def post(front: Gateway, text: str, key: str = "sk-one", **more: Any) -> httpx.Response:
    body = {"model": "tiny", "messages": [{"role": "user", "content": PREFIX + text}], "max_tokens": 12}
    response = front.post({**body, "temperature": 0, **more}, Authorization=f"Bearer {key}")
    assert response.status_code == 200, response.text
    return response


def cached(response: httpx.Response) -> int:
    tokens: int = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return tokens


def test_what_the_engine_had_is_the_kv_tier_of_the_gateway_in_front(front: Gateway) -> None:
    cold, _, warm = post(front, "a", **COLD), post(front, "b", **KV), post(front, "a", **KV)

    assert (cached(cold), warm.json()["choices"]) == (0, cold.json()["choices"])
    assert cached(warm) > 32
    assert (warm.headers["x-twicetold-tier"], warm.headers["x-twicetold-saved-tokens"]) == ("kv", str(cached(warm)))


def test_tenants_share_nothing_in_the_engine_and_a_clients_salt_divides_further(front: Gateway) -> None:
    post(front, "c", "sk-two", **KV)
    first_of = {
        "another tenant": post(front, "c", "sk-three", **KV),
        "a salt": post(front, "c", "sk-two", cache_salt="mine", **KV),
        "a tenant's salt is his own": post(front, "c", "sk-three", cache_salt="mine", **KV),
    }
    again = post(front, "c", "sk-two", **KV), post(front, "c", "sk-two", cache_salt="mine", **KV)

    assert {name: cached(response) for name, response in first_of.items()} == dict.fromkeys(first_of, 0)
    assert all(cached(response) > 32 for response in again)


def test_answers_are_kept_in_front_and_nowhere_else(front: Gateway, engine: Gateway) -> None:
    wish: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 200}
    first, again = post(front, "d", **wish), post(front, "d", **wish)

    assert again.headers["x-twicetold-tier"] == "exact"
    assert again.json()["choices"] == first.json()["choices"]
    assert engine.stats()["entries"] == 0


def test_a_stream_arrives_in_pieces_with_its_counts(front: Gateway) -> None:
    client = front.openai("sk-one")
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": PREFIX + "a"}], max_tokens=96, temperature=0,
            stream=True, stream_options={"include_usage": True}, extra_body=KV,
        )
    )  # fmt: skip
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]

    assert len(pieces) > 1  # a busy machine joins what is said quickly: a dozen tokens may be one
    assert "".join(pieces) == post(front, "a", **COLD, max_tokens=96).json()["choices"][0]["message"]["content"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens_details is not None
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens is not None


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_tool_is_called_through_both(front: Gateway, is_stream: bool) -> None:
    wish: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 200, **KV}
    client = front.openai("sk-one")
    if is_stream:
        with client.chat.completions.stream(
            model="tiny", messages=[{"role": "user", "content": "rain?"}], tools=[WEATHER], tool_choice="required",
            max_tokens=200, extra_body=KV,
        ) as stream:  # fmt: skip
            choice = stream.get_final_completion().choices[0].model_dump()
    else:
        choice = post(front, "rain?", **wish).json()["choices"][0]

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"


def test_what_the_engine_refuses_is_refused_in_its_words(front: Gateway) -> None:
    body = {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}
    response = front.post(body)

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
