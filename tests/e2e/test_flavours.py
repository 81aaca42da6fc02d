"""One gateway in front of several kinds of servers, met with OpenAI's own client."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.upstream import RunningUpstream, address

FLAVOURS = ("anthropic", "azure", "deepseek", "vllm", "ollama")
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
LONG = "a question of many words so that half of them are something to have been cached"


@pytest.fixture(scope="module")
def front(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("flavours")
    config = folder / "gateway.toml"
    entry = '[[backends]]\nname = "{0}"\nurl = "{1}"\nflavour = "{0}"\nmodels = ["at-{0}"]\napi_key_env = "KEY"\n'
    config.write_text("\n".join(entry.format(name, address(upstream, name)) for name in FLAVOURS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEY", "sk-operator")
        with running_gateway(folder / "data", "--config", str(config), cache__semantic="false") as running:
            running.wait()
            yield running


def ask(flavour: str, **more: Any) -> Any:
    return {"model": f"at-{flavour}", "messages": [{"role": "user", "content": LONG}], **more}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_what_a_server_had_cached_is_the_kv_tier_and_a_repeat_is_ours(
    front: Gateway, upstream: RunningUpstream, flavour: str
) -> None:
    first, again = front.post(ask(flavour)), front.post(ask(flavour))
    cached = first.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

    assert first.headers["x-twicetold-tier"] == ("full" if flavour == "ollama" else "kv")
    assert (cached == 0) == (flavour == "ollama")
    assert first.headers["x-twicetold-saved-tokens"] == str(cached)
    assert again.headers["x-twicetold-tier"] == "exact"
    assert again.json()["choices"] == first.json()["choices"]
    assert upstream.counters()["requests"] == 1


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_stream_of_any_kind_is_a_stream_of_openais(front: Gateway, flavour: str) -> None:
    stream = front.openai().chat.completions.create(
        **ask(flavour), stream=True, stream_options={"include_usage": True}, extra_body={"cache": {"no-cache": True}}
    )
    chunks = list(stream)
    whole = front.post(ask(flavour)).json()["choices"][0]["message"]["content"]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage is not None


def test_a_tool_is_called_at_anthropic_and_its_result_goes_back(front: Gateway, upstream: RunningUpstream) -> None:
    client = front.openai()
    upstream.control(next=["with:tools", "normal"])
    messages: list[Any] = [{"role": "user", "content": "weather and time?"}]
    called = client.chat.completions.create(model="at-anthropic", messages=messages, tools=[WEATHER]).choices[0]
    assert called.message.tool_calls
    messages.append(called.message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "mild"} for call in called.message.tool_calls]
    client.chat.completions.create(model="at-anthropic", messages=messages, tools=[WEATHER])
    sent = upstream.app.received[-1]["messages"]

    assert called.finish_reason == "tool_calls"
    assert [block["type"] for block in sent[1]["content"]] == ["tool_use", "tool_use"]
    assert [block["tool_use_id"] for block in sent[2]["content"]] == [call.id for call in called.message.tool_calls]
    assert upstream.app.headers["x-api-key"] == "sk-operator"


def test_tenants_have_walls_in_vllm_and_no_client_names_a_salt(front: Gateway, upstream: RunningUpstream) -> None:
    for key, salt in (("one", {}), ("two", {}), ("one", {"cache_salt": "raw"}), ("two", {"cache_salt": "raw"})):
        front.post(ask("vllm", **salt), Authorization=f"Bearer sk-{key}")
    salts = [body["cache_salt"] for body in upstream.app.received]

    assert len(set(salts)) == len(salts) == 4
    assert b"raw" not in orjson.dumps(list(upstream.app.received))


def test_a_refusal_of_anthropics_comes_in_openais_shape(front: Gateway, upstream: RunningUpstream) -> None:
    upstream.control(next=["error:400"])
    error = front.post(ask("anthropic", seed=1)).json()["error"]

    assert error == {
        "message": "status 400 as told",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_request_error",
    }


def test_the_admin_sees_what_an_engine_counts(front: Gateway) -> None:
    told = {backend["name"]: backend["engine"] for backend in front.get("/admin/api/backends").json()["backends"]}

    assert (told["vllm"]["waiting"], told["vllm"]["kv_usage"]) == (4, 0.75)
    assert told["ollama"] == {}
