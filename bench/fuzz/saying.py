"""What servers say, in three APIs, whole and in events: good, then with something wrong in it, in a response of HTTP
that may be wrong too."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from bench.fuzz.mutate import damaged, mutated, spelled

STALLS = 0.004  # of the cases: each takes what patience there is
STATUSES = (
    b"400 Bad", b"401 No", b"404 No", b"408 Late", b"413 Big", b"422 No", b"429 Busy", b"500 Oh", b"503 Away",
    b"529 Full",    b"204 None", b"302 There", b"600 X",
)  # fmt: skip
HEADERS = (
    b"retry-after: 1", b"retry-after: x", b"retry-after: -5", b"retry-after: 1e9", b"retry-after-ms: nan",
    b"set-cookie: a=b", b"retry-after: Wed, 21 Oct 2099 07:28:00 GMT", b"x-request-id: \xff",
    b"content-encoding: gzip",
    b"x: " + b"y" * 9000,
)  # fmt: skip
_ENVELOPE = {
    "id": "chatcmpl-up",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "system_fingerprint": "fp",
}
_USAGE = {
    "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 0},
}  # fmt: skip
_CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
_REST = {"index": 0, "function": {"arguments": ": 1}"}}


def _chunk(delta: Any, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {**_ENVELOPE, "choices": [{"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}]}


def _chat(rng: random.Random, word: str) -> tuple[list[Any], Any]:
    """Chunks, and the whole of the same."""
    message: dict[str, Any] = {"role": "assistant", "content": f"It is {word}.", "refusal": None}
    chunks = [
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": "It is "}),
        _chunk({"content": f"{word}."}),
    ]
    finish = rng.choice(("stop", "stop", "stop", "length", "content_filter"))
    if rng.random() < 0.3:
        chunks.insert(1, _chunk({"reasoning_content": "Well"}))
        message["reasoning_content"] = "Well"
    if rng.random() < 0.3:
        chunks += [_chunk({"tool_calls": [_CALL]}), _chunk({"tool_calls": [_REST]})]
        message["tool_calls"] = [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        ]
        finish = "tool_calls"
    chunks += [_chunk({}, finish), {**_ENVELOPE, "choices": [], "usage": _USAGE}]
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return chunks, {**_ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": _USAGE}


def _anthropic(rng: random.Random, word: str) -> tuple[list[Any], Any]:
    stop = rng.choice(("end_turn", "end_turn", "max_tokens", "stop_sequence", "refusal"))
    usage = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 1}
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "usage": usage,
    }
    blocks: list[dict[str, Any]] = [{"type": "text", "text": f"It is {word}."}]
    if rng.random() < 0.3:
        blocks.append({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}})
        stop = "tool_use"
    events: list[Any] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(blocks):
        is_text = block["type"] == "text"
        empty = {"type": "text", "text": ""} if is_text else {**block, "input": {}}
        delta = (
            {"type": "text_delta", "text": block["text"]}
            if is_text
            else {"type": "input_json_delta", "partial_json": '{"a": 1}'}
        )
        events += [
            {"type": "content_block_start", "index": index, "content_block": empty},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    events += [{"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}, {"type": "message_stop"}]
    return events, {**message, "content": blocks, "stop_reason": stop}


def _responses(rng: random.Random, word: str) -> tuple[list[Any], Any]:
    """Events that say everything again as it ends, and the whole of the same."""
    begun = {"id": "resp_up", "object": "response", "created_at": 1, "model": "m"}
    output: list[Any] = []
    events: list[Any] = [{"type": "response.created", "response": {**begun, "status": "in_progress", "output": []}}]
    if rng.random() < 0.3:
        part = {"type": "summary_text", "text": "Well, it"}
        texts = _grown("reasoning_summary_text", "text", {"output_index": 0, "summary_index": 0}, "Well, ", "it")
        output.append({"id": "rs_1", "type": "reasoning", "summary": [part]})
        events += [*_item(0, {**output[-1], "summary": []}, texts, output[-1])]
    place = {"output_index": len(output), "item_id": "msg_1", "content_index": 0}
    content = [{"type": "output_text", "text": f"It is {word}.", "annotations": []}]
    texts = _part(place, {**content[0], "text": ""}, "output_text", "text", ("It is ", f"{word}."), content[0])
    if rng.random() < 0.1:
        content.append({"type": "refusal", "refusal": "No more."})
        empty = {"type": "refusal", "refusal": ""}
        texts += _part({**place, "content_index": 1}, empty, "refusal", "refusal", ("No ", "more."), content[1])
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
    events += _item(len(output), {**message, "content": []}, texts, message)
    output.append(message)
    if rng.random() < 0.3:
        call = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'}
        place = {"output_index": len(output), "item_id": "fc_1"}
        texts = _grown("function_call_arguments", "arguments", place, '{"a"', ": 1}")
        events += _item(len(output), {**call, "arguments": ""}, texts, call)
        output.append(call)
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "input_tokens_details": {"cached_tokens": 1}}
    response = {**begun, "status": "completed", "output": output, "usage": usage}
    events.append({"type": "response.completed", "response": response})
    return [{**event, "sequence_number": n} for n, event in enumerate(events)], response


def _item(number: int, begun: Any, texts: list[Any], whole: Any) -> list[Any]:
    added = {"type": "response.output_item.added", "output_index": number, "item": begun}
    return [added, *texts, {"type": "response.output_item.done", "output_index": number, "item": whole}]


def _part(place: Any, begun: Any, stem: str, name: str, pieces: Sequence[str], whole: Any) -> list[Any]:
    added = {"type": "response.content_part.added", **place, "part": begun}
    done = {"type": "response.content_part.done", **place, "part": whole}
    return [added, *_grown(stem, name, place, *pieces), done]


def _grown(stem: str, name: str, place: Any, *pieces: str) -> list[Any]:
    deltas = [{"type": f"response.{stem}.delta", **place, "delta": piece} for piece in pieces]
    return [*deltas, {"type": f"response.{stem}.done", **place, name: "".join(pieces)}]


def _embeddings(rng: random.Random, _: str) -> tuple[list[Any], Any]:
    rows = [{"object": "embedding", "index": n, "embedding": [rng.random(), 1]} for n in range(2)]
    return [], {"object": "list", "data": rows, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}


def _events(rng: random.Random, events: Sequence[Any], *, is_named: bool) -> bytes:
    """As an event stream, now and then with a piece missing, doubled, moved or damaged."""
    events = list(events)
    if events and rng.random() < 0.7:
        at = rng.randrange(len(events))
        match rng.randrange(6):
            case 0:
                del events[at]
            case 1:
                events.insert(at, events[at])
            case 2:
                events = events[:at]
            case 3:
                rng.shuffle(events)
            case 4:
                events.insert(
                    at, {"error": {"message": "no", "type": "server_error", "code": rng.choice((None, 500, "x"))}}
                )
            case 5:
                events[at] = mutated(rng, events[at])
    end = rng.choice((b"\n\n", b"\n\n", b"\n\n", b"\r\n\r\n", b"\r\r"))
    lines = []
    for event in events:
        data = spelled(rng, event) if rng.random() < 0.05 else orjson.dumps(event)
        named = (
            b"event: " + str(event.get("type")).encode("utf-8", "replace") + b"\n"
            if is_named and isinstance(event, dict)
            else b""
        )
        lines.append(named + b"data: " + data + end)
        if rng.random() < 0.05:
            lines.append(
                rng.choice(
                    (b": ping\n\n", b"\n", b"id: 1\n\n", b"retry: x\n\n", b"data\n\n", b"data: \n\n", b"data:x\n\n")
                )
            )
    return b"".join(lines) + (
        b"" if is_named else rng.choice((b"data: [DONE]\n\n", b"data: [DONE]\n\n", b"data: [DONE]", b""))
    )


def reply(rng: random.Random, kind: str, word: str, *, is_stream: bool) -> tuple[bytes, bool]:
    """The bytes of a whole HTTP response, and whether the connection ends behind it at once."""
    events, whole = SAYS[kind](rng, word)
    status, sort = b"200 OK", b"application/json"
    if is_stream and events:
        body, sort = _events(rng, events, is_named=kind != "chat"), b"text/event-stream"
    else:
        body = spelled(rng, mutated(rng, whole))
    if rng.random() < 0.12:
        status = rng.choice(STATUSES)
        body = spelled(rng, mutated(rng, {"error": {"message": "no", "type": "t", "param": "messages", "code": "c"}}))
        sort = b"application/json"
    if rng.random() < 0.1:
        body = damaged(rng, body)
    head = [b"HTTP/1.1 " + status, b"content-type: " + rng.choice((sort, sort, sort, b"text/html", b"x"))]
    if rng.random() < 0.15:
        head.append(rng.choice(HEADERS))
    match rng.randrange(5):
        case 0:
            head.append(b"transfer-encoding: chunked")
            body = (
                b"".join(
                    b"%x\r\n%s\r\n" % (len(body[at : at + 50]), body[at : at + 50]) for at in range(0, len(body), 50)
                )
                + b"0\r\n\r\n"
            )
        case 1:
            head.append(b"content-length: %d" % (len(body) + rng.choice((0, 0, 1, -1 if body else 0))))
        case 2:
            head.append(b"connection: close")
        case _:
            head.append(b"content-length: %d" % len(body))
    raw = b"\r\n".join([*head, b"", body])
    if rng.random() < 0.04:
        raw = damaged(rng, raw)
    return raw, rng.random() >= STALLS


SAYS: Mapping[str, Any] = {"chat": _chat, "anthropic": _anthropic, "responses": _responses, "embeddings": _embeddings}
