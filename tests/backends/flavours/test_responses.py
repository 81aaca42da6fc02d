"""A streamed response says everything several times: it is passed on as it was said, and kept where it agrees."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from backends.chat import Completion, Delta, collect
from backends.errors import BackendGarbage
from backends.flavours.responses import CONTRADICTED, EVENT, ResponseReader
from gateway.policy import refuse_to_keep

Event = dict[str, Any]
AT = {"output_index": 1, "content_index": 0}
CALL = {"output_index": 2, "item_id": "fc_1"}
OUTPUT: list[Event] = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Think."}]},
    {
        "type": "message",
        "id": "msg_1",
        "content": [{"type": "output_text", "text": "It is so."}, {"type": "refusal", "refusal": "No more."}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'},
]
SAID: list[Event] = [
    {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Think."},
    {"type": "response.output_item.done", "output_index": 0, "item": OUTPUT[0]},
    {"type": "response.output_text.delta", **AT, "delta": "It is "},
    {"type": "response.output_text.delta", **AT, "delta": "so."},
    {"type": "response.output_text.done", **AT, "text": "It is so."},
    {"type": "response.content_part.done", **AT, "part": OUTPUT[1]["content"][0]},
    {"type": "response.refusal.delta", "output_index": 1, "content_index": 1, "delta": "No more."},
    {"type": "response.output_item.done", "output_index": 1, "item": OUTPUT[1]},
    {"type": "response.function_call_arguments.delta", **CALL, "delta": '{"a"'},
    {"type": "response.function_call_arguments.delta", **CALL, "delta": ": 1}"},
    {"type": "response.function_call_arguments.done", **CALL, "arguments": '{"a": 1}'},
    {"type": "response.output_item.done", "output_index": 2, "item": OUTPUT[2]},
    {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": OUTPUT}},
]
DELTAS = [number for number, event in enumerate(SAID) if event["type"].endswith(".delta")]
DONE = [number for number, event in enumerate(SAID) if event["type"].endswith(".done")]
LAST = len(SAID) - 1


def read(events: list[Event]) -> tuple[list[Delta], Completion]:
    reader = ResponseReader("up")
    deltas = [delta for event in events for delta in reader.read(orjson.dumps(event))]
    reader.check_whole()
    return deltas, collect(deltas)


def changed(number: int, change: Callable[[Event], object]) -> list[Event]:
    events: list[Event] = orjson.loads(orjson.dumps(SAID))  # nothing in it is twice the same object
    change(events[number])
    return events


def output(event: Event) -> list[Event]:
    items: list[Event] = event["response"]["output"]
    return items


def test_what_is_said_alike_every_time_is_kept() -> None:
    _, whole = read(SAID)

    assert whole.choices[0].finish_reason == "stop"
    assert whole.text == "It is so."
    assert whole.extra[EVENT] == SAID[-1]
    assert refuse_to_keep(whole) is None


@pytest.mark.parametrize(
    "events",
    [
        [event for event in SAID if event["type"] != "response.function_call_arguments.delta"],
        [event for event in SAID if not event["type"].endswith(".done")],
        changed(LAST, lambda event: output(event).insert(0, {"type": "web_search_call", "id": "ws_1"})),
        [{name: value for name, value in event.items() if not name.endswith("_index")} for event in SAID[3:6]]
        + changed(LAST, lambda event: event["response"].update(output=[{"content": OUTPUT[1]["content"][:1]}]))[-1:],
        [*SAID[:13], SAID[12], SAID[13]],
        changed(8, lambda event: event["item"].update(content=[])),
    ],
    ids=[
        "a call at once",
        "pieces alone",
        "an item more",
        "no numbers",
        "an item ends twice, alike",
        "an item without its text",
    ],
)
def test_what_is_said_in_fewer_ways_contradicts_nothing(events: list[Event]) -> None:
    _, whole = read(events)

    assert whole.choices[0].finish_reason == "stop"
    assert len(whole.choices[0].message.get("tool_calls") or ()) <= 1


@pytest.mark.parametrize(
    "events",
    [
        *([*SAID[:number], SAID[number], *SAID[number:]] for number in DELTAS),  # a piece twice
        *([*SAID[:number], *SAID[number + 1 :]] for number in (3, 4, 9, 10)),  # a piece lost
        changed(5, lambda event: event.update(text="Else.")),
        changed(11, lambda event: event.update(arguments="{}")),
        changed(6, lambda event: event["part"].update(text="")),
        changed(12, lambda event: event["item"].update(call_id="call_2")),
        changed(12, lambda event: event["item"].update(arguments="{}")),
        [*SAID[:12], changed(12, lambda event: event["item"].update(name="g"))[12], *SAID[12:]],
        [*SAID[:5], changed(5, lambda event: event.update(text="Else."))[5], *SAID[5:]],
        changed(LAST, lambda event: event["response"].update(output=[])),
        changed(LAST, lambda event: event["response"].pop("output")),
        changed(LAST, lambda event: output(event)[1]["content"][0].update(text="so.")),
        changed(LAST, lambda event: output(event)[1]["content"][0].update(type="text")),
        changed(LAST, lambda event: output(event)[1].update(content="It is so.")),
        changed(LAST, lambda event: output(event)[1]["content"].pop()),
        changed(LAST, lambda event: output(event)[0].update(summary=[])),
        changed(LAST, lambda event: output(event)[2].update(name="g")),
        changed(LAST, lambda event: output(event)[2].update(arguments="")),
    ],
)
def test_what_contradicts_itself_is_passed_on_as_it_was_said_and_never_kept(events: list[Event]) -> None:
    deltas, whole = read(events)

    assert [delta.extra[EVENT] for delta in deltas] == events
    assert whole.choices[0].finish_reason == CONTRADICTED
    assert refuse_to_keep(whole) == "finish_contradicted"


@pytest.mark.parametrize("number", range(LAST))
@pytest.mark.parametrize("odd", [None, [], {}, -1, "x", {"text": {}}, [None]])
def test_odd_places_and_parts_are_passed_on_or_refused_in_plain_words(number: int, odd: Any) -> None:
    names = ("output_index", "content_index", "summary_index", "delta", "text", "part", "item", "arguments")
    events = changed(number, lambda event: event.update({name: odd for name in names if name in event}))
    try:
        deltas, _ = read(events)
    except BackendGarbage:
        return
    assert [delta.extra[EVENT] for delta in deltas] == events
