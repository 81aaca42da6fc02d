"""From logits to tokens, and from guesses to more tokens per forward.

    propose -> drafts d1 .. dk behind the last known token -> one forward -> logits after it and after each draft
    settle  -> the token after the last known one; while it is the next draft, the token after that draft too

A draft is only ever compared with the token that was chosen without it, so what is generated, and with which luck, is
the same with drafts and without: greedy output token by token, sampled output as rejection sampling with a draft of
certainty (Leviathan et al. 2023, arXiv 2211.17192) would have it.
"""

import time
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import replace

import torch

from backends.local.engine.drafts import LONGEST_REST, NOTHING, Guess, Guesser, Odds, rest_after
from backends.local.engine.pace import Pace
from backends.local.engine.sampler import Tally, is_simply_greedy, looks_back, sample
from backends.local.engine.sequence import Sequence
from backends.local.wire import Event, Token

FORCED = -1  # the source of a guess: the grammar
UNLIKELY = 0.02  # chance below which no draft is worth a thought
TIMED_EVERY = 8  # of the forwards nobody guesses for: to take the time costs some too


class Drafting:
    """Drafts for the sequences of one engine, and what came of them."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` counts what a forward costs. The time of this thread is the better one where it does the work itself:
        what others do on the machine then makes no forward look dearer than the next.
        """
        self.accepted = self.rejected = 0
        self._pace = pace
        self._clock = clock
        self._started_s: float | None = None  # None: what is under way is not timed
        self._num_vain = self._rest = 0  # steps in a row without a guess worth checking; steps before the next guess
        self._odds = Odds(forget=1 / 512)

    def guesser(self, near: Many[int]) -> Guesser:
        """Guesses for one sequence, out of `near` and of what it says itself."""
        self._rest = 0
        return Guesser(near, self._odds, self._num_vain)

    def propose(self, sequences: Many[Sequence]) -> list[tuple[int, ...]]:
        """Drafts of the next tokens of each: as many as pay, and as its slab and its limit have room for."""
        if not sequences:
            return []
        if self._rest and all(sequence.matcher is None for sequence in sequences):
            self._rest -= 1
            self._started_s = None if self._rest % TIMED_EVERY else self._clock()
            return [()] * len(sequences)
        self._started_s = self._clock()
        guesses = [_guess(sequence) for sequence in sequences]
        if not any(guess.token_ids for guess in guesses):
            return self._in_vain(sequences)
        chances = [_chances(sequence, guess) for sequence, guess in zip(sequences, guesses, strict=True)]
        taken = self._pace.allot(chances)
        if not any(taken):
            return self._in_vain(sequences)
        self._num_vain = 0
        for sequence, k in zip(sequences, taken, strict=True):
            if sequence.guesser is not None:
                sequence.guesser.was_taken(k > 0, sequence.num_tokens)
        return [tuple(guess.token_ids[:k]) for guess, k in zip(guesses, taken, strict=True)]

    def _in_vain(self, sequences: Many[Sequence]) -> list[tuple[int, ...]]:
        """No drafts, and no look at anybody before one of them is to guess again; later where all go on in vain."""
        self._num_vain += 1
        rest = LONGEST_REST
        for sequence in sequences:
            if sequence.guesser is not None:
                sequence.guesser.was_taken(False, sequence.num_tokens)
                rest = min(rest, sequence.guesser.rest(sequence.num_tokens))
        self._rest = max(rest, rest_after(self._num_vain))
        self._started_s = self._clock()  # what guessing took is no part of a forward without drafts
        return [()] * len(sequences)

    def note(self, drafts: Many[Many[int]], events: Many[Many[Event]], *, is_alone: bool) -> None:
        """Learn from the step since `propose`: what was drafted and what came of it, and what it cost if that shows."""
        if self._started_s is None or not drafts:
            return
        if is_alone:
            self._pace.note(len(drafts), sum(map(len, drafts)), self._clock() - self._started_s)
        if not any(drafts):
            return
        for drafted, generated in zip(drafts, events, strict=True):
            tokens = [event.token_id for event in generated if isinstance(event, Token)]
            held = sum(token == draft for token, draft in zip(tokens, drafted, strict=False))
            self.accepted += held
            self.rejected += len(drafted) - held


def settle(sequence: Sequence, drafts: Many[int], logits: torch.Tensor, said: list[Event]) -> None:
    """Append the tokens that `logits` `[1 + drafts, vocab]` lead to; at least one, the last one no draft.

    Each goes to the sequence and to what is `said` at once: whatever fails behind it, the two agree. A draft that the
    sequence's grammar forbids is never chosen, and so ends the run. Raises `GrammarError`. Logits are written over.
    """
    if sequence.matcher is None and is_simply_greedy(sequence.sampling):
        _settle_greedily(sequence, drafts, logits, said)
    else:
        _settle_by_sampling(sequence, drafts, logits, said)


def _settle_greedily(sequence: Sequence, drafts: Many[int], logits: torch.Tensor, said: list[Event]) -> None:
    """By numpy: what torch needs to begin with a row is a twentieth of a step of a small model."""
    sampling, tally = sequence.sampling, None
    if looks_back(sampling):
        tally = sequence.tally = sequence.tally or Tally()
    for row, draft in zip(logits.numpy(), (*drafts, None), strict=True):
        if tally is not None:
            tally.follow(sequence.token_ids, sequence.num_prompt)
            tally.penalise(row, sampling)
        token_id = int(row.argmax())
        reason = sequence.append(token_id)
        said.append(Token(sequence.request, sequence.index, token_id, reason))
        if reason is not None or token_id != draft:
            return


@torch.inference_mode()
def _settle_by_sampling(sequence: Sequence, drafts: Many[int], logits: torch.Tensor, said: list[Event]) -> None:
    matcher = sequence.matcher
    for row, draft in zip(logits, (*drafts, None), strict=True):
        prompt, output = _history(sequence)
        allowed = None if matcher is None else matcher.allowed(len(row))
        chosen = sample(row, sequence.sampling, prompt, output, sequence.random.random(), allowed)
        if matcher is not None:
            matcher.accept(chosen.token_id)
        reason = sequence.append(chosen.token_id)
        said.append(Token(sequence.request, sequence.index, chosen.token_id, reason, chosen.logprob, chosen.top))
        if reason is not None or chosen.token_id != draft:
            return


def _history(sequence: Sequence) -> tuple[Many[int], Many[int]]:
    """Prompt and output, where they count: of a long text they take longer to cut than a token to choose."""
    if not looks_back(sequence.sampling):
        return (), ()
    return sequence.token_ids[: sequence.num_prompt], sequence.token_ids[sequence.num_prompt :]


def _guess(sequence: Sequence) -> Guess:
    """What may come next, as far as the sequence's grammar allows it; or what it says must come."""
    if sequence.guesser is None or (sequence.matcher is None and sequence.guesser.rest(sequence.num_tokens)):
        return NOTHING
    guess = sequence.guesser.guess(sequence.token_ids, sequence.num_prompt)
    if sequence.matcher is None:
        return guess
    if forced := sequence.matcher.forced():
        return Guess(forced, FORCED, 0)
    return replace(guess, token_ids=guess.token_ids[: sequence.matcher.num_allowed(guess.token_ids)])


def _chances(sequence: Sequence, guess: Guess) -> list[float]:
    """That the first draft holds, the first two, the first three..."""
    if sequence.guesser is None or not guess.token_ids:
        return []
    if guess.source == FORCED:
        return [1.0] * min(len(guess.token_ids), _room(sequence))
    return sequence.guesser.chances(guess, _room(sequence), UNLIKELY)


def _room(sequence: Sequence) -> int:
    """Drafts that fit into the slab, and could all be followed by one more token."""
    return max(0, min(sequence.capacity, sequence.max_total - 1) - sequence.num_tokens)
