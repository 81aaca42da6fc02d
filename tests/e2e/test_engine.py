"""The gateway on its local engine: real weights, real blocks, real processes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.backends.local.tiny import build
from tests.deploy.metrics import not_as_promised, not_exported, undocumented
from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK

PREFIX = "Blocks of thirty-two tokens are kept by the hash of everything before them. " * 4
COLD: dict[str, Any] = {"cache": {"tiers": []}}
KV: dict[str, Any] = {"cache": {"tiers": ["kv"]}}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("engine")
    model = build("llama", folder / "tiny", max_position_embeddings=2048)
    with running_gateway(folder / "data", "--model", str(model), cache__semantic="false") as running:
        running.wait("local")
        yield running


def body(text: str, **more: Any) -> dict[str, Any]:
    return {
        "model": "tiny",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 12,
        "temperature": 0,
        **more,
    }


def cached(response: httpx.Response) -> int:
    tokens: int = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    return tokens


def text(response: httpx.Response) -> str:
    said: str = response.json()["choices"][0]["message"]["content"]
    return said


def test_a_second_question_over_the_same_prefix_resumes_from_kept_blocks(engine: Gateway) -> None:
    cold = engine.post(body(PREFIX + "one", **COLD))
    engine.post(body(PREFIX + "two", **KV))
    warm = engine.post(body(PREFIX + "one", **KV))

    assert (cold.headers["x-twicetold-tier"], warm.headers["x-twicetold-tier"]) == ("full", "kv")
    assert (cached(cold), text(warm)) == (0, text(cold))
    assert cached(warm) > 32
    assert warm.headers["x-twicetold-saved-tokens"] == str(cached(warm))


def test_no_tier_leaves_no_block_behind(engine: Gateway) -> None:
    before = engine.stats()["engine"]["kv"]["published_blocks"]
    engine.post(body("Nothing of this stays. " * 20, **COLD))

    assert engine.stats()["engine"]["kv"]["published_blocks"] == before


def test_a_prefix_is_not_shared_between_tenants_or_salts(engine: Gateway) -> None:
    question = body("A secret that is long enough to fill more than one block of the cache. " * 3, **KV)
    engine.post(question, Authorization="Bearer one")

    assert cached(engine.post(question, Authorization="Bearer two")) == 0
    assert cached(engine.post({**question, "cache_salt": "s"}, Authorization="Bearer one")) == 0
    assert cached(engine.post(question, Authorization="Bearer one")) > 32


def test_a_conversation_resumes_where_it_was(engine: Gateway) -> None:
    client = engine.openai()
    messages: list[Any] = [{"role": "user", "content": "Tell me about blocks, please, at some length."}]
    for turn in range(3):
        reply = client.chat.completions.create(
            model="tiny", messages=messages, max_tokens=24, temperature=0, extra_body=KV
        )
        assert reply.usage is not None
        assert reply.usage.prompt_tokens_details is not None
        if turn:
            assert (reply.usage.prompt_tokens_details.cached_tokens or 0) > 0
        answer = reply.choices[0].message.content
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": f"And then {turn}?"}]


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_disconnect_frees_the_engines_slot_and_nothing_is_kept(engine: Gateway, is_stream: bool) -> None:
    entries = engine.stats()["entries"]
    aborts = engine.stats()["engine"]["aborts"]
    request = body(f"Go on for ever {is_stream}", stream=is_stream, max_tokens=1900, ignore_eos=True)
    async with httpx.AsyncClient(**LOOPBACK) as client:
        asking = asyncio.create_task(client.post(f"{engine.url}/v1/chat/completions", json=request, timeout=60))
        await asyncio.to_thread(engine.wait_for, lambda stats: stats["engine"]["running"], 1)
        asking.cancel()
        await asyncio.wait([asking])
    await asyncio.to_thread(engine.wait_for, lambda stats: stats["engine"]["running"], 0)
    stats = engine.stats()

    assert stats["engine"]["aborts"] == aborts + 1
    assert stats["engine"]["slab_tokens"] == 0
    assert stats["entries"] == entries


async def test_a_hundred_identical_requests_make_one_generation(engine: Gateway) -> None:
    before = engine.stats()["engine"]["decode_tokens"]
    async with engine.async_openai() as client:
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(
                    model="tiny",
                    messages=[{"role": "user", "content": "All at once"}],
                    max_tokens=400,  # long enough that all have come before it ends
                    temperature=0,
                    extra_body={"ignore_eos": True},
                )
                for _ in range(100)
            )
        )
    done = engine.stats()["engine"]["decode_tokens"] - before

    assert len({answer.choices[0].message.content for answer in answers}) == 1
    assert done in (400, 800)  # an answer cut at its limit is not kept: who came after its end had another, together


def test_the_prefixes_that_callers_share_are_told_as_a_tree_with_their_words(engine: Gateway) -> None:
    house = "You answer for the house of the seven gables, and you are brief. " * 4
    for question in ("one", "two", "one", "two", "three"):
        engine.post(body(house + question, **KV), Authorization="Bearer gables")
    engine.post(body(house + "one", **KV), Authorization="Bearer another")

    (model,) = engine.get("/admin/api/kv?nodes=100").json()["models"].values()
    tree = [node for node in model["prefixes"]["nodes"] if "seven gables" in node["text"]]
    (shared,) = (node for node in tree if node["parent"] is None)  # the other one found nothing
    assert shared["hits"] == 4
    assert shared["saved_below"] >= shared["saved"] > 3 * 32
    assert model["tiers"]["ram"]["budget_bytes"] >= model["tiers"]["ram"]["resident_bytes"] > 0
    assert engine.get("/admin/api/kv").json()["models"]["tiny"]["prefixes"] is None
    refused = engine.get("/admin/api/kv?nodes=9999")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "nodes")


def test_every_metric_of_engines_that_the_dashboard_draws_is_exported(engine: Gateway) -> None:
    assert not_exported(engine.get("/metrics").text, only=("kv", "engine", "draft")) == set()


def test_every_metric_that_was_promised_is_exported_with_its_labels(engine: Gateway) -> None:
    for _ in range(2):
        engine.post(body("Asked twice, answered once", stop=["e", "a", " "], ignore_eos=True))
    exported = engine.get("/metrics").text

    assert not_as_promised(exported, but={"wrong_hit_rate"}) == []  # that one: test_semantic.py
    assert undocumented(exported) == set()


def test_several_choices_share_their_prompt(engine: Gateway) -> None:
    response = engine.post(body(PREFIX + "choices", n=3, temperature=1, seed=7, **COLD))
    again = engine.post(body(PREFIX + "choices", n=3, temperature=1, seed=7, **COLD))

    texts = [choice["message"]["content"] for choice in response.json()["choices"]]
    assert len(set(texts)) == 3
    assert texts == [choice["message"]["content"] for choice in again.json()["choices"]]


def test_logprobs_are_told_and_are_probabilities(engine: Gateway) -> None:
    response = engine.post(body("How sure are you?", logprobs=True, top_logprobs=3, max_tokens=5, **COLD))
    content = response.json()["choices"][0]["logprobs"]["content"]

    assert len(content) == 5
    assert all(len(token["top_logprobs"]) == 3 and token["logprob"] <= 0 for token in content)
    assert all(token["logprob"] == token["top_logprobs"][0]["logprob"] for token in content)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "temperature": ({"temperature": 9}, "temperature"),
    "top_p": ({"top_p": 0}, "top_p"),
    "n": ({"n": 1000}, "n"),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 99}, "top_logprobs"),
    "penalty": ({"presence_penalty": 9}, "presence_penalty"),
    "min_p": ({"min_p": 5}, "min_p"),
    "format": ({"response_format": {"type": "xml"}}, "response_format.type"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_value_the_engine_cannot_take_is_refused_by_name(engine: Gateway, name: str) -> None:
    extra, param = BAD[name]
    response = engine.post(body("hi", **extra))

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_tool_calls_a_template_cannot_read_are_refused(engine: Gateway) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": deep}}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    response = engine.post({"model": "tiny", "messages": messages})

    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")


def test_a_prompt_longer_than_the_context_is_refused(engine: Gateway) -> None:
    for words in (3000, 1_000_000):  # counted in tokens; refused by its sheer length
        error = engine.post(body("long " * words)).json()["error"]

        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")


def test_an_unknown_model_is_refused(engine: Gateway) -> None:
    response = engine.post({**body("hi"), "model": "gpt-9"})

    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_the_engine_may_die_and_the_gateway_stays_up_and_answers_again(engine: Gateway) -> None:
    engine.post(body("Known before the accident", ignore_eos=True, stop=["\u0000"]))
    (child,) = psutil.Process(engine.process.pid).children()
    child.kill()
    assert engine.get("/healthz").status_code == 200
    engine.wait("local")

    assert engine.post(body("After the accident", **COLD)).status_code == 200


def test_answers_and_kept_prefixes_survive_a_restart_and_a_kill_in_a_folder_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("llama", tmp_path / "tiny", max_position_embeddings=2048)
    prefix = body(PREFIX + "one", **KV)
    fields: dict[str, Any] = {"ignore_eos": True, "stop": ["e", "a", " "], "max_tokens": 200}
    question = body("Will this be remembered?", cache={"tiers": ["exact"]}, **fields)
    monkeypatch.chdir(tmp_path)

    def run(*, is_killed: bool) -> tuple[httpx.Response, httpx.Response]:
        with running_gateway(Path("data"), "--model", str(model), cache__semantic="false") as running:
            running.wait("local")
            responses = running.post(prefix), running.post(question)
            running.wait_for(lambda stats: stats["engine"]["kv"]["disk_segments"] > 0, True)
            running.wait_for(lambda stats: stats["entries"], 1)
            if is_killed:
                running.process.kill()
                running.process.wait()
            return responses

    runs = run(is_killed=True), run(is_killed=False), run(is_killed=False)
    (cold, *warm), answers = zip(*runs, strict=True)

    assert list((tmp_path / "data" / "kv").rglob("*.seg"))
    assert cached(cold) == 0
    assert [cached(response) for response in warm] == [cold.json()["usage"]["prompt_tokens"] - 1] * 2
    assert len({text(response) for response in (cold, *warm)}) == 1
    assert [response.headers["x-twicetold-tier"] for response in answers] == ["full", "exact", "exact"]
    assert len({text(response) for response in answers}) == 1
