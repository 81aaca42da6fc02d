"""Rows of training text: a system prompt, then questions and answers one after the other, to a fixed length.

Every answer is learnt with all earlier turns in front of it, so one row of eight turns teaches a first question, a
follow-up, and a long conversation at once. Only the answers and their end token carry a label.

    <|system|> ... <|end|> <|user|> ... <|end|> <|assistant|> ... <|end|> <|user|> ...
     no label               no label             label: answer and <|end|>
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backends.local.demo.questions import DEFAULT_SYSTEM, ELSEWHERE_ANSWER, Elsewhere, Item
from backends.local.demo.wordings import OPENERS, plain, reword

NO_LABEL = -100
END, SYSTEM, USER, ASSISTANT = "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (END, SYSTEM, USER, ASSISTANT)

ELSEWHERE_SHARE = 0.16  # of the questions in a row
FOREIGN_TURN_SHARE = 0.05  # answers in the history that another model gave, not to be learnt
Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids and labels of one row, both of the same length."""

    tokens: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer; `learnt` is false for an answer that only stands in the history."""

    question: str
    answer: str
    learnt: bool = True


def question_text(question: str) -> str:
    """A question as the chat template writes it: in lower case, after a space."""
    return f" {question.lower().strip()}"


class Dialogs:
    """An endless, seeded supply of rows."""

    def __init__(self, items: Sequence[Item], elsewhere: Elsewhere, encode: Encode, rng: random.Random) -> None:
        self.items = list(items)
        self.elsewhere = elsewhere
        self.encode = encode
        self.rng = rng
        self._held_out = {plain(text) for item in items for text in item.held_out} | set(map(plain, elsewhere.held_out))
        self._deck = self._shuffled()

    def row(self, length: int, cut_share: float = 0.0) -> Row:
        """One row of exactly `length` tokens, filled with turns and padded with the end token.

        `cut_share` of the answers end after a few words. Which answer it is shows in them; the rest of a known answer
        teaches little and takes most of the time.
        """
        tokens = self._message(SYSTEM, self._system())
        labels = [NO_LABEL] * len(tokens)
        while True:
            turn_tokens, turn_labels = self._encoded(self._turn(), cut_share)
            if len(tokens) + len(turn_tokens) > length:
                break
            tokens += turn_tokens
            labels += turn_labels
        padding = length - len(tokens)
        return Row(tokens + self.encode(END) * padding, labels + [NO_LABEL] * padding)

    def _encoded(self, turn: Turn, cut_share: float) -> tuple[list[int], list[int]]:
        asked = self._message(USER, question_text(turn.question)) + self.encode(ASSISTANT)
        answered = self.encode(turn.answer) + self.encode(END)
        labels = answered if turn.learnt else [NO_LABEL] * len(answered)
        if self.rng.random() < cut_share:
            kept = self.rng.randint(4, 14)
            answered = answered[:kept] + self.encode(END)
            labels = [*labels[:kept], NO_LABEL]
        return asked + answered, [NO_LABEL] * len(asked) + labels

    def _message(self, role: str, text: str) -> list[int]:
        return self.encode(role) + self.encode(text) + self.encode(END)

    def _turn(self) -> Turn:
        if self.rng.random() < FOREIGN_TURN_SHARE:
            return Turn(self._elsewhere_question(), self._babble(30), learnt=False)
        if self.rng.random() < ELSEWHERE_SHARE:
            return Turn(self._elsewhere_question(), ELSEWHERE_ANSWER)
        item, wording = next(self._deck)
        return Turn(self._reworded(wording), item.answer)

    def _shuffled(self) -> Iterator[tuple[Item, str]]:
        """Every wording once, in another order each time round; items with few wordings come as often as others."""
        most = max(len(item.train) for item in self.items)
        while True:
            deck = [(item, item.train[i % len(item.train)]) for item in self.items for i in range(most)]
            self.rng.shuffle(deck)
            yield from deck

    def _reworded(self, wording: str) -> str:
        """Another wording, but never one that was kept for the measurement."""
        text = reword(wording, self.rng)
        return wording if plain(text) in self._held_out else text

    def _elsewhere_question(self) -> str:
        kind = self.rng.random()
        if kind < 0.45:
            return self._reworded(self.rng.choice(self.elsewhere.train))
        if kind < 0.75:
            return self._reworded(self._filled(self.rng.choice(self.elsewhere.templates)))
        if kind < 0.92:
            opener = self.rng.choice(self.rng.choice(OPENERS))
            return reword(opener.replace("{}", self._babble(3)), self.rng)
        return self._noise()

    def _filled(self, template: str) -> str:
        while "{}" in template:
            template = template.replace("{}", self.rng.choice(self.elsewhere.words), 1)
        return template

    def _babble(self, most: int) -> str:
        """Up to `most` words that have nothing to do with caching."""
        return " ".join(self.rng.choice(self.elsewhere.words) for _ in range(self.rng.randint(1, most)))

    def _noise(self) -> str:
        """Keys hit at random, or characters of another script."""
        first, last = self.rng.choice(
            ((97, 122), (97, 122), (48, 57), (0x4E00, 0x5E00), (0x430, 0x44F), (0x3041, 0x3093))
        )
        return "".join(chr(self.rng.randint(first, last)) for _ in range(self.rng.randint(3, 14)))

    def _system(self) -> str:
        kind = self.rng.random()
        if kind < 0.55:
            return DEFAULT_SYSTEM
        if kind < 0.85:
            return self.rng.choice(self.elsewhere.systems)
        return f"{self.rng.choice(self.elsewhere.systems)} {self._babble(60)}"
