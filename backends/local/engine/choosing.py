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

from backends.local.engine.balance import Account
from backends.local.engine.drafts import NOTHING, Guess, Guesser, Odds
from backends.local.engine.pace import Pace
from backends.local.engine.sampler import Tally, is_simply_greedy, looks_back, sample
from backends.local.engine.sequence import Sequence
from backends.local.wire import Event, Token

FORCED = -1  # the source of a guess: the grammar
UNLIKELY = 0.02  # chance below which no draft is worth a thought
LONG = 1.0  # forwards for a row: what took longer was disturbed
TIMED_EVERY = 16  # of the forwards nobody guesses for: to take the time costs some too


class Drafting:
    """Drafts for the sequences of one engine, and what came of them."""

    def __init__(
        self, pace: Pace, clock: Callable[[], float] = time.perf_counter, own: Callable[[], float] = time.perf_counter
    ) -> None:
        """`clock` counts what a forward costs. The time of this thread is the better one where it does the work itself:
        what others do on the machine then makes no forward look dearer than the next. But to ask for it may take as
        long as a guess, so what happens here is counted by `own`, and clock calls with it.
        """
        self.accepted = self.rejected = 0
        self._pace = pace
        self._accounts: dict[int, Account] = {}  # by number of sequences
        self._clock, self._own = clock, own
        self._own_s = self._noting_s = 0.0  # what went by here before this step, and behind the last
        self._started_s: float | None = None  # None: what is under way is not timed
        self._sequences: Many[Sequence] = ()  # of the step under way
        self._parts: Many[int] = ()  # drafts of each; where nothing is drafted, whether it guessed in vain
        self._asleep = self._slept = 0  # steps for which there is nobody to guess for; of those, gone by
        self._odds = Odds(forget=1 / 512)

    def guesser(self, near: Many[int]) -> Guesser:
        """Guesses for one sequence, out of `near` and of what it says itself."""
        self._wake()
        return Guesser(near, self._odds)

    def propose(self, sequences: Many[Sequence]) -> list[tuple[int, ...]]:
        """Drafts of the next tokens of each: as many as pay, and as its slab and its limit have room for."""
        nothing: list[tuple[int, ...]] = [()] * len(sequences)
        if self._slept < self._asleep and len(sequences) == len(self._sequences):
            self._slept += 1
            self._started_s = None if self._slept % TIMED_EVERY else self._clock()
            return nothing
        self._wake()
        self._sequences, self._started_s, self._parts = sequences, None, ()
        if not sequences:
            return nothing
        account = self._account(len(sequences))
        may = [account.room > 0 and _is_awake(sequence) for sequence in sequences]
        if not any(may) and all(sequence.matcher is None for sequence in sequences):
            self._asleep = _steps_to_sleep(sequences, account)
            return nothing
        if self._pace.wants_plain(len(sequences)):
            self._started_s = self._clock()
            return nothing
        since_s = self._own()
        guesses = [_guess(sequence, each) for sequence, each in zip(sequences, may, strict=True)]
        taken = self._pace.allot([_chances(s, guess) for s, guess in zip(sequences, guesses, strict=True)])
        self._parts = taken if any(taken) else may
        drafts = [tuple(guess.token_ids[:k]) for guess, k in zip(guesses, taken, strict=True)]
        self._started_s = self._clock()
        self._own_s = self._own() - since_s
        return drafts

    def _wake(self) -> None:
        if self._slept:
            self._account(len(self._sequences)).note(self._slept * len(self._sequences))
        self._asleep = self._slept = 0

    def note(self, drafts: Many[Many[int]], events: Many[Many[Event]], *, is_alone: bool) -> None:
        """Learn from the step since `propose`: what was drafted and what came of it, and what it cost if that shows."""
        if self._started_s is None:
            return
        since_s = self._own()
        count, num_drafts = len(drafts), sum(map(len, drafts))
        forward_s = self._clock() - self._started_s if is_alone else None
        self._pace.note(count, num_drafts, forward_s)
        if not any(self._parts):
            return
        held = [_num_held(drafted, generated) for drafted, generated in zip(drafts, events, strict=True)]
        self.accepted += sum(held)
        self.rejected += num_drafts - sum(held)
        self._account(count).note(count + sum(held))
        if (plain_s := self._pace.plain_s(count)) is not None:
            cost_s = min(self._own_s + self._noting_s, plain_s)
            if num_drafts and forward_s is not None:
                cost_s += min(forward_s - plain_s, plain_s * LONG * max(1, num_drafts / count))
            self._share(count * cost_s / plain_s, self._parts, held)
        self._noting_s = self._own() - since_s

    def _share(self, cost: float, parts: Many[int], held: Many[int]) -> None:
        """Charge those who took part in a step with its `cost` in tokens, and credit what held."""
        account, each = self._account(len(parts)), cost / sum(parts)
        account.gain(sum(held) - cost)
        for sequence, part, own in zip(self._sequences, parts, held, strict=True):
            if part and sequence.guesser is not None:
                sequence.guesser.purse.gain(own - each * part, sequence.num_tokens, account.room)

    def _account(self, sequences: int) -> Account:
        account = self._accounts.get(sequences)
        if account is None:
            account = self._accounts[sequences] = Account()
        return account


def _steps_to_sleep(sequences: Many[Sequence], account: Account) -> int:
    """How many more steps it is of no use to ask anybody; nobody is awake, or the account is empty."""
    resting = min(each.guesser.purse.rests_until - each.num_tokens for each in sequences if each.guesser is not None)
    return max(resting - 1, account.tokens_to_room() // len(sequences))


def _is_awake(sequence: Sequence) -> bool:
    return sequence.guesser is not None and sequence.guesser.purse.rests_until <= len(sequence.token_ids)


def _num_held(drafted: Many[int], generated: Many[Event]) -> int:
    """How many drafts came true: all that was said but the last token, and that too where an answer ends among them."""
    held = 0
    for draft, event in zip(drafted, generated, strict=False):
        if not isinstance(event, Token) or event.token_id != draft:
            break
        held += 1
    return held


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


def _guess(sequence: Sequence, may: bool) -> Guess:
    """What its grammar says must come next; else what may, as far as the grammar allows it, if it `may` guess."""
    matcher = sequence.matcher
    if matcher is not None and (forced := matcher.forced()):
        return Guess(forced, FORCED, 0)
    if not may or sequence.guesser is None:
        return NOTHING
    guess = sequence.guesser.guess(sequence.token_ids, sequence.num_prompt)
    if matcher is None:
        return guess
    return replace(guess, token_ids=guess.token_ids[: matcher.num_allowed(guess.token_ids)])


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
