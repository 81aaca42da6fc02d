"""Vectors of texts from an upstream: OpenAI's embeddings API, asked like a chat and read as one answer. Pure.

A request whose `purpose` is `EMBEDDINGS` carries the body in `params`; its answer's message has the vectors as they
came, in the order of the inputs, as `embeddings`.
"""

from collections.abc import Mapping
from typing import Any

from backends.chat import EMBEDDINGS, ChatRequest, Choice, Completion, Usage
from backends.errors import BackendGarbage, RequestRejected
from backends.flavours.base import Api, Reader, Wishes
from backends.openai_wire import error_in_answer, parse_json, write_json


def embeddings_api() -> Api:
    """Its path follows the server's other paths."""
    return Api("", _write, _no_reader, _read)


def _write(request: ChatRequest, _wishes: Wishes) -> bytes:
    return write_json({"model": request.model, **request.params})


def _no_reader(_upstream: str, _request: ChatRequest) -> Reader:
    raise RequestRejected("Embeddings are not streamed.", param="stream")


def _read(payload: bytes, upstream: str) -> Completion:
    wire = parse_json(payload, upstream)
    if wire.get("error"):
        raise error_in_answer(wire["error"], upstream)
    data = wire.get("data")
    if not isinstance(data, list) or not all(isinstance(item, dict) and "embedding" in item for item in data):
        raise BackendGarbage(f"{upstream} sent something that is not a list of embeddings")
    places = [item.get("index") for item in data]
    if all(isinstance(place, int) for place in places):
        data = sorted(data, key=lambda item: item["index"])
    vectors = [item["embedding"] for item in data]
    told = {"model": wire["model"]} if isinstance(wire.get("model"), str) else {}
    return Completion((Choice({EMBEDDINGS: vectors}, "stop"),), _usage(wire.get("usage"), upstream), told)


def _usage(wire: Any, upstream: str) -> Usage:
    try:
        return Usage.from_wire(wire) if isinstance(wire, Mapping) else Usage()
    except (AttributeError, TypeError, ValueError) as error:
        raise BackendGarbage(f"{upstream} sent a usage that is not one") from error
