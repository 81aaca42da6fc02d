"""Prompts of an exact number of tokens, whatever the template adds: random words that are one token each."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends.local.speech.tokenizer import ChatTokenizer

Messages = list[dict[str, str]]
_WORDS = (
    "the of to and is in for that it are on with as this be by an not can from at you more when has one its was all "
    "but same new if how use will what no they first which cache model request token answer prompt memory key"
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat, and its token ids as the engine will see them."""

    messages: Messages
    token_ids: list[int]


class Prompts:
    """Makes chats for the model in `path`."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = ChatTokenizer(path)
        blank = len(self.encode([_user("is")]))
        self._words = [word for word in _WORDS.split() if len(self.encode([_user(f"is {word}")])) == blank + 1]
        assert len(self._words) > 10, self._words

    def encode(self, messages: Messages) -> list[int]:
        return self._tokenizer.encode_chat(messages)

    def count(self, text: str) -> int:
        """How many tokens a text has, at least one."""
        return max(1, len(self._tokenizer.encode(text)))

    def prefix(self, num_tokens: int, seed: object) -> str:
        """A system prompt; a chat with it begins with `num_tokens` tokens that do not depend on the question."""
        return self._fit(seed, lambda text: self._shared(text) - num_tokens)

    def ask(self, system: str, num_tokens: int, seed: object) -> Prompt:
        """A question after `system`; the chat has `num_tokens` tokens in all."""
        return self.extend([{"role": "system", "content": system}], num_tokens, seed)

    def extend(self, history: Messages, num_tokens: int, seed: object) -> Prompt:
        """One more question; the chat has `num_tokens` tokens in all."""
        text = self._fit(seed, lambda text: len(self.encode([*history, _user(text)])) - num_tokens)
        messages = [*history, _user(text)]
        return Prompt(messages, self.encode(messages))

    def plain(self, num_tokens: int, seed: object) -> Prompt:
        """A single question of `num_tokens` tokens in all."""
        return self.extend([], num_tokens, seed)

    def _shared(self, system: str) -> int:
        chats = [self.encode([{"role": "system", "content": system}, _user(word)]) for word in self._words[:2]]
        return common(*chats)

    def _fit(self, seed: object, excess: Callable[[str], int]) -> str:
        """Random words, as many as make `excess` zero."""
        rng = random.Random(str(seed))
        words: list[str] = []
        while over := excess(" ".join(words)):
            if over > 0:
                assert len(words) > over, f"not even without words: {over} tokens too many"
                del words[-over:]
            else:
                words += rng.choices(self._words, k=-over)
        return " ".join(words)


def common(one: list[int], other: list[int]) -> int:
    """How many tokens two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}
