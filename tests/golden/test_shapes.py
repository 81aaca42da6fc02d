"""Golden: in every shape a hit repeats the original field by field, and a stream spells what the whole answer says.

Apart are ids, the time, and the headers of the cache. The answers themselves are kept in `answers/`, one file a case;
`python -m tests.golden.write` writes them anew.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.golden.cases import CASES, question
from tests.golden.desk import Desk, desk
from tests.golden.folding import folded

ANSWERS = Path(__file__).parent / "answers"
NEW_ID = re.compile(r"(chatcmpl-|cmpl-|resp_|msg_|rs_|fc_)[0-9a-f]{32}(_\d+)?")
TIMES = ("created", "created_at", "completed_at")
TWICE = [(name, shape) for name, case in CASES.items() for shape in case.asks]


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as opened:
        yield opened


def settled(answer: Any, found: dict[str, str] | None = None) -> Any:
    """Without what is new in every response: its ids are numbered in the order they appear, times are gone."""
    ids = {} if found is None else found
    if isinstance(answer, list):
        return [settled(item, ids) for item in answer]
    if isinstance(answer, str):
        return ids.setdefault(answer, f"id {len(ids)}") if NEW_ID.fullmatch(answer) else answer
    if not isinstance(answer, dict):
        return answer
    return {name: settled(value, ids) for name, value in answer.items() if name not in TIMES}


OTHER_WORDS = ("What is the capital city of France?", "What's the capital city of France?")


async def asked(counter: Desk, name: str, shape: str, tenant: str, *, stream: bool) -> tuple[Any, str]:
    case = CASES[name]
    counter.backend.script = case.says
    body = {"model": "scripted", **case.asks[shape], "stream": stream}
    if stream and shape in ("chat", "completions"):
        body["stream_options"] = {"include_usage": True}
    response = await counter.ask(shape, body, tenant=f"{name} {shape} {tenant}")
    assert response.status_code == 200, response.text
    answer = folded(shape, response) if stream else response.json()
    return settled(answer), response.headers["x-twicetold-tier"]


@pytest.mark.parametrize(("name", "shape"), TWICE, ids=[f"{name}-{shape}" for name, shape in TWICE])
async def test_a_hit_repeats_the_original_and_a_stream_spells_it(counter: Desk, name: str, shape: str) -> None:
    tiers = "exact" if CASES[name].is_kept else "full"
    golden = orjson.loads((ANSWERS / f"{name}.json").read_bytes())[shape]
    for streams_first in (False, True):
        tenant = f"{streams_first}"
        original, tier = await asked(counter, name, shape, tenant, stream=streams_first)
        assert (original, tier) == (golden, "full")
        for streams in (False, True):
            assert await asked(counter, name, shape, tenant, stream=streams) == (golden, tiers), (
                streams_first,
                streams,
            )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", ["chat", "responses", "messages"])
async def test_a_hit_of_other_words_repeats_the_original_too(counter: Desk, shape: str, stream: bool) -> None:
    golden = orjson.loads((ANSWERS / "text.json").read_bytes())[shape]
    original, hit = await in_other_words(counter, shape, stream=stream)

    assert (spelled_by(shape, original), original.headers["x-twicetold-tier"]) == (golden, "full")
    assert (spelled_by(shape, hit), hit.headers["x-twicetold-tier"]) == (golden, "semantic")
    assert 0.7 <= float(hit.headers["x-twicetold-similarity"]) < 1
    assert hit.headers["x-twicetold-entry"] == original.headers["x-twicetold-entry"]
    assert hit.headers["x-twicetold-saved-tokens"] == "12"
    assert counter.backend.calls == 1


async def test_a_raw_prompt_is_no_question_that_other_words_could_ask(counter: Desk) -> None:
    assert [r.headers["x-twicetold-tier"] for r in await in_other_words(counter, "completions")] == ["full", "full"]


async def in_other_words(counter: Desk, shape: str, *, stream: bool = False) -> list[httpx.Response]:
    """One question, answered whole, and once more in other words."""
    counter.backend.script = CASES["text"].says
    usage = {"stream_options": {"include_usage": True}} if stream and shape == "chat" else {}
    answers = []
    for words, delivery in zip(OTHER_WORDS, ({}, {"stream": stream, **usage}), strict=True):
        answers.append(await counter.ask(shape, {"model": "scripted", **question(words)[shape], **delivery}))
        await counter.home.pipeline.close()  # what is kept is found by its meaning from here on
    return answers


def spelled_by(shape: str, response: httpx.Response) -> Any:
    is_stream = response.headers["content-type"].startswith("text/event-stream")
    return settled(folded(shape, response) if is_stream else response.json())
