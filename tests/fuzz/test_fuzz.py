"""Some cases of every target of `python -m bench.fuzz`, and what its watchers would see."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.sse import EventDecoder
from bench.fuzz import openapi
from bench.fuzz.asking import check_same, gateway, judged
from bench.fuzz.base import Case, Finding, Target, fuzz
from bench.fuzz.targets import TARGETS
from bench.fuzz.upstreams import check_whole
from bench.inprocess import Answer, ask
from gateway.controls import read_controls
from gateway.errors import InvalidRequest
from gateway.shapes.base import named_event

CASES = {"callers": 80, "admins": 80, "upstreams": 30, "rows": 4, "config": 40, "small files": 30, "snapshots": 10}
JSON_TYPE = {"content-type": "application/json"}


@pytest.mark.filterwarnings("default")  # a server that hangs up in the middle leaves sockets for the collector
@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
async def test_what_is_bad_is_refused_in_plain_words_and_never_kept(target: Target, tmp_path: Path) -> None:
    tally = await fuzz(target, CASES.get(target.name, 120), 1, tmp_path)

    assert tally.findings == []
    assert tally.cases == CASES.get(target.name, 120)


def test_what_the_openapi_document_allows_and_forbids_is_answered_in_plain_words(tmp_path: Path) -> None:
    with openapi.asking(tmp_path) as (document, call):
        outcomes = openapi.run(document, call, 2, "/v1/cache")

    assert outcomes["4xx"] > 0


async def test_two_hosts_are_refused_by_the_application_whatever_serves_it(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (app, _, _):
        answer = await ask(app, "GET", "/healthz", headers=[(b"host", b"elsewhere")])

    assert (answer.status, answer.headers["connection"]) == (400, "close")


async def test_a_case_that_hangs_or_fails_is_told_with_the_way_to_see_it_again(tmp_path: Path) -> None:
    @asynccontextmanager
    async def opened(_: Path) -> AsyncIterator[Case]:
        async def case(rng: random.Random, outcomes: Counter[str]) -> None:
            if rng.random() < 2:
                raise ZeroDivisionError
            outcomes["never"] += 1

        yield case

    tally = await fuzz(Target("t", 1, opened), 2, 5, tmp_path)

    assert tally.num_findings == 2
    assert "--targets t --seed 5 --first 1 --cases 1" in tally.findings[1]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, JSON_TYPE, b'{"error": {"message": "x", "type": "server_error", "code": "internal"}}'),
        Answer(400, JSON_TYPE, b"{}"),
        Answer(200, {**JSON_TYPE, "x-a": "b\r\nc: d"}, b"{}"),
        Answer(200, JSON_TYPE, b"Traceback (most recent call last)"),
        Answer(200, JSON_TYPE, b"{", is_whole=False),
    ],
)
def test_the_watch_sees_an_answer_that_nobody_may_be_told(answer: Answer) -> None:
    with pytest.raises(Finding):
        judged(answer, "POST /v1/chat/completions")


def test_the_watch_sees_a_copy_that_is_another_and_a_stream_without_an_end() -> None:
    stream = {"content-type": "text/event-stream"}
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
    one, other = Answer(200, stream, chunk % b"a"), Answer(200, stream, chunk % b"b")

    check_same(one, one, "")
    with pytest.raises(Finding):
        check_same(one, other, "")
    with pytest.raises(Finding):
        check_whole(one, "")


def test_the_watch_sees_pieces_that_a_copy_has_not_and_lets_pass_what_was_said_as_a_whole() -> None:
    def spoken(*pieces: str, whole: str) -> Answer:
        deltas = [{"type": "response.output_text.delta", "delta": piece} for piece in pieces]
        events = [*deltas, {"type": "response.output_text.done", "text": whole}]
        return Answer(200, {"content-type": "text/event-stream"}, b"".join(named_event(event) for event in events))

    kept = spoken("It is so.", whole="It is so.")
    for said in (spoken("It is ", "so.", whole="It is so."), spoken(whole="It is so.")):
        check_same(said, kept, "")
        check_same(kept, said, "")
    for said in (spoken("It is ", "It is ", "so.", whole="It is so."), spoken(whole="It is.")):
        with pytest.raises(Finding):
            check_same(said, kept, "")


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="latin-1"), max_size=80))
def test_any_cache_control_is_read_or_refused_by_name(header: str) -> None:
    error = None
    try:
        read_controls(header, None)
    except InvalidRequest as refused:
        error = refused

    assert error is None or error.param == "Cache-Control"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(max_size=20), max_size=5),
    st.lists(st.integers(0, 400), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_events_are_the_same_in_whatever_pieces_they_come(texts: list[str], cuts: list[int], newline: str) -> None:
    raw = b"".join(b"data: " + orjson.dumps(text) + (newline * 2).encode() for text in texts)
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    decoder, whole = EventDecoder(10_000), EventDecoder(10_000)
    pieces = [event for start, end in pairwise(places) for event in decoder.feed(raw[start:end])]

    assert pieces == list(whole.feed(raw))
