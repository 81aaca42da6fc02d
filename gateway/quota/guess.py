"""What a request will use, guessed before anybody has counted its tokens. Pure, and made for limited callers only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.chat import ChatRequest

BYTES_A_TOKEN = 4
IMAGE_TOKENS = 255  # what is shown, not said
ANSWER_TOKENS = 256  # of a request that names no most
MOST_ANSWER_TOKENS = 32_768  # of each choice: a most is often named that no answer comes near


@dataclass(frozen=True, slots=True)
class Guess:
    """Of one request."""

    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


def guess_of(*requests: ChatRequest) -> Guess:
    """What requests of one body will use, before their answers are known."""
    prompt = sum(_tokens(request.messages) for request in requests)
    return Guess(requests[0].model, prompt, sum(map(_answer, requests)))


def guess_of_texts(model: str, texts: Sequence[Any]) -> Guess:
    """Of a request for vectors."""
    return Guess(model, sum(_tokens(text) for text in texts))


def _answer(request: ChatRequest) -> int:
    params = request.params
    most = params.get("max_completion_tokens") or params.get("max_tokens") or ANSWER_TOKENS
    choices = params.get("n") or 1
    if not isinstance(most, int) or not isinstance(choices, int):
        return ANSWER_TOKENS
    return min(max(0, most), MOST_ANSWER_TOKENS) * max(1, choices)


def _tokens(value: Any) -> int:
    """Of texts, and lists and objects of them."""
    if isinstance(value, str):
        return 1 + len(value.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN
    if isinstance(value, Mapping):
        if value.get("type") in ("image_url", "input_image", "image", "input_audio", "file", "document"):
            return IMAGE_TOKENS
        return sum(map(_tokens, value.values()))
    if isinstance(value, list | tuple):
        if set(map(type, value)) <= {int}:
            return len(value)
        return sum(map(_tokens, value))
    return 1 if isinstance(value, int) else 0
