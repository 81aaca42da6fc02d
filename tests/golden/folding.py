"""A stream put together again, by each API's own rules and without the gateway's code."""

from typing import Any

import httpx
import orjson

Json = Any


def events(response: httpx.Response) -> list[Json]:
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [orjson.loads(line) for line in lines if line != "[DONE]"]


def folded(shape: str, response: httpx.Response) -> Json:
    """The whole answer that a stream spells."""
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    return {"chat": _chat, "completions": _completion, "responses": _response, "messages": _message}[shape](
        events(response)
    )


def _chat(chunks: list[Json]) -> Json:
    choices: dict[int, Json] = {}
    for piece in (choice for chunk in chunks for choice in chunk["choices"]):
        empty = {"index": piece["index"], "message": {}, "logprobs": None, "finish_reason": None}
        whole = choices.setdefault(piece["index"], empty)
        _grow(whole["message"], piece["delta"])
        whole["finish_reason"] = piece["finish_reason"] or whole["finish_reason"]
        _add_logprobs(whole, piece["logprobs"])
    for choice in choices.values():
        calls = choice["message"].get("tool_calls")
        if calls:
            choice["message"]["tool_calls"] = [calls[number] for number in sorted(calls)]
        choice["message"].setdefault("content", None)
    head = {**chunks[0], "object": "chat.completion", "usage": chunks[-1]["usage"]}
    return {**head, "choices": [choices[index] for index in sorted(choices)]}


def _grow(message: Json, piece: Json) -> None:
    for name, value in piece.items():
        if name == "tool_calls":
            for call in value:
                number = call["index"]
                _grow_call(message.setdefault(name, {}).setdefault(number, {}), call)
        elif name == "role" or not isinstance(value, str):
            message[name] = value
        else:
            message[name] = (message.get(name) or "") + value


def _grow_call(whole: Json, piece: Json) -> None:
    whole |= {name: value for name, value in piece.items() if name not in ("index", "function")}
    function = whole.setdefault("function", {"arguments": ""})
    said = piece.get("function", {})
    function |= {name: value for name, value in said.items() if name != "arguments"}
    function["arguments"] += said.get("arguments", "")


def _add_logprobs(whole: Json, logprobs: Json) -> None:
    if logprobs is None:
        return
    if whole["logprobs"] is None:
        whole["logprobs"] = {
            name: list(value) if isinstance(value, list) else value for name, value in logprobs.items()
        }
        return
    for name, value in logprobs.items():
        if isinstance(value, list):
            whole["logprobs"][name] += value


def _completion(chunks: list[Json]) -> Json:
    choices: dict[int, Json] = {}
    for piece in (choice for chunk in chunks for choice in chunk["choices"]):
        empty = {"index": piece["index"], "text": "", "logprobs": None, "finish_reason": None}
        whole = choices.setdefault(piece["index"], empty)
        whole["text"] += piece["text"]
        whole["finish_reason"] = piece["finish_reason"] or whole["finish_reason"]
        _add_logprobs(whole, piece["logprobs"])
    return {**chunks[0], "choices": [choices[index] for index in sorted(choices)], "usage": chunks[-1]["usage"]}


def _response(sent: list[Json]) -> Json:
    """The response at the end; what its events said on the way must be the same."""
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    output: dict[int, Json] = {}
    for event in sent:
        place = output.get(event.get("output_index", -1), {})
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            output[event["output_index"]] = event["item"]
        elif kind == "output_item.done":
            assert {**place, "status": event["item"]["status"]} == event["item"]
            output[event["output_index"]] = event["item"]
        elif kind == "content_part.added":
            assert event["content_index"] == len(place["content"])
            place["content"].append(event["part"])
        elif kind == "content_part.done":
            assert place["content"][event["content_index"]] == event["part"]
        elif kind in ("output_text.delta", "reasoning_text.delta", "refusal.delta"):
            part = place["content"][event["content_index"]]
            part["refusal" if kind == "refusal.delta" else "text"] += event["delta"]
            part.get("logprobs", []).extend(event.get("logprobs", []))
        elif kind == "output_text.annotation.added":
            place["content"][event["content_index"]]["annotations"].append(event["annotation"])
        elif kind == "function_call_arguments.delta":
            place["arguments"] += event["delta"]
        elif kind == "function_call_arguments.done":
            assert place["arguments"] == event["arguments"]
    final = sent[-1]["response"]
    assert final["output"] == [output[index] for index in sorted(output)]
    return final


def _message(sent: list[Json]) -> Json:
    whole: Json = {}
    for event in sent:
        if event["type"] == "message_start":
            whole = event["message"]
        elif event["type"] == "content_block_start":
            assert event["index"] == len(whole["content"])
            whole["content"].append(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, piece = whole["content"][event["index"]], event["delta"]
            name = {"input_json_delta": "partial_json", "text_delta": "text"}.get(piece["type"], piece["type"][:-6])
            block[name] = block.get(name, "") + piece[name]
        elif event["type"] == "message_delta":
            whole = {**whole, **event["delta"], "usage": {**whole["usage"], **event["usage"]}}
    for block in whole["content"]:
        if (said := block.pop("partial_json", None)) is not None:
            block["input"] = orjson.loads(said or "{}")
    return whole
