"""The test upstream is what the official client takes it for."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.upstream import RunningUpstream, running_upstream

MESSAGES: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as server:
        yield server


@pytest.fixture
def client(upstream: RunningUpstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
        yield client


def test_the_official_client_reads_both_shapes(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="normal", messages=MESSAGES)
    chunks = list(
        client.chat.completions.create(
            model="normal", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def test_usage_is_streamed_only_when_asked_for(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(model="normal", messages=MESSAGES, stream=True)

    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_modes_can_be_queued_and_counted(client: openai.OpenAI, upstream: RunningUpstream) -> None:
    upstream.control(reset=True, next=["error:429", "with:tools"])
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="any", messages=MESSAGES)

    reasons = [
        client.chat.completions.create(model="any", messages=MESSAGES).choices[0].finish_reason for _ in range(2)
    ]
    assert reasons == ["tool_calls", "stop"]
    assert upstream.counters()["requests"] == 3


def test_a_mode_may_come_in_a_header(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="any", messages=MESSAGES, extra_headers={"x-mode": "error:500"})


def test_it_runs_as_a_process() -> None:
    command = [sys.executable, "-m", "tests.upstream", "--mode", "fast"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        base_url = server.stdout.readline().strip()
        # The socket listens already; the request waits until the server is up.
        models = httpx.get(f"{base_url}/models", trust_env=False, timeout=20).json()
        server.terminate()
        _, complaints = server.communicate(timeout=20)

    assert models["data"][0]["id"] == "test-model"
    assert complaints == ""
