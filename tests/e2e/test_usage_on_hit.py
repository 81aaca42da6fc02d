"""`cache.usage_on_hit = "zero"`: what costs nothing is reported as nothing; what is made is reported."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.server import running_gateway
from tests.golden.folding import folded
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("chat/completions", {"messages": [{"role": "user", "content": "What is free?"}]}),
    "responses": ("responses", {"input": "What is free in a response?"}),
    "messages": ("messages", {"max_tokens": 64, "messages": [{"role": "user", "content": "Free in a message?"}]}),
}


@pytest.fixture(scope="module")
def client(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("free") / "data"
    settings = {"cache__usage_on_hit": "zero", "cache__semantic": "false"}
    with running_gateway(folder, "--upstream", upstream.base_url, **settings) as running:
        running.wait("upstream")
        with httpx.Client(base_url=f"{running.url}/v1/", timeout=60, **LOOPBACK) as opened:
            yield opened


def counted(usage: Any) -> int:
    """All the tokens that a usage tells of."""
    return sum(counted(value) if isinstance(value, dict) else value or 0 for value in usage.values())


@pytest.mark.parametrize("shape", ASKED)
def test_a_hit_is_reported_as_free_whole_and_streamed(client: httpx.Client, shape: str) -> None:
    path, asked = ASKED[shape]
    body = {"model": "m", **asked}
    streams = {**body, "stream": True}
    if shape == "chat":
        streams["stream_options"] = {"include_usage": True}
    made, whole, streamed = (client.post(path, json=one) for one in (body, body, streams))

    assert [answer.headers["x-twicetold-tier"] for answer in (made, whole, streamed)] == ["full", "exact", "exact"]
    assert counted(made.json()["usage"]) > 0
    assert counted(whole.json()["usage"]) == counted(folded(shape, streamed)["usage"]) == 0
    assert int(whole.headers["x-twicetold-saved-tokens"]) > 0


def test_an_answer_that_is_looked_up_is_free_too(client: httpx.Client) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "What is looked up?"}]}
    assert counted(client.post("chat/completions", json=request).json()["usage"]) > 0
    found = client.post("cache/lookup", json={"request": request}).json()

    assert (found["tier"], counted(found["response"]["usage"])) == ("exact", 0)
    assert found["saved_tokens"] > 0


def test_a_vector_that_was_kept_is_free_and_a_new_one_is_not(client: httpx.Client) -> None:
    def tokens(*texts: str) -> int:
        usage = client.post("embeddings", json={"model": "m", "input": list(texts)}).json()["usage"]
        return int(usage["prompt_tokens"])

    assert tokens("one text") > 0
    assert tokens("one text") == 0
    assert tokens("one text", "another text") == tokens("a third text")
