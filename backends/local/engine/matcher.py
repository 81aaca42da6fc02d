"""Grammars inside the engine process: compiled once on a thread of their own, then one state per sequence.

A matcher knows what was generated so far, and says which tokens may come next. It is only ever told tokens that were
chosen, never drafts, so nothing is taken back: a draft that the grammar forbids is a draft that was not chosen.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from llguidance import LLMatcher, LLTokenizer

from backends.local.speech.grammar import LIMITS

MOST_GRAMMARS = 64  # kept compiled


class GrammarError(Exception):
    """A grammar cannot be compiled, or has become too complex on the way."""


class Matcher:
    """Where one sequence stands in its grammar."""

    def __init__(self, compiling: "Future[LLMatcher]", vocab_size: int | None = None) -> None:
        """`vocab_size` is the model's: a tokenizer may know tokens that the model was never given."""
        self._compiling = compiling
        self._vocab_size = vocab_size
        self._begun: LLMatcher | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the grammar is compiled, or cannot be; until then every other method waits."""
        return self._compiling.done()

    def allowed(self, width: int) -> torch.Tensor:
        """Which of the next `width` token ids may follow, as booleans; an end token only where the text may end.

        Raises `GrammarError`.
        """
        bits = torch.frombuffer(bytearray(self._state.compute_bitmask()), dtype=torch.uint8)
        self._raise_error()
        known = (bits.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8)).bitwise_and(1).flatten().bool()[:width]
        if len(known) < width:  # rows of the model beyond the vocabulary
            known = torch.cat([known, known.new_zeros(width - len(known))])
        if not known.any():
            raise GrammarError("no token of the model can follow")
        return known

    def accept(self, token_id: int) -> None:
        """Go on behind a token that was allowed. Raises `GrammarError`."""
        self._state.consume_token(token_id)
        self._raise_error()

    def num_allowed(self, token_ids: Sequence[int]) -> int:
        """How many of `token_ids` may follow, one after the other; changes nothing."""
        return self._state.validate_tokens(list(token_ids)) if self._is_sound else 0

    def forced(self) -> list[int]:
        """The tokens that must follow, where there is no choice; empty where others would spell the same text.

        They end before one that the model does not have.
        """
        token_ids: list[int] = self._state.compute_ff_tokens() if self._is_sound else []
        size = self._vocab_size
        return list(takewhile(lambda token_id: size is None or token_id < size, token_ids))

    @property
    def _is_sound(self) -> bool:
        return self._compiling.exception() is None

    @property
    def _state(self) -> LLMatcher:
        if self._begun is None:
            self._begun = self._compiling.result().deep_copy()
        return self._begun

    def _raise_error(self) -> None:
        if self._state.is_error():
            raise GrammarError(f"the grammar failed: {self._state.get_error()[:300]}")


class Grammars:
    """Compiles grammars for one checkpoint, one at a time, and keeps the last ones used.

    The vocabulary is read at once, beside the weights: 150,000 tokens take two seconds, most of them with Python's
    lock held, and later somebody's answer would stand still meanwhile. It takes 120 MB then.
    """

    def __init__(self, checkpoint: Path, eos_token_ids: Sequence[int]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammar")
        self._vocabulary = self._thread.submit(read_vocabulary, checkpoint, eos_token_ids)
        self._compiled: OrderedDict[str, Future[LLMatcher]] = OrderedDict()

    def start(self, grammar: str) -> "Future[LLMatcher]":
        """Compile a grammar, unless it is known; never waits. The future may raise `GrammarError`."""
        future = self._compiled.pop(grammar, None)
        if future is None:
            future = self._thread.submit(self._compile, grammar)
        self._compiled[grammar] = future
        if len(self._compiled) > MOST_GRAMMARS:
            self._compiled.popitem(last=False)
        return future

    def wait(self, timeout_s: float) -> None:
        """Give the thread time to compile what it was given last."""
        if self._compiled:
            wait([next(reversed(self._compiled.values()))], timeout_s)

    def _compile(self, grammar: str) -> LLMatcher:
        compiled = LLMatcher(self._vocabulary.result(), grammar, log_level=0, limits=LIMITS)
        if compiled.is_error():
            raise GrammarError(f"the grammar cannot be compiled: {compiled.get_error()[:300]}")
        return compiled


def read_vocabulary(checkpoint: Path, eos_token_ids: Sequence[int]) -> LLTokenizer:
    """The tokens of a checkpoint as bytes. What the gateway hides from the text is in none.

    Raises `GrammarError`.
    """
    try:
        tokenizer = json.loads((checkpoint / "tokenizer.json").read_bytes())
        plain = _plain(tokenizer, _config(checkpoint).get("added_tokens_decoder", {}))
        return LLTokenizer(json.dumps(plain), n_vocab=_size(tokenizer), eos_token=list(eos_token_ids))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise GrammarError(f"the model's vocabulary cannot be used with a grammar: {exc}") from exc


def _plain(tokenizer: dict[str, Any], declared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A tokenizer that spells every text with ordinary tokens: a schema may well name `<|im_end|>` or `<tool_call>`.

    llguidance takes special tokens, and whatever else was added in angle brackets, for the text they are called by when
    it forces a text, and then finds that they are none. So special ones get names that no text has, and the others
    become ordinary; a grammar that wants one of them calls it by number. All keep their numbers: the library does not
    see ids beyond the count of tokens.
    """
    model, tokens = tokenizer["model"], tokenizer["added_tokens"]
    special = {t["content"] for t in tokens if t["special"] or _is_declared(t, declared)}
    bracketed = {t["content"] for t in tokens if re.fullmatch(r"<[!-~]+>", t["content"])} - special
    is_listed = not isinstance(model["vocab"], dict)  # numbered by their order: nothing can become ordinary
    if is_listed:
        special, bracketed = special | bracketed, set()

    def name(piece: str) -> str:
        return _nameless(piece) if piece in special else piece

    if is_listed:
        vocab: Any = [[name(piece), score] for piece, score in model["vocab"]]
    else:  # an added token that is not in it would be given another number
        vocab = {name(piece): i for piece, i in model["vocab"].items()} | {name(t["content"]): t["id"] for t in tokens}
    unknown = {"unk_token": name(model["unk_token"])} if model.get("unk_token") else {}
    return {
        **tokenizer,
        "padding": None,
        "truncation": None,
        "post_processor": None,
        "model": {**model, **unknown, "vocab": vocab},
        "added_tokens": [
            {**token, "content": name(token["content"]), "special": token["content"] in special}
            for token in tokens
            if token["content"] not in bracketed
        ],
    }


def _nameless(content: str) -> str:
    """A name in characters that mean nothing (private use)."""
    return "<" + "".join(chr(0xF0000 + ord(character) % 0xFFFE) for character in content) + ">"


def _is_declared(token: dict[str, Any], declared: dict[str, dict[str, Any]]) -> bool:
    """The configuration of a tokenizer may know special tokens that its own file does not call so."""
    return bool(declared.get(str(token["id"]), {}).get("special"))


def _size(tokenizer: dict[str, Any]) -> int:
    """One more than the last token id."""
    vocab = tokenizer["model"]["vocab"]
    last: int = max(vocab.values()) if isinstance(vocab, dict) else len(vocab) - 1
    return max([last, *(int(token["id"]) for token in tokenizer["added_tokens"])]) + 1


def _config(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint / "tokenizer_config.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return found
