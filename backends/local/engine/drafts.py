"""What the next tokens may be: guesses from a near answer, and from what the text itself has said before.

    near answer   the stored answer to a question like this one, copied from where the output has got to in it
    repeats       what followed the last time the text went on like this, in the prompt or in the output

Guesses cost microseconds and decide nothing: the model checks them (`choosing`), and how many are worth checking is
for `pace` to say, from how often guesses of their kind came true. Every guess is marked against what did follow, also
one that was never checked, so the marks stay fresh while drafts are switched off.

Copying from a reference is LLMA's idea (Yang et al. 2023, arXiv 2304.04487), looking in the prompt Saxena's prompt
lookup decoding, trusting longer matches further SuffixDecoding's (Oliaro et al. 2024, arXiv 2411.04975). Matches are
found as Deflate does (RFC 1951): the places of every pair of tokens in a chain, a few of them compared backwards.
"""

from bisect import bisect_left
from collections.abc import Sequence as Ids
from dataclasses import dataclass, field

from backends.local.engine.balance import Purse

MOST = 31  # drafts of one sequence in one forward
LONGEST = 16  # tokens compared backwards: a longer match is not trusted more
PLACES = 16  # looked at per search
SKIPPED = 3  # tokens of the near answer that are looked at for one that was left out
CLOSE = 8  # tokens around the place where a match of two tokens is believed
LOST = 16  # tokens said while nothing agreed: those before are not read when guessing begins again
FIRST_REACH = 3  # drafts; twice as many and one more than held lately are risked next
LIKELY = 0.6  # chance of the near answer above which nothing else is looked for
SURE = 3  # agreeing tokens after which the place in the near answer is not looked for again
LEVELS = (0, 1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 6)  # of trust, by agreeing tokens; more: the last
NEAR, REPEAT = 0, LEVELS[-1] + 1  # first kinds of the two sources
KINDS = {source: [source + level for level in (*LEVELS, *LEVELS[-1:] * MOST)] for source in (NEAR, REPEAT)}
HOPES = (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.0, 0.0, 0.2, 0.4, 0.5, 0.7, 0.9)  # chance of each kind, unseen


@dataclass(slots=True)
class Odds:
    """How often guesses of each kind came true; older ones count less and less."""

    prior: "Odds | None" = None  # what counts as `weight` guesses beforehand; None: HOPES
    weight: float = 6.0
    forget: float = 1 / 48
    _hits: list[float] = field(default_factory=lambda: [0.0] * len(HOPES))
    _tries: list[float] = field(default_factory=lambda: [0.0] * len(HOPES))

    def mark(self, kind: int, came_true: bool) -> None:
        """Note one guess."""
        odds: Odds | None = self
        while odds is not None:
            keep = 1 - odds.forget
            odds._hits[kind] = odds._hits[kind] * keep + came_true
            odds._tries[kind] = odds._tries[kind] * keep + 1
            odds = odds.prior

    def chance(self, kind: int) -> float:
        """That the next guess of this kind comes true."""
        prior = self.prior
        before = HOPES[kind] if prior is None else prior.chance(kind)
        return (self._hits[kind] + self.weight * before) / (self._tries[kind] + self.weight)


@dataclass(frozen=True, slots=True)
class Guess:
    """Tokens that may come next, and how many of those before them agree with where they were found."""

    token_ids: Ids[int]
    source: int  # NEAR or REPEAT
    agreeing: int

    def kinds(self, count: int = MOST) -> Ids[int]:
        """Of the first guesses, each once those before it have come true."""
        start = min(self.agreeing, len(LEVELS) - 1)
        return KINDS[self.source][start : start + count]


NOTHING = Guess((), NEAR, 0)


class Guesser:
    """Guesses for one sequence. `guess` is called with all its tokens, whenever there are more."""

    def __init__(self, near: Ids[int] = (), pooled: Odds | None = None) -> None:
        self.purse = Purse()
        self._odds = Odds(prior=pooled)
        self._near = NearAnswer(near) if len(near) else None
        self._repeats = Repeats()
        self._guesses: tuple[Guess, ...] = ()
        self._num_seen = 0
        self._reach = FIRST_REACH

    def guess(self, token_ids: list[int], num_prompt: int) -> Guess:
        """The likelier of the two sources' guesses, the near answer's when they are alike."""
        if self._guesses:
            held = max(self._mark(guess, token_ids[self._num_seen :]) for guess in self._guesses)
            self._reach = max(FIRST_REACH, 2 * held + 1, self._reach // 2)
        if self._near is not None:
            start, stop = max(self._num_seen, num_prompt), len(token_ids)
            if stop - start > LOST:
                self._near.skip(stop - LOST - start)
                start = stop - LOST
            for place in range(start, stop):
                self._near.follow(token_ids, place)
        self._num_seen = len(token_ids)
        near = self._near.guess() if self._near is not None else NOTHING
        chance = self._odds.chance(near.kinds(1)[0]) if near.token_ids else 0.0
        if chance > LIKELY:
            self._guesses = (near,)
            return near
        repeat = self._repeats.guess(token_ids)
        self._guesses = tuple(guess for guess in (near, repeat) if guess.token_ids)
        return repeat if repeat.token_ids and self._odds.chance(repeat.kinds(1)[0]) > chance else near

    def chances(self, guess: Guess, most: int, least: float) -> list[float]:
        """That the first draft holds, the first two, the first three...; up to `most`, and down to `least`."""
        found: list[float] = []
        chance, known, own = 1.0, -1, 0.0
        for kind in guess.kinds(min(most, self._reach, len(guess.token_ids))):
            if kind != known:
                known, own = kind, self._odds.chance(kind)
            chance *= own
            if chance < least:
                break
            found.append(chance)
        return found

    def _mark(self, guess: Guess, came: Ids[int]) -> int:
        """Take in what became of a guess; returns how much of it came true."""
        held, mark = 0, self._odds.mark
        for guessed, token, kind in zip(guess.token_ids, came, guess.kinds(), strict=False):
            mark(kind, guessed == token)
            if guessed != token:
                break
            held += 1
        return held


class NearAnswer:
    """Where the output has got to in an answer like it.

    # near     ... agreed | parted ......... place ...     output   ... agreed | X Y Z
    #                       |---- since ----|                                   since
    # Where the two part, every token is taken for one in the place of another. Meanwhile the place is looked for: by
    # the last two tokens of the output close by, by the last three or more anywhere, behind `parted` if possible;
    # and by the last one alone, where something was put in or left out.
    """

    def __init__(self, token_ids: Ids[int]) -> None:
        self._ids = token_ids
        self._places: dict[tuple[int, int], list[int]] = {}
        for place in range(1, len(token_ids)):
            self._places.setdefault((token_ids[place - 1], token_ids[place]), []).append(place)
        self._place = 0  # of the next token
        self._agreeing = 2  # answers to like questions tend to begin alike
        self._parted = self._since = 0

    def guess(self) -> Guess:
        return Guess(self._ids[self._place : self._place + MOST], NEAR, self._agreeing)

    def follow(self, token_ids: list[int], stop: int) -> None:
        """Take the token at `stop` of the output."""
        ids, token, place = self._ids, token_ids[stop], self._place
        if self._agreeing < 2:
            self._since += 1
        if place < len(ids) and ids[place] == token:
            self._place, self._agreeing = place + 1, self._agreeing + 1
            if self._agreeing > SURE:
                return
        elif self._agreeing >= 2:
            self._parted, self._since, self._agreeing = place, 1, 0
        else:
            self._agreeing = 0
        found, agreeing = self._search(token_ids, stop)
        if agreeing > (self._agreeing + 1 if self._agreeing else 0):
            self._place, self._agreeing = found, agreeing
        elif not self._agreeing:
            self._guess_anew(token)

    def skip(self, count: int) -> None:
        """Take `count` tokens that nobody looked at, each for one in the place of another."""
        if self._agreeing >= 2:
            self._parted, self._since = self._place, 0
        self._agreeing = 0
        self._since += count
        self._place = min(self._parted + self._since, len(self._ids))

    def _guess_anew(self, token: int) -> None:
        """One token in the place of another; or the end of what was put in or left out."""
        place = self._parted + self._since
        for expected in (place - 1, *range(max(self._parted, place - LOST), place + SKIPPED)):
            if expected < len(self._ids) and self._ids[expected] == token:
                self._place, self._agreeing = expected + 1, 1
                return
        self._place = place

    def _search(self, token_ids: list[int], stop: int) -> tuple[int, int]:
        """The place after the longest run that ends the output, the next one of equals; and the run's length."""
        close = range(self._parted, self._parted + self._since + CLOSE)
        places = self._places.get((token_ids[stop - 1], token_ids[stop]), ()) if stop else ()
        first = bisect_left(places, self._parted)
        best = agreeing = 0
        for place in (*places[first : first + PLACES], *reversed(places[max(0, first - PLACES) : first])):
            length = _agreement(self._ids, place, token_ids, stop)
            if length > agreeing and (length > 2 or place in close):
                best, agreeing = place + 1, length
        return best, agreeing


class Repeats:
    """Where the text has gone on like this before. Follows it token by token, and never reads it twice."""

    def __init__(self) -> None:
        self._latest: dict[tuple[int, int], int] = {}  # pair of tokens -> where it ended last
        self._before: list[int] = []  # for every place, where the same pair ended before it; -1: nowhere

    def guess(self, token_ids: list[int]) -> Guess:
        """What followed the longest match with the end of the text, the latest of equals."""
        self._follow(token_ids)
        stop = len(token_ids) - 1
        place = self._before[stop] if stop > 0 else -1
        best = agreeing = 0
        for _ in range(PLACES):
            if place < 0 or agreeing >= LONGEST:
                break
            length = _agreement(token_ids, place, token_ids, stop)
            if length > agreeing:
                best, agreeing = place + 1, length
            place = self._before[place]
        if not agreeing:
            return NOTHING
        copied = token_ids[best : best + MOST]
        while len(copied) < MOST:  # the match reaches into what is guessed: it goes round
            copied += copied[: MOST - len(copied)]
        return Guess(copied, REPEAT, agreeing)

    def _follow(self, token_ids: list[int]) -> None:
        latest, before = self._latest, self._before
        if not before:
            before.append(-1)
        for place in range(len(before), len(token_ids)):
            pair = (token_ids[place - 1], token_ids[place])
            before.append(latest.get(pair, -1))
            latest[pair] = place


def _agreement(ids: Ids[int], place: int, others: Ids[int], stop: int) -> int:
    """How many tokens are the same, counted back from `place` and `stop`."""
    length = 0
    while length < LONGEST and place >= length and stop >= length and ids[place - length] == others[stop - length]:
        length += 1
    return length
