"""Texts to tokens by tokenizers' own fast tokenizer: about 0.03 ms for a question, and any thread may ask."""

from dataclasses import dataclass
from typing import Any

from embeddings.base import EmbedderError


@dataclass(frozen=True, slots=True)
class Tokenized:
    """What a model is given of one text: the ids, and where those lie that stand for a piece of it."""

    ids: list[int]
    pieces: tuple[str, ...]
    places: list[int]  # of the pieces among the ids


class Tokens:
    """The tokenizer of a model, twice: one that cuts at the model's window, and one that does not.

    Both are copies: the model's own is changed by every call of its library and may not be shared between threads.
    """

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        fast = getattr(tokenizer, "backend_tokenizer", None)
        if fast is None:
            raise EmbedderError(f"{type(tokenizer).__name__} has no fast form to count tokens with")
        self.max_tokens = max_tokens
        self._whole, self._cut = (type(fast).from_str(fast.to_str()) for _ in range(2))
        for copy in (self._whole, self._cut):
            copy.no_padding()
        self._whole.no_truncation()
        self._cut.enable_truncation(max_tokens)
        marks = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
        self._marks = {number for number in marks if number is not None}
        self._unknown = tokenizer.unk_token_id

    def to_str(self) -> str:
        """Everything that decides how a text is cut into tokens."""
        serialised: str = self._whole.to_str()
        return serialised

    def encode(self, said: str) -> Tokenized:
        """The tokens of a text as a model sees it, no more than its window."""
        encoding = self._cut.encode(said)
        return self.name(encoding.ids)

    def name(self, ids: list[int]) -> Tokenized:
        """The pieces among some ids: all but the marks a model puts at both ends."""
        places = [place for place, number in enumerate(ids) if number not in self._marks]
        return Tokenized(ids, tuple(self._whole.id_to_token(ids[place]) for place in places), places)

    def fits(self, said: str) -> bool:
        """Whether a model sees the whole text: not too long, and no letter or digit unknown to it."""
        encoding = self._whole.encode(said)
        ids: list[int] = encoding.ids  # not the names: a unigram model names an unknown token by its text
        if len(ids) > self.max_tokens:
            return False
        if self._unknown not in ids:
            return True
        spans = zip(ids, encoding.offsets, strict=True)
        return not any(number == self._unknown and _is_word(said[start:end]) for number, (start, end) in spans)


def _is_word(piece: str) -> bool:
    return any(char.isalnum() for char in piece)
