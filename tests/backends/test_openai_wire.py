"""OpenAI's JSON and its dialects, without a server."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from backends.chat import ChatRequest, Delta, Usage, collect
from backends.errors import BackendBusy, BackendError, BackendGarbage, RequestRejected, UpstreamBilling
from backends.openai_wire import StreamReader, error_from_reply, parse_completion, request_body, retry_after_s
from gateway.errors import retry_headers

USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


def read(*chunks: dict[str, Any]) -> list[Delta]:
    reader = StreamReader("upstream")
    return [delta for chunk in chunks for delta in reader.read(orjson.dumps(chunk))]


def test_the_envelope_stays_behind_but_for_the_model_and_what_the_provider_added() -> None:
    chunk = {"id": "1", "object": "x", "created": 1, "model": "m", "obfuscation": "aX", "system_fingerprint": None}

    assert read({**chunk, "choices": [{"index": 0, "delta": {"content": "a"}}], "provider": "p"}) == [
        Delta(0, {"content": "a"}, extra={"model": "m", "provider": "p"})
    ]


@pytest.mark.parametrize(
    ("chunk", "deltas"),
    [
        ({"choices": [], "usage": USAGE}, [Delta(usage=Usage(3, 1))]),
        ({"usage": USAGE}, [Delta(usage=Usage(3, 1))]),
        ({"choices": []}, []),
        ({"choices": [], "prompt_filter_results": [1]}, [Delta(extra={"prompt_filter_results": [1]})]),
        ({"choices": [{"delta": None, "finish_reason": "stop"}]}, [Delta(finish_reason="stop")]),
        ({"choices": [{"delta": {"content": "a"}, "finish_reason": ""}]}, [Delta(0, {"content": "a"})]),
        (
            {"choices": [{"index": 1, "delta": {"content": "a"}}, {"index": 0, "delta": {}}], "usage": USAGE},
            [Delta(1, {"content": "a"}), Delta(0), Delta(usage=Usage(3, 1))],
        ),
    ],
)
def test_a_chunk_is_read(chunk: dict[str, Any], deltas: list[Delta]) -> None:
    assert read(chunk) == deltas


ODD_MESSAGES: list[dict[str, Any]] = [
    {"content": 5},
    {"content": ["a"]},
    {"content": {"a": 1}},
    {"content": "a", "role": 1},
    {"refusal": ["no"]},
    {"reasoning_content": {"a": 1}},
    {"tool_calls": [{"index": 0, "function": "f"}]},
    {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}]},
]


@pytest.mark.parametrize(
    "wire",
    [
        {"choices": [{"delta": "text", "message": "text"}]},
        {"choices": [{"delta": {"tool_calls": ["f"]}, "message": {"tool_calls": ["f"]}}]},
        {"choices": [{"delta": {"tool_calls": {}}, "message": {"tool_calls": {}}}]},
        {"choices": ["text"]},
        *({"choices": [{"delta": said, "message": said, "finish_reason": "stop"}]} for said in ODD_MESSAGES),
        {"choices": [{"delta": {"content": "a"}, "message": {"content": "a"}, "finish_reason": 7}]},
        {"choices": [{"delta": {}, "message": {}}], "usage": [1]},
        {"choices": [{"delta": {}, "message": {}}], "usage": {"prompt_tokens": "many"}},
        {"choices": "text"},
        {"choices": 5, "usage": {"prompt_tokens": 3}},
        {},
    ],
)
def test_what_is_not_an_answer_is_garbage(wire: dict[str, Any]) -> None:
    with pytest.raises(BackendGarbage):
        read(wire)
    with pytest.raises(BackendGarbage):
        parse_completion(orjson.dumps(wire), "upstream")


def test_an_answer_in_parts_is_read() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]
    wire = {"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}

    assert parse_completion(orjson.dumps(wire), "upstream").choices[0].message["content"] == parts


def test_no_more_was_cached_than_was_asked() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 99}}
    wire = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": usage}
    counted = parse_completion(orjson.dumps(wire), "upstream").usage

    assert counted.cached_tokens == counted.to_wire()["prompt_tokens_details"]["cached_tokens"] == 10


def test_choices_of_a_whole_answer_are_put_in_order() -> None:
    wire = {"choices": [{"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (1, 0)]}

    assert [c.message["content"] for c in parse_completion(orjson.dumps(wire), "upstream").choices] == ["0", "1"]


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error": {"message": "m", "code": "c", "param": 3}}', "m", "c"),
        (b'{"error": {"message": "m", "code": 400}}', "m", "invalid_request"),
        (b'{"object": "error", "message": "m", "type": "BadRequestError", "code": 400}', "m", "invalid_request"),
        (b'{"error": "m"}', "m", "invalid_request"),
        (b'[{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}]', "m", "invalid_request"),
        (b'{"detail": "m"}', "upstream refused the request (status 400)", "invalid_request"),
        (b"[]", "upstream refused the request (status 400)", "invalid_request"),
        (b"\xff", "upstream refused the request (status 400)", "invalid_request"),
    ],
)
def test_every_servers_error_object_is_read(body: bytes, message: str, code: str) -> None:
    error = error_from_reply(400, {}, body, "upstream")

    assert isinstance(error, RequestRejected)
    assert (error.message, error.code) == (message, code)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"detail": "Not Found"}', BackendGarbage),
        (404, b'{"error": "model not found"}', RequestRejected),
        (402, b'{"error": {"message": "secret account", "code": "402"}}', UpstreamBilling),
        (429, b'{"error": {"message": "m", "code": "insufficient_quota", "type": "x"}}', UpstreamBilling),
        (529, b'{"error": {"message": "m"}}', BackendBusy),
        (500, b'{"error": {"message": "secret trace"}}', BackendError),
        (204, b"", BackendGarbage),
    ],
)
def test_a_status_means_one_thing(status: int, body: bytes, kind: type) -> None:
    error = error_from_reply(status, {}, body, "upstream")

    assert type(error) is kind
    assert "secret" not in error.message


def test_who_is_refused_for_now_hears_when_to_come_back_though_the_server_does_not_say() -> None:
    said = [error_from_reply(status, {"retry-after": "soon"}, b"no", "upstream") for status in (429, 503)]

    assert [(error.status, error.code) for error in said] == [(429, "rate_limit_exceeded"), (502, "backend_error")]
    assert [dict(retry_headers(error)) for error in said] == [{b"retry-after": b"1"}] * 2


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Fri, 06 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 06 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, 3600.0),
        ({"retry-after": "Sat, 06 Nov 2027 10:00:00 GMT"}, 3600.0),
    ],
)
def test_a_wait_is_read_in_every_spelling(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, datetime(2026, 11, 6, 10, tzinfo=UTC)) == wait_s


def predicted(*, predicts: bool = True, **params: Any) -> Any:
    """What is sent as a prediction for a request with a near answer."""
    request = ChatRequest("m", ({"role": "user", "content": "hi"},), params, near_answer="Hello.")
    return orjson.loads(request_body(request, predicts=predicts)).get("prediction")


def test_a_near_answer_is_a_prediction_where_the_operator_says_so() -> None:
    assert predicted() == {"type": "content", "content": "Hello."}
    assert predicted(predicts=False) is None
    assert "prediction" not in orjson.loads(request_body(ChatRequest("m", ()), predicts=True))


@pytest.mark.parametrize(
    "params",
    [
        {"n": 2},
        {"logprobs": True},
        {"presence_penalty": 0.5},
        {"frequency_penalty": 1},
        {"tools": [{"type": "function"}]},
        {"max_completion_tokens": 9},
        {"audio": {"voice": "x"}},
        {"modalities": ["text", "audio"]},
    ],
)
def test_no_prediction_is_sent_beside_a_field_that_openai_refuses_with_one(params: dict[str, Any]) -> None:
    assert predicted(**params) is None


def test_fields_that_say_nothing_do_not_keep_a_prediction_back() -> None:
    given: dict[str, Any] = {
        "n": 1,
        "logprobs": False,
        "presence_penalty": -1,
        "frequency_penalty": 0,
        "tools": [],
        "temperature": 0,
    }

    assert predicted(**given, modalities=["text"]) == {"type": "content", "content": "Hello."}


def test_a_callers_own_prediction_goes_along_untouched() -> None:
    own = {"type": "content", "content": "Mine."}

    assert predicted(prediction=own) == predicted(predicts=False, prediction=own) == own


def calls_of(*pieces: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls that are collected when the pieces come one by one."""
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]
    calls: list[dict[str, Any]] = collect(read(*chunks)).choices[0].message["tool_calls"]
    return calls


def piece(arguments: str, index: int | None = 0, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"index": index, "function": {**name, "arguments": arguments}, **more}


def test_calls_that_all_claim_the_first_place_stay_apart() -> None:
    calls = calls_of(
        piece('{"a":', id="one", name="f"),
        piece("1}"),
        piece("{}", id="two", name="f"),
        piece('{"b":', id="three", name="g"),
        piece("2}", id="three", name="g"),
    )

    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [
        ("one", '{"a":1}'),
        ("two", "{}"),
        ("three", '{"b":2}'),
    ]


def test_calls_that_are_numbered_keep_their_numbers() -> None:
    calls = calls_of(
        piece("{", id="one", name="f"), piece("[", 1, id="two", name="f"), piece("}"), piece("]", 1), piece("x", None)
    )

    assert [call["function"]["arguments"] for call in calls] == ["{}", "[]", "x"]
