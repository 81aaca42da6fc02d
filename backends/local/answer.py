"""The answer to one request: from the engine's events to deltas, and what was used."""

from typing import Any

from backends.chat import Delta, Usage
from backends.errors import BackendBusy
from backends.local.params import Generation
from backends.local.text import Detokeniser, StopMatcher
from backends.local.tokenizer import ChatTokenizer
from backends.local.wire import Admitted, Event, Refused, Token


class Answer:
    """Folds the events of all choices into deltas."""

    def __init__(self, prompt_tokens: int, wanted: Generation, tokenizer: ChatTokenizer) -> None:
        has_logprobs = wanted.sampling.top_logprobs is not None
        self._choices = [ChoiceWriter(i, tokenizer, wanted.stop, logprobs=has_logprobs) for i in range(wanted.n)]
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = 0

    @property
    def is_finished(self) -> bool:
        return all(choice.finish_reason is not None for choice in self._choices)

    @property
    def usage(self) -> Usage:
        """Tokens so far. The prompt counts once; what further choices share of it is not called cached."""
        return Usage(self._prompt_tokens, sum(choice.num_tokens for choice in self._choices), self._cached_tokens)

    def is_stopped(self, index: int) -> bool:
        """Whether a choice ended at a stop string, which the engine does not know about."""
        return self._choices[index].is_stopped

    def take(self, event: Event) -> list[Delta]:
        """The deltas an event causes. Raises `BackendBusy`."""
        match event:
            case Refused():
                raise BackendBusy("the engine's queue is full", retry_after_s=1.0)
            case Admitted(index=index, cached_tokens=cached_tokens):
                if index == 0:
                    self._cached_tokens = cached_tokens
                fields = {"role": "assistant", "content": ""}
                return [Delta(index, fields, usage=self.usage if index == 0 else None)]
            case Token():
                return self._choices[event.index].write(event)


class ChoiceWriter:
    """Writes the text of one choice, and says why it ended."""

    def __init__(self, index: int, tokenizer: ChatTokenizer, stops: tuple[str, ...], *, logprobs: bool) -> None:
        self.num_tokens = 0
        self.finish_reason: str | None = None
        self._index = index
        self._tokenizer = tokenizer
        self._detokeniser = Detokeniser(tokenizer.decode)
        self._stops = StopMatcher(stops)
        self._has_logprobs = logprobs
        self._logprobs: list[dict[str, Any]] = []  # of tokens whose text is not shown yet

    @property
    def is_stopped(self) -> bool:
        return self._stops.is_stopped

    def write(self, token: Token) -> list[Delta]:
        """The deltas a token causes: none, a piece of text, or the end; nothing once it has ended."""
        if self.finish_reason is not None:
            return []  # computed before the engine heard of the stop string
        self.num_tokens += 1
        shown = ""
        if token.finish_reason != "stop":  # a token that ends the text is no part of it
            shown = self._stops.push(self._detokeniser.push(token.token_id))
            if self._has_logprobs:
                self._logprobs.append(self._entry(token))
        if token.finish_reason is not None and not self._stops.is_stopped:
            shown += self._stops.push(self._detokeniser.flush())
            shown += self._stops.flush()
        self.finish_reason = "stop" if self._stops.is_stopped else token.finish_reason
        deltas = [self._text(shown)] if shown else []
        if self.finish_reason is not None:
            deltas.append(Delta(self._index, finish_reason=self.finish_reason))
        return deltas

    def _text(self, shown: str) -> Delta:
        logprobs = None
        if self._has_logprobs:
            logprobs, self._logprobs = {"content": self._logprobs, "refusal": None}, []
        return Delta(self._index, {"content": shown}, logprobs=logprobs)

    def _entry(self, token: Token) -> dict[str, Any]:
        top = [self._spelled(token_id, logprob) for token_id, logprob in token.top]
        return {**self._spelled(token.token_id, token.logprob), "top_logprobs": top}

    def _spelled(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        """A token in OpenAI's shape."""
        spelled = self._tokenizer.token_bytes(token_id)
        return {"token": self._tokenizer.token_text(token_id), "logprob": logprob, "bytes": list(spelled)}
