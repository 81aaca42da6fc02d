"""What a conversation will begin with next time: its tokens up to where words nobody knows yet begin.

Rendered by the model's own template with a message of its caller's in place of the next one, so that whatever the
template does to the past (thoughts cut off, whitespace trimmed) is done. Two different messages are tried, and what the
two renderings share is what any message will share: where a word ends and how tokens merge need not be known.
"""

from collections.abc import Sequence
from typing import Any

from backends.chat import Delta, Fields, collect
from backends.errors import RequestRejected
from backends.local.speech.tokenizer import ChatTokenizer

NEXT = ("a", "1")  # no token begins with both
CALLERS = ("user", "tool")  # who speaks before the assistant does


def shared_beginning(tokenizer: ChatTokenizer, messages: Sequence[Fields], tools: Sequence[Fields]) -> list[int]:
    """The tokens every chat has that goes on from `messages`; empty when the template knows no such chat."""
    try:
        one, other = (
            tokenizer.encode_chat([*messages, _next_message(messages[-1], words)], tools) if messages else []
            for words in NEXT
        )
    except RequestRejected:
        return []
    num_shared = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return one[:num_shared]


def to_warm(tokenizer: ChatTokenizer, messages: Sequence[Fields], tools: Sequence[Fields]) -> list[int]:
    """The tokens of messages that wait for an answer, or of those that wait for the caller to go on."""
    if messages and messages[-1].get("role") not in CALLERS:
        beginning = shared_beginning(tokenizer, messages, tools)
        if beginning:
            return beginning
    return tokenizer.encode_chat(messages, tools)


def after_answer(
    tokenizer: ChatTokenizer, messages: Sequence[Fields], tools: Sequence[Fields], deltas: Sequence[Delta]
) -> list[int]:
    """The tokens the next turn begins with, once the answer is in the history as its caller will send it back."""
    answers = collect(deltas).choices
    if not answers:
        return []
    message = {key: value for key, value in answers[0].message.items() if key != "reasoning_content"}
    return shared_beginning(tokenizer, [*messages, message], tools)


def _next_message(last: Fields, words: str) -> dict[str, Any]:
    calls = last.get("tool_calls")
    if last.get("role") == "assistant" and calls:
        return {"role": "tool", "tool_call_id": calls[0].get("id", ""), "content": words}
    return {"role": "user", "content": words}
