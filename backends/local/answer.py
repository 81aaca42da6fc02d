"""The answer to one request: from the engine's events to deltas, and what was used."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backends.chat import Delta, Fields, Usage
from backends.errors import BackendBusy, BackendError, BackendTimeout, RequestRejected
from backends.local.params import Generation
from backends.local.speech.parts import PLAIN, Manner, Speech
from backends.local.speech.text import Detokeniser, StopMatcher
from backends.local.speech.tokenizer import ChatTokenizer
from backends.local.wire import Admitted, Broken, Erased, Event, Expired, Refused, Surveyed, Token, Tokens, Warmed


class Answer:
    """Folds the events of all choices into deltas."""

    def __init__(
        self, prompt_tokens: int, wanted: Generation, tokenizer: ChatTokenizer, manner: Manner = PLAIN
    ) -> None:
        has_logprobs = wanted.sampling.top_logprobs is not None
        self._choices = [
            ChoiceWriter(i, tokenizer, wanted.stop, manner, logprobs=has_logprobs) for i in range(wanted.n)
        ]
        self._first_content = "" if manner.dialect is None else None  # what calls tools need not say anything
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

    def telling_stop(self, delta: Delta) -> Delta:
        """The end of a choice with the stop string that ended it, as Anthropic's clients are told."""
        if delta.finish_reason != "stop" or not self._choices[delta.index].is_stopped:
            return delta
        told = {"stop_reason": "stop_sequence", "stop_sequence": self._choices[delta.index].stop_string}
        return replace(delta, extra={**delta.extra, **told})

    def take(self, event: Event) -> list[Delta]:
        """The deltas an event causes. Raises a `BackendError` when it says that there is no answer."""
        match event:
            case Refused(is_hopeless=True):
                raise hopeless(event)
            case Refused():
                raise BackendBusy(event.reason, retry_after_s=1.0)
            case Expired():
                raise BackendTimeout(
                    f"the request's timeout of {event.timeout_s:g} s passed after {event.num_tokens} tokens",
                    retryable=False,
                )
            case Warmed() | Surveyed() | Erased():
                return []
            case Broken():
                raise BackendError(event.reason, retryable=False)
            case Admitted(index=index, cached_tokens=cached_tokens):
                if index == 0:
                    self._cached_tokens = cached_tokens
                fields = {"role": "assistant", "content": self._first_content}
                return [Delta(index, fields, usage=self.usage if index == 0 else None)]
            case Token():
                return self._choices[event.index].write(event)
            case Tokens():
                return self._choices[event.index].go_on(event)


def joined(deltas: Sequence[Delta]) -> list[Delta]:
    """The same with pieces of text that follow each other in one: what is behind catches up in fewer steps."""
    together: list[Delta] = []
    for delta in deltas:
        last = together[-1] if together else None
        if last is not None and last.index == delta.index and _is_plain(last) and _is_plain(delta):
            together[-1] = Delta(delta.index, {"content": last.text + delta.text})
        else:
            together.append(delta)
    return together


def _is_plain(delta: Delta) -> bool:
    """Whether a delta is a piece of text and nothing else."""
    is_text = len(delta.fields) == 1 and isinstance(delta.fields.get("content"), str)
    return is_text and delta == Delta(delta.index, delta.fields)


def hopeless(refused: Refused) -> RequestRejected:
    """The error of a request that the engine can never take."""
    code = "context_length_exceeded" if refused.param == "messages" else "invalid_value"
    return RequestRejected(refused.reason, param=refused.param, code=code)


class ChoiceWriter:
    """Writes the text of one choice, and says why it ended."""

    def __init__(
        self, index: int, tokenizer: ChatTokenizer, stops: tuple[str, ...], manner: Manner, *, logprobs: bool
    ) -> None:
        self.num_tokens = 0
        self.finish_reason: str | None = None
        self._index = index
        self._detokeniser = Detokeniser(tokenizer.decode, manner.markers)
        self._speech = Speech(manner)
        self._stops = StopMatcher(stops)
        self._logprobs = Logprobs(tokenizer) if logprobs else None
        self._is_by_token = logprobs or bool(stops)
        self._num_known = 0  # characters out of the detokeniser
        self._num_shown = 0  # characters past the stop strings

    @property
    def is_stopped(self) -> bool:
        return self._stops.is_stopped

    @property
    def stop_string(self) -> str:
        return self._stops.found

    def write(self, token: Token) -> list[Delta]:
        """The deltas a token causes: none, a piece of text, or the end; nothing once it has ended."""
        if self.finish_reason is not None:
            return []  # computed before the engine heard of the stop string
        self.num_tokens += 1
        shown = "" if token.finish_reason == "stop" else self._push(token)  # the token that ends a text is not in it
        if token.finish_reason is not None and not self.is_stopped:
            shown += self._stops.push(self._detokeniser.flush())
            shown += self._stops.flush()
        self.finish_reason = "stop" if self.is_stopped else token.finish_reason
        return self._deltas(shown)

    def go_on(self, tokens: Tokens) -> list[Delta]:
        """The deltas of tokens that end nothing by themselves; one by one where it matters which of them says what."""
        if self._is_by_token:
            singly = (Token(tokens.request, tokens.index, token_id) for token_id in tokens.token_ids)
            return [delta for token in singly for delta in self.write(token)]
        self.num_tokens += len(tokens.token_ids)
        return self._deltas(self._detokeniser.push_all(tokens.token_ids))

    def _push(self, token: Token) -> str:
        """The text a token lets out."""
        text = self._detokeniser.push(token.token_id)
        if self._logprobs is not None:
            self._logprobs.add(token, self._num_known, self._num_known + len(text))
        self._num_known += len(text)
        return self._stops.push(text)

    def _deltas(self, shown: str) -> list[Delta]:
        self._num_shown += len(shown)
        has_ended = self.finish_reason is not None
        parts = [*self._speech.push(shown), *(self._speech.flush() if has_ended else ())]
        logprobs = None
        if self._logprobs is not None and (parts or has_ended):
            logprobs = self._logprobs.release(None if has_ended and not self.is_stopped else self._num_shown)
        deltas = [Delta(self._index, part, logprobs=None if i else logprobs) for i, part in enumerate(parts)]
        if has_ended:
            if self.finish_reason == "stop" and self._speech.has_calls:
                self.finish_reason = "tool_calls"
            deltas.append(Delta(self._index, finish_reason=self.finish_reason, logprobs=None if parts else logprobs))
        return deltas


class Logprobs:
    """Log probabilities in OpenAI's shape, each let out with the text of its token, and never for a stop string.

    They are the model's own: of the distribution before temperature, penalties, bias and grammar.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._held: deque[tuple[int, int, dict[str, Any]]] = deque()  # where the text of a token begins and ends

    def add(self, token: Token, start: int, end: int) -> None:
        """Hold a token that makes the characters from `start` to `end`."""
        top = [self._spelled(token_id, logprob) for token_id, logprob in token.top]
        self._held.append((start, end, {**self._spelled(token.token_id, token.logprob), "top_logprobs": top}))

    def release(self, num_shown: int | None) -> Fields | None:
        """The tokens whose text is within the first `num_shown` characters, or all; None when there are none.

        A part of a character counts for what follows it: a token without a text of its own must begin before the end.
        """
        content = []
        while self._held and (num_shown is None or (self._held[0][0] < num_shown and self._held[0][1] <= num_shown)):
            content.append(self._held.popleft()[2])
        return {"content": content, "refusal": None} if content else None

    def _spelled(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        spelled = self._tokenizer.token_bytes(token_id)
        return {"token": self._tokenizer.token_text(token_id), "logprob": logprob, "bytes": list(spelled)}
