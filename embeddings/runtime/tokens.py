"""Texts to tokens by tokenizers' own fast tokenizer: about 0.03 ms for a question, and any thread may ask."""

from dataclasses import dataclass
from typing import Any, Self

from embeddings.base import EmbedderError


@dataclass(frozen=True, slots=True)
class Tokenized:
    """What a model is given of one text: the ids, and where those lie that stand for a piece of it."""

    ids: list[int]
    pieces: tuple[str, ...]
    places: list[int]  # of the pieces among the ids


class Tokens:
    """A model's tokenizer, one of our own: the library changes its with every call, and threads share this one."""

    def __init__(self, fast: Any, max_tokens: int, marks: set[int], unknown: int | None) -> None:
        fast.no_padding()
        fast.no_truncation()
        self.max_tokens = max_tokens
        self._fast = fast
        self._marks = marks
        self._unknown = unknown
        around = fast.encode("a").special_tokens_mask  # 1 for the marks a model puts at both ends
        self._num_behind = around[::-1].index(0)

    @classmethod
    def of(cls, tokenizer: Any, max_tokens: int) -> Self:
        """Those of a tokenizer of transformers. Raises `EmbedderError`."""
        fast = getattr(tokenizer, "backend_tokenizer", None)
        if fast is None:
            raise EmbedderError(f"{type(tokenizer).__name__} has no fast form to count tokens with")
        marks = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
        known = {number for number in marks if number is not None}
        return cls(type(fast).from_str(fast.to_str()), max_tokens, known, tokenizer.unk_token_id)

    def to_str(self) -> str:
        """Everything that decides how a text is cut into tokens."""
        serialised: str = self._fast.to_str()
        return serialised

    def encode(self, said: str) -> Tokenized:
        """The tokens of a text as a model sees it, no more than its window."""
        ids: list[int] = self._fast.encode(said).ids
        if len(ids) > self.max_tokens:
            kept = self.max_tokens - self._num_behind
            ids = ids[:kept] + ids[len(ids) - self._num_behind :]
        return self.name(ids)

    def name(self, ids: list[int]) -> Tokenized:
        """The pieces among some ids: all but the marks a model puts at both ends."""
        places = [place for place, number in enumerate(ids) if number not in self._marks]
        return Tokenized(ids, tuple(self._fast.id_to_token(ids[place]) for place in places), places)

    def fits(self, said: str) -> bool:
        """Whether a model sees the whole text: not too long, and no letter or digit unknown to it."""
        encoding = self._fast.encode(said)
        ids: list[int] = encoding.ids  # not the names: a unigram model names an unknown token by its text
        if len(ids) > self.max_tokens:
            return False
        if self._unknown not in ids:
            return True
        spans = zip(ids, encoding.offsets, strict=True)
        return not any(number == self._unknown and _is_word(said[start:end]) for number, (start, end) in spans)


def _is_word(piece: str) -> bool:
    return any(char.isalnum() for char in piece)
