"""The report from a log, and from a running gateway."""

import json
from pathlib import Path

import pytest

from backends.chat import ChatRequest
from gateway.cli import main
from gateway.controls import Controls
from gateway.prefixes.report import report_of
from gateway.prefixes.watch import PrefixWatch
from tests.gateway.house import house, read
from tests.gateway.prefixes.test_watch import RULES_OF_THE_HOUSE


def rows(clock: str = "time") -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for number in range(20):
        system = f"Current time: 2026-06-09 10:{number:02}:07\n{RULES_OF_THE_HOUSE}"
        messages = [{"role": "system", "content": system}, {"role": "user", "content": f"question {number}"}]
        request = {"model": "m", "messages": messages}
        found.append({"request": request, clock: 1718000000 + 60 * number} if number % 2 else {**request, clock: None})
    return found


def test_a_log_is_read_as_if_it_came_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows()))
    assert main(["prefixes", "--log", str(path), "--price", "3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("m: 20 prompts, ")
    assert "the time of day in the system prompt at token 7 costs 1." in said
    assert "M tokens (" in said.split(" costs ")[1]  # 17 k in 18 minutes, by the day
    assert "Current time: 2026-06-09 ' then '10:19:07', before '10:18:07'" in said
    assert main(["prefixes", "--log", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["findings"][0]["count"] == 19


def test_a_line_that_is_no_request_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "a"}]}\n{"messages": "b"}\n')
    assert main(["prefixes", "--log", str(path)]) == 2
    assert "line 2: messages must be a list" in capsys.readouterr().err
    path.write_text('{"messages": [{"role": "user", "content": "a"}], "time": "noon"}\n')
    assert main(["prefixes", "--log", str(path)]) == 2
    assert "time must be seconds or an ISO 8601 time, got 'noon'" in capsys.readouterr().err


async def test_a_gateway_watches_what_it_sends_and_nothing_that_is_to_leave_no_trace(tmp_path: Path) -> None:
    watch = PrefixWatch(1 << 20)
    async with house(tmp_path, prefixes=watch) as gateway:
        for number, row in enumerate(rows("at")[::2]):
            request = ChatRequest("scripted", tuple(row["messages"]))  # type: ignore[arg-type]
            for controls in (Controls(no_store=number == 0), Controls()):  # the second time it is in memory
                await read(await gateway.pipeline.answer(request, "t", "", controls))
    row = report_of(watch)["models"][0]
    assert (row["tenant"], row["prompts"]) == ("t", 10)
    assert row["findings"][0]["kind"] == "clock"
