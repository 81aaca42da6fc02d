"""Where prompts of real conversations part, when something was planted in them."""

import gzip
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backends.chat import ChatRequest
from gateway.prefixes.parting import partings, shared
from gateway.prefixes.prompt import WALL, prompt_of
from gateway.prefixes.report import lines_of, report_of
from gateway.prefixes.watch import PROMPTS, WAITING, PrefixWatch

TALKS = Path(__file__).parents[4] / "shared" / "data" / "conversations"
RULES_OF_THE_HOUSE = " ".join(
    f"Rule {number} of the house is kept by everybody who lives in it." for number in range(60)
)
MIB = 1 << 20

Message = dict[str, Any]


@cache
def talks(name: str, most: int) -> Sequence[Sequence[Message]]:
    path = TALKS / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip("the conversations are not here")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["messages"] for line, _ in zip(lines, range(most), strict=False)]


def turns(conversations: Sequence[Sequence[Message]], system: str = "") -> Iterator[tuple[Message, ...]]:
    """Every request that a client would send; NOW and ID in the system prompt are another in each."""
    number = 0
    for talk in conversations:
        for at, message in enumerate(talk):
            if message["role"] != "user":
                continue
            number += 1
            minute, second = divmod(number, 60)
            now = f"2026-06-09 {8 + minute // 60:02}:{minute % 60:02}:{second:02}"
            told = system.replace("NOW", now).replace("ID", f"{number * 2654435761 % 2**32:08x}")
            yield ({"role": "system", "content": told}, *talk[: at + 1])


def watched(prompts: Iterator[tuple[Message, ...]], every_s: float = 0.0, **said: Any) -> PrefixWatch:
    watch = PrefixWatch(32 * MIB, **said)
    for number, messages in enumerate(prompts):
        watch.look(ChatRequest("m", messages), 1000.0 + number * every_s)
    return watch


def findings(watch: PrefixWatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = report_of(watch)["models"][0]["findings"]
    return found


@pytest.mark.parametrize("name", ["mtbench101", "kdconv_zh"])
def test_conversations_with_a_stable_prompt_lose_nothing(name: str) -> None:
    watch = watched(turns(talks(name, 12), f"You are a helper. {RULES_OF_THE_HOUSE}"))
    row = report_of(watch)["models"][0]
    assert row["findings"] == []
    assert row["shared_tokens"] > row["tokens"] / 2


@pytest.mark.parametrize("name", ["mtbench101", "kdconv_zh"])
@pytest.mark.parametrize("before", ["", "You are a helper. "])
@pytest.mark.parametrize(
    ("planted", "kind", "at"),
    [
        ("Current time: NOW\n", "clock", len("Current time: 2026-06-09")),
        ("x-anthropic-billing-header: cc_version=2.1; cch=ID;\n", "agent_nonces", 0),
        ("request_id: rq-IDID\n", "request_ids", len("request_id: ")),
        ("Build ID is used. ", "code", len("Build ")),
    ],
)
def test_what_was_planted_is_found_where_it_was_planted(
    name: str, before: str, planted: str, kind: str, at: int
) -> None:
    watch = watched(turns(talks(name, 12), f"{before}{planted}{RULES_OF_THE_HOUSE}"), keeps_words=True)
    first, *others = findings(watch)
    assert (first["message"], first["role"], first["kind"], first["char"]) == (0, "system", kind, len(before) + at)
    assert first["token"] == (len("system\n") + len(before) + at) // 4
    assert first["count"] >= 0.9 * watch.sketches["", "m"].prompts - 1
    assert sum(other["lost_tokens"] for other in others) < 0.05 * first["lost_tokens"]
    assert first["words"]["here"] != first["words"]["there"]


def test_what_a_difference_costs_is_what_would_have_been_reused() -> None:
    """Beside the same talks without it."""
    stable, planted = (
        watched(turns(talks("mtbench101", 12), f"{head}{RULES_OF_THE_HOUSE}")) for head in ("", "Current time: NOW\n")
    )
    lost = report_of(planted)["models"][0]["lost_tokens"]
    could = report_of(stable)["models"][0]["shared_tokens"] - report_of(planted)["models"][0]["shared_tokens"]
    assert 0.9 * could < lost <= 1.1 * could


def test_two_differences_are_told_apart() -> None:
    head = f"Current time: NOW\n{RULES_OF_THE_HOUSE}\nsession_id: ID-1\n"
    first, second, *_ = findings(watched(turns(talks("mtbench101", 12), head + RULES_OF_THE_HOUSE)))
    assert {first["kind"], second["kind"]} == {"clock", "session_ids"}


def test_neighbours_at_one_difference_are_findings_of_their_own() -> None:
    head = f"Build ID of 019e95f9-b891-7752-9fc1-cbb130bf26b0. Current time: NOW\n{RULES_OF_THE_HOUSE}"
    first, second = findings(watched(turns(talks("mtbench101", 12), head)))
    assert (first["kind"], second["kind"]) == ("code", "clock")
    assert second["lost_tokens"] > 0.95 * first["lost_tokens"]  # either costs nearly all of it


@pytest.mark.parametrize("between", ["", "Dear NAME. "])
def test_a_second_difference_is_one_finding_under_its_own_words(between: str) -> None:
    watch = PrefixWatch(MIB, keeps_words=True)
    for number in range(20):
        told = between.replace("NAME", ("Bob Smith", "Ann", "Joe Rhys Lee")[number % 3])
        head = f"Time is 2026-06-09 10:{number:02}:00. {told}request_id: zbc{number * 7919 % 1000:03}ef123. "
        messages = ({"role": "system", "content": head + RULES_OF_THE_HOUSE}, {"role": "user", "content": f"q{number}"})
        watch.look(ChatRequest("m", messages), 0.0)
    first, second = findings(watch)
    assert [(one["kind"], one["count"]) for one in (first, second)] == [("timestamps", 19), ("request_ids", 19)]
    assert second["words"]["before"].endswith("request_id: ")
    assert all(second["words"][name].startswith("zbc") for name in ("here", "there"))


def test_advice_names_the_place_the_price_and_the_rule() -> None:
    watch = watched(turns(talks("mtbench101", 12), f"Current time: NOW\n{RULES_OF_THE_HOUSE}"), every_s=60.0)
    report = report_of(watch, price_per_million=2.5)
    advice = report["models"][0]["findings"][0]["advice"]
    assert advice.startswith("the time of day in the system prompt at token 7 costs ")
    assert 'a day: switch on rule "clock" with send = true' in advice
    assert report["models"][0]["lost_cost"] == report["models"][0]["lost_tokens"] * 2.5 / 1e6
    assert any(advice in line for line in lines_of(report))


def test_words_are_shown_only_where_they_may_be() -> None:
    head = f"Current time: NOW\n{RULES_OF_THE_HOUSE}"
    assert findings(watched(turns(talks("mtbench101", 4), head)))[0]["words"] is None


def test_tools_that_come_in_another_order_are_found() -> None:
    tools = [{"type": "function", "function": {"name": f"tool{n}", "description": RULES_OF_THE_HOUSE}} for n in "ab"]
    watch = PrefixWatch(MIB)
    for number in range(4):
        order = tools if number != 2 else [{**tools[0], "strict": True}, tools[1]]
        watch.look(ChatRequest("m", ({"role": "user", "content": f"question {number}"},), {"tools": order}), 0.0)
    assert [(one["role"], one["message"]) for one in findings(watch)] == [("tools", -1)]


def test_tenants_and_models_are_not_compared_with_each_other() -> None:
    watch = PrefixWatch(MIB)
    for tenant, model, word in (("a", "m", "x"), ("b", "m", "y"), ("a", "n", "z")):
        watch.look(ChatRequest(model, ({"role": "system", "content": word + RULES_OF_THE_HOUSE},), owner=tenant), 0.0)
    assert [row["shared_tokens"] for row in report_of(watch)["models"]] == [0, 0, 0]


def test_prompts_whose_prefixes_are_kept_apart_are_not_compared() -> None:
    watch = PrefixWatch(MIB)
    for salt in ("one", "other", "one", "other"):
        watch.look(ChatRequest("m", ({"role": "system", "content": RULES_OF_THE_HOUSE},), kv_salt=salt), 0.0)
    row = report_of(watch)["models"][0]
    assert (row["shared_tokens"], row["findings"]) == (row["tokens"] / 2, [])


def test_what_is_held_is_bounded() -> None:
    watch = PrefixWatch(40_000)
    for number in range(300):
        text = f"{number} {RULES_OF_THE_HOUSE}"
        watch.look(ChatRequest("m", ({"role": "system", "content": text},), owner=f"t{number % 5}"), 0.0)
        assert watch.size_bytes <= 40_000
    assert watch.size_bytes == sum(len(text) for one in watch.sketches.values() for text in one.arrived)
    assert all(sorted(one.arrived) == one.ordered and len(one.ordered) <= PROMPTS for one in watch.sketches.values())


async def test_a_line_that_is_full_takes_no_more_and_says_so() -> None:
    watch = PrefixWatch(MIB)
    for _ in range(WAITING + 3):
        watch.saw(ChatRequest("m", ({"role": "user", "content": "a"},)))
    report = report_of(watch)
    assert (report["unseen"], report["models"][0]["prompts"]) == (3, WAITING)


async def test_without_a_budget_nothing_is_held() -> None:
    watch = PrefixWatch(0)
    watch.saw(ChatRequest("m", ({"role": "user", "content": "a"},)))
    assert report_of(watch)["models"] == []


def test_partings_are_found_and_stop_where_prompts_do_not_meet_again() -> None:
    same = bytes(range(32, 127)) * 4
    earlier, new = b"a" + same + b"11" + same + b"end of one", b"a" + same + b"2222" + same + b"other"
    found = partings(earlier, new, shared(new, earlier))
    assert [(one.start, one.end, one.run) for one in found] == [(1 + len(same), 5 + len(same), len(same))]


def test_contents_of_every_shape_become_bytes() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:x"}}]
    messages = ({"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]})
    prompt = prompt_of(ChatRequest("m", messages))
    assert (
        prompt.text
        == b" " * WALL + b'user\na\n{"type":"image_url","image_url":{"url":"data:x"}}\nassistant\n\n[{"id":"c"}]\n'
    )
    assert prompt.place(len(prompt.text) - 1)[:2] == (1, "assistant")
