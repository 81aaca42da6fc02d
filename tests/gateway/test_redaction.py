"""What must not be kept is answered and leaves nothing behind: words of patterns, and what the operator's code says."""

from pathlib import Path
from typing import Any

import pytest

from backends.chat import ChatRequest
from gateway.controls import Controls
from gateway.redaction import KEEPS_ALL, redactor_of
from gateway.settings import SettingsError
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
