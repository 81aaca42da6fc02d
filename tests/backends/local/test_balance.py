"""Drafting stops before it has lost more than it may, whatever was hoped of it."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local.engine.balance import FIRST_REST, LONGEST_REST, LOSS, STAKE, START, WINDOW, Account, Purse
from backends.local.engine.choosing import Drafting
from backends.local.engine.drafts import Guess, Guesser, Odds
from backends.local.engine.pace import Pace
from backends.local.engine.sequence import Sequence as Generated
from backends.local.params import Sampling
from backends.local.wire import Event, Token

WORST = 8.0  # tokens lost in one step
PROMPT = list(range(2000, 2032))
# microseconds of a forward of so many rows, as measured with the demo model; one sequence, eight of them
ROWS = {1: 330, 2: 380, 3: 420, 4: 470, 5: 740, 6: 760, 7: 790, 8: 850, 9: 1200, 16: 1680, 32: 3200, 64: 6300, 72: 8800}
GUESSING = 14


@given(st.lists(st.tuples(st.integers(1, 32), st.floats(-WORST, WORST)), max_size=400))
def test_no_more_is_lost_than_the_share_of_what_was_said_and_one_step(steps: list[tuple[int, float]]) -> None:
    account, lost, said = Account(), 0.0, START
    for tokens, gain in steps * 4:
        if account.room > 0:
            account.gain(gain)
            lost -= gain
        account.note(tokens)
        said += tokens

        assert lost <= LOSS * said + WORST * (1 + said / WINDOW)  # the step that goes too far is forgotten too


def test_there_is_room_again_after_as_many_tokens_as_it_says() -> None:
    account = Account()
    account.gain(-50.0)

    assert account.room < 0
    account.note(account.tokens_to_room() + 1)

    assert account.room > 0


def test_gains_make_up_for_losses_and_are_not_saved() -> None:
    account, fresh = Account(), Account()
    account.gain(-3.0)
    account.gain(1000.0)

    assert account.room == fresh.room


def test_old_losses_are_forgotten() -> None:
    account = Account()
    account.gain(-100.0)
    for _ in range(8 * WINDOW):
        account.note(1)

    assert account.room == pytest.approx(LOSS * WINDOW, rel=0.05)


def test_a_sequence_that_loses_rests_and_each_time_longer() -> None:
    purse, rests = Purse(), list[int]()
    for tokens in range(10_000):
        if purse.rests_until <= tokens:
            purse.gain(-0.5, tokens, room=1000.0)
            if purse.rests_until > tokens:
                rests.append(purse.rests_until - tokens)

    assert rests[:4] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST, 8 * FIRST_REST]
    assert max(rests) == LONGEST_REST


def test_a_sequence_may_lose_less_where_the_engine_has_little_room_left() -> None:
    rich, poor = Purse(), Purse()
    rich.gain(-STAKE / 2, 100, room=1000.0)
    poor.gain(-STAKE / 2, 100, room=STAKE)

    assert (rich.rests_until, poor.rests_until) == (0, 100 + FIRST_REST)


def test_what_a_sequence_has_won_is_soon_lost_and_makes_its_next_rest_short() -> None:
    purse = Purse()
    purse.gain(-9.0, 0, room=1000.0)
    purse.gain(50.0, 100, room=1000.0)
    for _ in range(5):
        purse.gain(-1.0, 200, room=1000.0)

    assert purse.rests_until == 200 + FIRST_REST


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def pass_us(self, microseconds: float) -> None:
        self.now_s += microseconds * 1e-6


class SlowGuesser(Guesser):
    """Takes its time."""

    def __init__(self, near: list[int], pooled: Odds, clock: Clock) -> None:
        super().__init__(near, pooled)
        self.clock = clock

    def guess(self, token_ids: list[int], num_prompt: int) -> Guess:
        self.clock.pass_us(GUESSING)
        return super().guess(token_ids, num_prompt)


class Machine:
    """Says what is given at recorded costs, which are a fifth more or less by chance."""

    def __init__(self, row_cost: float | None = None) -> None:
        self.row_cost = row_cost  # of a forward of one row; None: as recorded
        self.random, self.clock, self.odds = random.Random(0), Clock(), Odds(forget=1 / 512)
        self.drafting, self.plain_us = Drafting(Pace(), self.clock, self.clock), 0.0

    def speed(self, kepts: Sequence[float], batch: int, length: int = 160) -> float:
        """What forwards without drafts take for the tokens of so many answers at once, over what they took.

        Their near answers share so much with them.
        """
        start_s, self.plain_us = self.clock.now_s, 0.0
        for kept in kepts:
            self._answer([[self.random.randrange(1000) for _ in range(length + 1)] for _ in range(batch)], kept)
        return self.plain_us * 1e-6 / (self.clock.now_s - start_s)

    def _answer(self, says: list[list[int]], kept: float) -> None:
        running = [self._begun(index, said, kept) for index, said in enumerate(says)]
        while running:
            drafts = self.drafting.propose(running)
            rows = len(running) + sum(map(len, drafts))
            self.clock.pass_us(self._forward_us(rows) * self.random.uniform(0.8, 1.2))
            events = [_settle(each, own, says[each.index]) for each, own in zip(running, drafts, strict=True)]
            self.plain_us += sum(map(len, events)) * self._forward_us(len(running)) / len(running)
            self.drafting.note(drafts, events, is_alone=True)
            running = [each for each in running if not each.is_finished]

    def _forward_us(self, rows: int) -> float:
        if self.row_cost is not None:
            return 1000 * (1 + self.row_cost * (rows - 1))
        return float(np.interp(rows, list(ROWS), list(ROWS.values())))

    def _begun(self, index: int, said: list[int], kept: float) -> Generated:
        near = [token if self.random.random() < kept else 1000 for token in said]
        begun = Generated(
            request=0,
            index=index,
            token_ids=[*PROMPT, said[0]],
            num_prompt=len(PROMPT),
            max_total=len(PROMPT) + len(said),
            sampling=Sampling(temperature=0.0),
            eos_token_ids=frozenset(),
            random=self.random,
            guesser=SlowGuesser(near, self.odds, self.clock),
        )
        begun.capacity = 2 * begun.max_total
        return begun


def _settle(sequence: Generated, drafts: Sequence[int], says: list[int]) -> list[Event]:
    events: list[Event] = []
    for draft in (*drafts, None):
        token_id = says[sequence.num_tokens - len(PROMPT)]
        reason = sequence.append(token_id)
        events.append(Token(0, sequence.index, token_id, reason))
        if reason is not None or token_id != draft:
            break
    return events


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("row_cost", [None, 0.02, 0.3, 1.0])
def test_whatever_share_of_the_near_answers_holds_next_to_nothing_is_lost(row_cost: float | None, batch: int) -> None:
    machine = Machine(row_cost)
    for kept in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.0):  # by one engine: what it learned from one misleads it in the next
        assert machine.speed([kept] * 6, batch) > 0.95, kept


def test_near_answers_that_are_good_by_turns_lose_nothing() -> None:
    assert Machine().speed([0.9, 0.0, 0.0, 0.3] * 4, 1) > 1.0


def test_where_it_pays_it_goes_on() -> None:
    machine = Machine()

    assert machine.speed([0.0] * 10, 1) < 1.0
    assert machine.speed([0.8] * 10, 1) > 1.6
