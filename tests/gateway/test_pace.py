"""A stored answer that is streamed as if it were typed."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backends.chat import ChatRequest, Delta
from gateway.commons.padding import MOST_S, even
from gateway.controls import Controls
from gateway.policy import Rules
from gateway.services.rules import rules_of
from gateway.settings import SettingsError, load_settings
from tests.gateway.express.serving import asking, request_of, town
from tests.gateway.house import House, house
from tests.upstream import running_upstream

ASKED = ChatRequest("scripted", ({"role": "user", "content": "What is the capital city of France?"},), stream=True)


async def told(gateway: House, request: ChatRequest) -> list[Delta]:
    reply = await gateway.pipeline.answer(request, "t", "", Controls())
    return [delta async for delta in reply.deltas]


async def test_a_stored_answer_is_streamed_word_by_word_where_it_is_asked_for(tmp_path: Path) -> None:
    async with house(tmp_path, rules=Rules(replay_tokens_per_s=5_000)) as gateway:
        made = await told(gateway, ASKED)
        typed = await told(gateway, ASKED)
        at_once = await told(gateway, replace(ASKED, stream=False))

    texts = ["".join(delta.text for delta in deltas) for deltas in (made, typed, at_once)]
    assert len(set(texts)) == 1
    assert len([delta for delta in typed if delta.text]) > 1
    assert len([delta for delta in at_once if delta.text]) == 1


async def test_over_http_every_replay_keeps_the_pace_and_the_express_road_learns_none(tmp_path: Path) -> None:
    texts, took_s = [], []
    with running_upstream() as upstream:
        async with town(tmp_path, upstream, cache={"replay_tokens_per_s": 50}) as place:
            caller = await place.connect()
            made = json.loads((await caller.ask(request_of(asking("How fast?", max_tokens=16)))).body)
            for _ in range(3):
                started = time.perf_counter()
                said = await caller.ask(request_of(asking("How fast?", max_tokens=16, stream=True)))
                took_s.append(time.perf_counter() - started)
                assert said.tier == "exact"
                deltas = re.findall(rb"data: (\{.*)", said.body)
                texts.append("".join(json.loads(one)["choices"][0]["delta"].get("content") or "" for one in deltas))
            given = place.given

    due_s = made["usage"]["completion_tokens"] / 50
    assert texts == [made["choices"][0]["message"]["content"]] * 3
    assert 0.1 < due_s < 0.5
    assert min(took_s) > 0.8 * due_s
    assert min(took_s) < 8 * due_s, "the best of three: a busy machine is no slower pace"
    assert given == 0


@pytest.mark.parametrize(
    ("pace", "num_tokens", "num_pieces", "last_s"),
    [(10.0, 20, 5, 2.0), (10.0, 0, 5, 0.5), (1.0, 10_000, 3, MOST_S), (10.0, 7, 1, 0.0)],
)
def test_a_pace_is_told_in_tokens_and_takes_a_minute_at_most(
    pace: float, num_tokens: int, num_pieces: int, last_s: float
) -> None:
    due = even(pace, num_tokens, num_pieces)

    assert (len(due), due[0]) == (num_pieces, 0.0)
    assert due[-1] == pytest.approx(last_s)


def test_the_pace_is_said_for_all_and_for_some_of_the_traffic(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[cache]\nreplay_tokens_per_s = 50\n[[cache.routes]]\nmodel = "bot"\nreplay_tokens_per_s = 0\n')
    rules = rules_of(load_settings({"upstream": "http://127.0.0.1:1/v1"}, file), has_semantic=False)

    assert rules.of("t", "other", "").replay_tokens_per_s == 50
    assert rules.of("t", "bot", "").replay_tokens_per_s == 0
    file.write_text("[cache]\nreplay_tokens_per_s = -1\n")
    with pytest.raises(SettingsError, match="replay_tokens_per_s"):
        load_settings({"upstream": "http://127.0.0.1:1/v1"}, file)
