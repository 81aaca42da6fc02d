"""What a request gets back: the ledger's line, and the deltas."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from backends.chat import Completion, Delta, replay
from gateway.answers.base import Entry
from gateway.asked import Asked
from gateway.commons.padding import even, padded
from gateway.commons.rule import is_shared
from gateway.outcome import Outcome
from gateway.semantic.found import Match
from gateway.served import Served


class Deltas:
    """The deltas of one reply: the first was waited for already. Close it, whether it was read or not.

    What is known already needs no generator that waits, and most of it is never read delta by delta.
    """

    __slots__ = ("_first", "_known", "_rest")

    def __init__(self, first: Delta | None, rest: AsyncGenerator[Delta, None] | Iterator[Delta]) -> None:
        self._first = first
        self._rest = rest if isinstance(rest, AsyncGenerator) else None
        self._known = rest if isinstance(rest, Iterator) else iter(())

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self

    async def __anext__(self) -> Delta:
        first, self._first = self._first, None
        if first is not None:
            return first
        if self._rest is not None:
            return await anext(self._rest)
        for delta in self._known:
            return delta
        raise StopAsyncIteration

    async def peek(self) -> Delta | None:
        """The first delta, which is still to come; None when there is none."""
        if self._first is None:
            self._first = await anext(self, None)
        return self._first

    async def aclose(self) -> None:
        if self._rest is not None:
            await self._rest.aclose()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer about to be delivered."""

    outcome: Outcome
    deltas: Deltas
    served: Served  # for whoever asks about this answer later
    whole: Completion | None = None  # what the deltas will spell, where that is known and need not be put together
    source: tuple[Asked, Entry] | None = None  # of a stored answer to this very request


def stored(asked: Asked, entry: Entry, match: Match | None = None) -> Reply:
    """Serve the answer stored under this key, or the one that was found for other words."""
    tier: Literal["exact", "semantic"] = "exact" if match is None else "semantic"
    now_s = time.time()
    usage = entry.completion.usage
    reason = match.reason if match is not None else "same_request" if entry.alias_of is None else "promoted"
    is_common = is_shared(entry)
    if is_common:
        reason = "shared"
    outcome = Outcome(
        tier=tier,
        reason=reason if entry.is_fresh(now_s) else "stale",
        entry=entry.id,
        similarity=None if match is None else match.similarity,
        age_s=entry.age_s(now_s),
        ttl_s=None if entry.expires_s is None else entry.expires_s - now_s,
        saved_tokens=usage.prompt_tokens + usage.completion_tokens,
        saved_s=entry.elapsed_s,
        is_common=is_common,
        hit_details=asked.rules.hit_details,
        tells_overhead=not asked.is_padded,
        overhead_s=time.perf_counter() - asked.started,
    )
    seen = asked.seen if match is None else match.seen
    served = Served(
        tenant=asked.request.owner,
        model=asked.request.model,
        scope=entry.scope,
        exact=entry.exact,
        entry=entry.id,
        question=_question(asked, entry, match),
        stored_question=entry.question,
        outcome=outcome,
        rules=asked.rules if seen is None else seen.rule.over(asked.rules),
        verdict=None if seen is None else seen.verdict,
        made_after_s=entry.created_s,
        made_before_s=entry.created_s,
        alias_of=entry.alias_of if match is None else None,
    )
    completion = entry.completion
    whole = completion if is_put_together(completion) else None
    if asked.request.stream and asked.may_generate and (pace := asked.rules.replay_tokens_per_s) > 0:
        due = partial(even, pace, usage.completion_tokens)
        return Reply(outcome, Deltas(None, padded(completion, due, time.perf_counter())), served)
    source = (asked, entry) if match is None else None
    return Reply(outcome, Deltas(None, replay(completion)), served, whole, source)


def _question(asked: Asked, entry: Entry, match: Match | None) -> str | None:
    """What was asked, to be remembered. The words of one that was stored before are those of its entry: they need not
    be read again to know whether others could have asked the same."""
    if match is not None:
        return match.seen.question
    return None if asked.controls.is_redacted else entry.question


def generated(asked: Asked, first: Delta, rides_along: bool, overhead_s: float) -> Outcome:
    """The ledger's line for an answer that is only now being made."""
    if first.fallback:
        return _by_another(asked, first, rides_along, overhead_s)
    if rides_along:
        return Outcome(
            tier="exact",
            reason="in_flight",
            is_shared=True,
            entry=asked.fp.entry_id,
            hit_details=asked.rules.hit_details,
            tells_overhead=not asked.is_padded,
            overhead_s=overhead_s,
        )
    if asked.common is not None:
        usage = asked.common.completion.usage
        return Outcome(
            tier="exact" if asked.common.canonical == asked.fp.canonical else "semantic",
            reason="shared",
            entry=asked.fp.entry_id if asked.plan.write else None,
            saved_tokens=usage.prompt_tokens + usage.completion_tokens,
            saved_s=asked.common.elapsed_s,
            is_common=True,
            is_padded=True,
            bypass="stale" if asked.was_stale else None,
            hit_details=asked.rules.hit_details,
            tells_overhead=False,
            overhead_s=overhead_s,
        )
    cached_tokens = first.usage.cached_tokens if first.usage is not None else 0
    return Outcome(
        tier="kv" if cached_tokens > 0 else "full",
        reason="prefix" if cached_tokens > 0 else asked.plan.bypass or "miss",
        entry=asked.fp.entry_id if asked.plan.write else None,
        saved_tokens=cached_tokens,
        bypass=asked.plan.bypass or ("stale" if asked.was_stale else None),
        hit_details=asked.rules.hit_details,
        tells_overhead=not asked.is_padded,
        overhead_s=overhead_s,
    )


def _by_another(asked: Asked, first: Delta, rides_along: bool, overhead_s: float) -> Outcome:
    """The ledger's line for an answer of a model that was not asked for: nothing of it is kept."""
    return Outcome(
        tier="exact" if rides_along else "full",
        reason="fallback",
        is_shared=rides_along,
        fallback=first.fallback,
        bypass=asked.plan.bypass or ("stale" if asked.was_stale else None),
        overhead_s=overhead_s,
    )


def served_of(asked: Asked, outcome: Outcome) -> Served:
    """What is remembered of a response whose answer is being made."""
    seen = asked.seen
    since_s = time.perf_counter() - asked.started
    return Served(
        tenant=asked.request.owner,
        model=asked.request.model,
        scope=asked.fp.scope,
        exact=asked.fp.exact,
        entry=outcome.entry,
        question=asked.question if asked.plan.read_semantic or asked.plan.remember_question else None,
        stored_question=None,
        outcome=outcome,
        rules=asked.rules if seen is None else seen.rule.over(asked.rules),
        verdict=None if seen is None else seen.verdict,
        made_after_s=time.time() - since_s,
        made_before_s=float("inf"),
    )


def is_put_together(completion: Completion) -> bool:
    """Whether deltas that spell it would be put together to the very same, down to the order of fields; a put or an
    import may be spelled in other ways, and calls of tools have their own place."""
    return all(
        choice.finish_reason != ""
        and next(iter(choice.message), "") == "role"
        and "content" in choice.message
        and not choice.message.get("tool_calls")
        for choice in completion.choices
    )
