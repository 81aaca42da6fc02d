"""What each rule takes out of the prompts that programs really send, and what it leaves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.normalise.clock import Coarse
from gateway.normalise.route import PLAIN, every_rule
from gateway.normalise.text import take_out

CLAUDE_CODE = "x-anthropic-billing-header: cc_version=2.1.37.0d9; cc_entrypoint=cli; cch=fa690;"


def without(text: str, *names: str, to: Coarse = "day") -> str:
    rules = every_rule(to)
    left, _ = take_out(text, [rules[name] for name in names])
    return left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{CLAUDE_CODE}\nYou are Claude Code.", "You are Claude Code."),
        (f"{CLAUDE_CODE}You are Claude Code.", "You are Claude Code."),  # joined without a line break
        ("Model: x; cch=beef; done", "Model: x;  done"),
        ("Say cch=beef when done.", None),
        ("The field x-anthropic-billing-header holds cache=12ab.", None),
        ("batch=cafe pitcch=beef cch=xyz", None),
    ],
)
def test_a_nonce_of_a_coding_agent_leaves_no_trace(text: str, left: str | None) -> None:
    assert without(text, "agent_nonces") == (text if left is None else left)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            "Current date and time: Tuesday, June 9, 2026, 03:04:20 PM +03:00",
            "Tuesday, June 9, 2026, xx:xx +03:00",
        ),  # pi
        (
            "The current date and time is: 2026-06-11T00:44:42.714237\n</CURRENT_DATETIME>",
            "2026-06-11Txx:xx\n</CURRENT_DATETIME>",
        ),
        ("The current date and time is Thursday, September 17, 2026 3:04 PM.", "Thursday, September 17, 2026 xx:xx."),
        (
            "## Current Date & Time\nSunday, February 2, 2026, 6:47 PM (America/Los_Angeles)",
            "2, 2026, xx:xx (America/Los_Angeles)",
        ),
        ("<current_datetime>2026-06-11T00:44:42Z</current_datetime>", "2026-06-11Txx:xxZ</current_datetime>"),
        (
            "Current Time: 2026-07-07 06:39:45, Tuesday; timezone: Asia/Jerusalem",
            "2026-07-07 xx:xx, Tuesday; timezone: Asia/Jerusalem",
        ),
        (
            "# Current Time\n1/7/2025, 3:04:05 PM (America/New_York, UTC-5:00)",
            "1/7/2025, xx:xx (America/New_York, UTC-5:00)",
        ),
        ("Current time: 10:31 (UTC 08:31)", "xx:xx (UTC xx:xx)"),
        ("Today is 2026-11-21, 10:31:00 UTC", "2026-11-21, xx:xx UTC"),
        ("Current time in ISO 8601 UTC format: 2025-05-05T12:24:37.871Z", "UTC format: 2025-05-05Txx:xxZ"),  # Roo Code
        ("The current date and time (UTC): 2026-06-09 15:04", "2026-06-09 xx:xx"),
        ('{"current_datetime": "2026-06-09T15:04:20"}', '"2026-06-09Txx:xx"}'),
        ("System time: 2026-06-09T15:04:20+00:00", "2026-06-09Txx:xx+00:00"),  # LangGraph
        ("Current timestamp (ms): 1718000000123", "2024-06-10Txx:xxZ"),
        ("Current timestamp: 1718000000", "2024-06-10Txx:xxZ"),
        ("当前时间：2026年6月9日 15:04:20", "2026年6月9日 xx:xx"),
        ("现在是2026年6月9日15时04分20秒", "2026年6月9日xx:xx"),
    ],
)
def test_a_current_time_becomes_its_day(text: str, left: str) -> None:
    assert without(text, "clock").endswith(left)
    assert without(text, "clock")[:8] == text[:8]


@pytest.mark.parametrize(
    "text",
    [
        "Today: 09:00 opening, 10:00 talk.",
        "The meeting is today at 18:00. The current time limit is 10:30.",
        "Current time slots: 10:00, 11:00.",
        "The server went down at 2026-06-11T00:44:42Z.",  # no current time: `timestamps` is for these
        "Current date: 2026-11-21",
        "Odds are currently 10:30. See John 3:16 and port 8080:8420.",
    ],
)
def test_a_time_that_is_not_the_current_one_stays(text: str) -> None:
    assert without(text, "clock") == text


def test_a_clock_can_be_kept_by_the_hour_or_the_minute() -> None:
    text = "Current time: 2026-06-09 03:04:20 PM"
    assert without(text, "clock", to="hour") == "Current time: 2026-06-09 03:xx PM"
    assert without(text, "clock", to="minute") == "Current time: 2026-06-09 03:04 PM"


def test_dates_go_by_a_rule_of_their_own() -> None:
    text = "Today's date is Tuesday, June 9, 2026. Founded on 2001-01-01."
    assert without(text, *PLAIN, "clock") == text
    assert without(text, "dates") == "Today's date is (not told). Founded on 2001-01-01."


def test_a_moment_goes_where_the_operator_says_so_and_is_the_only_one() -> None:
    two = "A 2026-06-11T09:00:00Z, B 2026-06-11T10:00:00Z"
    assert without(two, "timestamps") == two
    assert without("down at 2026-06-11T00:44:42Z", "timestamps") == "down at 2026-06-11Txx:xxZ"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("request_id: req_8f3a9c2b11.", "request_id: (id)."),
        ('{"traceId": "4bf92f3577b34da6"}', '{"traceId": "(id)"}'),
        ("x-request-id=48af31a2b0 nonce: 77aa77aa", "x-request-id=(id) nonce: (id)"),
        (
            "[INFO] request_id=48af31a2b0 | trace_id=4bf92f3577b34da6 | ok=1",
            "[INFO] request_id=(id) | trace_id=(id) | ok=1",
        ),
        ("request id: latest; requested: 4bf92f3577b34da6; grid: 123456789", None),
        ("session_id: 4bf92f3577b34da6", None),
        ("transaction_id: TX100001", None),  # what a prompt is about
        ("event_id: 4bf92f3577b34da6\nmessage_id: 4bf92f3577b34da6\ncustomer_id: 4bf92f3577b34da6", None),
        ("The refund for request_id: 4bf92f3577b34da6 is due.", None),  # somebody speaks of it
        ("request_id: 4bf92f3577b34da6 was refunded", None),
        ("request_id: 48213371\ntrace_id: req-TX100001", None),  # a counter
        ("request_id: alice-2024-vip", None),  # somebody made it up
    ],
)
def test_ids_of_requests_go_where_they_stand_alone_under_their_names(text: str, left: str | None) -> None:
    assert without(text, "request_ids") == (text if left is None else left)


def test_ids_of_sessions_and_uuids_have_rules_of_their_own() -> None:
    uuid = "019e95f9-b891-7752-9fc1-cbb130bf26b0"
    assert without(f"Conversation ID is 4821f3371.\n{uuid}", "session_ids") == f"Conversation ID is (id).\n{uuid}"
    assert without(f'{{"traceId": "{uuid}"}}\na{uuid}', "uuids") == f'{{"traceId": "(id)"}}\na{uuid}'
    for named in (f"Customer: {uuid}", f"- Bob {uuid}", uuid, f"The request_id: {uuid} failed"):
        assert without(named, "uuids") == named


PIECES = st.one_of(
    st.sampled_from(
        [
            CLAUDE_CODE, "cch=fa69", "cch=", "Current time: ", "today is ", "2026-06-09", "T", " ", "10:31", ":05",
            "xx:xx", " PM", "1718000000", "request_id: ", "req_8f3a9c2b", '"sessionId":"', "(id)", "June 9, ", "\n",
            "019e95f9-b891-7752-9fc1-cbb130bf26b0", "当前时间：", "年", "15时04分", "(not told)", "İ", "é",
        ]
    ),
    st.text(max_size=6),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["day", "hour", "minute"]))
def test_what_is_left_is_left_alone_the_second_time(text: str, to: Coarse) -> None:
    rules = list(every_rule(to).values())
    left, cuts = take_out(text, rules)
    assert take_out(left, rules) == (left, ())
    assert (left == text) == (not cuts)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["day", "hour", "minute"]))
def test_what_was_taken_out_can_be_put_back(text: str, to: Coarse) -> None:
    """So nothing else was touched: two texts with the same rest and the same cuts are the same text."""
    for rule in every_rule(to).values():
        left, cuts = take_out(text, [rule])
        if len(list(rule(text))) == len(cuts):  # one pass
            for cut in reversed(cuts):
                assert left[cut.at : cut.at + len(cut.to)] == cut.to
                left = left[: cut.at] + cut.text + left[cut.at + len(cut.to) :]
            assert left == text
