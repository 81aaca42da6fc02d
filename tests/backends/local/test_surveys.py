"""Surveys of kept prefixes beside the steps of an engine, and told by a backend whose process may die."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.chat import ChatRequest
from backends.errors import BackendNotReady, BackendUnavailable
from backends.local.surveys import Surveys
from backends.local.wire import Survey, Surveyed
from kvtier.survey import Prefix
from tests.backends.local.engines import ask, engine, opened, run, tokens

Checkpoints = Callable[[str], Path]


def test_a_survey_is_made_between_the_steps_of_a_request_and_disturbs_none(checkpoints: Checkpoints) -> None:
    shared = tokens(1, 200)
    alone, beside = engine(checkpoints("llama")), engine(checkpoints("llama"))
    for one in (alone, beside):
        for request in (1, 2):
            run(one, ask([*shared, *tokens(request, 20)], request))
    expected = run(alone, ask([*shared, 5], 3))

    surveys = Surveys(beside)
    beside.submit(ask([*shared, 5], 3))
    surveys.add(Survey(9, 50))
    told: list[Surveyed] = []
    said = []
    while beside.has_work or surveys.has_work:
        said += [event for event in beside.step() if hasattr(event, "token_id")] if beside.has_work else []
        told += surveys.step()

    assert [event.token_id for event in said] == expected.tokens[3, 0]
    assert [one.request for one in told] == [9]
    nodes: list[Prefix] = told[0].report["nodes"]
    assert nodes[0].head == shared[:48]
    assert nodes[0].hits >= 1


async def test_a_backend_tells_the_words_of_what_is_shared_while_its_engine_lives(checkpoints: Checkpoints) -> None:
    async with opened(checkpoints("llama")) as local:
        with pytest.raises(BackendNotReady):
            await local.shared_prefixes(10)
        for question in ("one", "two"):
            messages = ({"role": "user", "content": "The rain in Spain stays mainly in the plain. " * 5 + question},)
            async for _ in local.stream(ChatRequest("tiny", messages, {"max_tokens": 2})):
                pass
        first, second = await asyncio.gather(local.shared_prefixes(10), local.shared_prefixes(10))

        assert first is second
        assert "The rain in Spain" in first["nodes"][0]["text"]
        assert "head" not in first["nodes"][0]

        local.clear_kv()
        assert (await local.shared_prefixes(10))["nodes"] == []

        assert local.pid is not None
        os.kill(local.pid, signal.SIGSTOP)
        asking = asyncio.create_task(local.shared_prefixes(20))
        await asyncio.sleep(0.05)
        os.kill(local.pid, signal.SIGKILL)
        with pytest.raises(BackendUnavailable, match="was killed"):
            await asking
