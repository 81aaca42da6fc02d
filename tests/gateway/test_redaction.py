"""What must not be kept is answered and leaves nothing behind: words of patterns, and what the operator's code says."""

from pathlib import Path
from typing import Any

import pytest

from backends.chat import ChatRequest
from gateway.controls import Controls
from gateway.redaction import KEEPS_ALL, redactor_of
from gateway.settings import SettingsError, load_settings
from tests.e2e.test_erasing import gateway_in, places_of, upstream_flags
from tests.upstream import RunningUpstream, running_upstream

CARD = r"\b\d{4} \d{4} \d{4} \d{4}\b"
SECRET = "4000 1234 5678 9010"


def asked(content: Any) -> ChatRequest:
    return ChatRequest("m", ({"role": "user", "content": content},), {})


def says_no(text: str) -> bool:
    return "no record" in text


def breaks(text: str) -> bool:
    raise ValueError(text)


@pytest.fixture(scope="module")
def upstream() -> Any:
    with running_upstream() as running:
        yield running


@pytest.mark.parametrize(
    ("content", "is_found"),
    [
        (f"My card is {SECRET}.", True),
        ([{"type": "text", "text": SECRET}], True),
        ("My card is 4000.", False),
        ("half a pair \ud800 " + SECRET, True),
        ("", False),
    ],
)
def test_patterns_are_looked_for_in_everything_a_request_says(content: Any, is_found: bool) -> None:
    controls = redactor_of([CARD], "").over(asked(content), Controls())

    assert (controls.is_redacted, controls.no_store) == (is_found, is_found)


TOLD = '{"card": "4000\\u00201234 5678 9010"}'  # as JSON may have it


@pytest.mark.parametrize(
    ("message", "params", "controls"),
    [
        ({}, {"stop": [f"a {SECRET}"]}, {}),
        ({}, {"response_format": {"json_schema": {"schema": {"properties": {f"x {SECRET}": {}}}}}}, {}),
        ({}, {"some_knob_of_tomorrow": {"deep": SECRET}}, {}),
        ({"tool_calls": [{"function": {"name": "pay", "arguments": TOLD}}]}, {}, {}),
        ({"content": TOLD.replace("\\", "\\\\")}, {}, {}),
        ({}, {}, {"tags": (f"card {SECRET}",)}),
        ({}, {}, {"namespace": f"n {SECRET}"}),
    ],
)
def test_patterns_are_looked_for_in_all_of_a_request_that_would_be_kept(
    message: dict[str, Any], params: dict[str, Any], controls: dict[str, Any]
) -> None:
    request = ChatRequest("m", ({"role": "user", "content": "hi", **message},), params)

    assert redactor_of([CARD], "").over(request, Controls(**controls)).is_redacted


def test_who_asks_is_kept_nowhere_and_hides_no_answer() -> None:
    request = ChatRequest("m", (), {"user": SECRET, "metadata": {"card": SECRET}})

    assert not redactor_of([CARD], "").over(request, Controls()).is_redacted


@pytest.mark.parametrize(
    ("said", "patterns"),
    [
        (r"\b\d{13,16}\b", (r"\b\d{13,16}\b",)),
        (r'["\\d{13,16}", "a,b"]', (r"\d{13,16}", "a,b")),
        (r"['\b\d{13,16}\b']", (r"\b\d{13,16}\b",)),
        ("", ()),
    ],
)
def test_patterns_of_the_environment_are_one_or_a_list_and_are_not_cut_at_commas(
    said: str, patterns: tuple[str, ...]
) -> None:
    assert load_settings({}, environ={"TWICETOLD_REDACT__PATTERNS": said}).redact.patterns == patterns


@pytest.mark.parametrize("said", ["[0-9]{13,16}", "[4]", r'["\bcard\b"]', "['a'"])
def test_a_list_of_patterns_that_is_none_is_refused_and_named(said: str) -> None:
    with pytest.raises(SettingsError, match=r"redact\.patterns"):
        load_settings({}, environ={"TWICETOLD_REDACT__PATTERNS": said})


def test_without_patterns_nothing_is_read() -> None:
    controls = Controls()

    assert KEEPS_ALL.over(asked(SECRET), controls) is controls


def test_a_function_of_the_operators_is_asked_and_one_that_fails_keeps_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert redactor_of((), f"{__name__}:says_no").holds(["there is no record of it"])
    assert not redactor_of((), f"{__name__}:says_no").holds(["there is one"])
    assert redactor_of((), f"{__name__}:breaks").holds([SECRET])
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("patterns", "hook", "key"),
    [(["("], "", "redact.patterns"), ((), "nowhere:f", "redact.hook"), ((), "json:nothing", "redact.hook"),
     ((), "json", "redact.hook"), ((), "json:__name__", "redact.hook")],
)  # fmt: skip
def test_what_cannot_be_asked_stops_the_start_and_is_named(patterns: list[str], hook: str, key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        redactor_of(patterns, hook)


async def test_a_redacted_request_is_answered_and_leaves_nothing_behind(
    tmp_path: Path, upstream: RunningUpstream
) -> None:
    async with gateway_in(tmp_path, **upstream_flags(upstream, redact={"patterns": [CARD]})) as gateway:
        for _ in range(2):
            said = await gateway.chat(f"Is {SECRET} a card?")
            assert said.headers["x-twicetold-tier"] == "full"
        first = await gateway.post("/v1/responses", "sk-me", {"model": "m", "input": f"Is {SECRET} a card?"})
        request = {"model": "m", "messages": [{"role": "user", "content": f"Whose is {SECRET}?"}]}
        answer = {"choices": [{"message": {"role": "assistant", "content": "Mine."}, "finish_reason": "stop"}]}
        put = await gateway.client.put("/v1/cache/entries", json={"request": request, "response": answer})
        telling = {"choices": [{"message": {"role": "assistant", "content": SECRET}, "finish_reason": "stop"}]}
        clean = {**request, "messages": [{"role": "user", "content": "What is my card?"}]}
        told = await gateway.client.put("/v1/cache/entries", json={"request": clean, "response": telling})
        again = {"model": "m", "input": "And now?", "previous_response_id": first.json()["id"]}
        continued = await gateway.client.post("/v1/responses", json=again, headers={"authorization": "Bearer sk-me"})
        shown = await gateway.client.get("/admin/api/requests")

        assert (put.json()["kept"], put.json()["reason"]) == (False, "redacted")
        assert (told.json()["kept"], told.json()["reason"]) == (False, "redacted")
        assert continued.json()["error"]["param"] == "previous_response_id"
        assert SECRET not in shown.text
        assert (await gateway.chat("Is this a card?")).headers["x-twicetold-tier"] == "full"
        assert (await gateway.chat("Is this a card?")).headers["x-twicetold-tier"] == "exact"
    assert places_of(SECRET, tmp_path) == []
