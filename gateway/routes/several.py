"""Several prompts of one body: each is asked, and kept, by itself; their answers are delivered as one."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from backends.chat import ChatRequest, Delta, Usage
from gateway.outcome import Outcome
from gateway.reply import Deltas, Reply

Ask = Callable[[ChatRequest], Coroutine[Any, Any, Reply]]


async def answer_all(ask: Ask, requests: Sequence[ChatRequest]) -> Reply:
    """The replies to all requests as one. Raises what asking any of them fails with."""
    asked = [asyncio.ensure_future(ask(request)) for request in requests]
    try:
        replies = await asyncio.gather(*asked)
    except BaseException:  # nobody waits for the others any more
        for one in asked:
            one.cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        await _close([reply for reply in found if isinstance(reply, Reply)])
        raise
    outcome = together([reply.outcome for reply in replies])
    served = replace(replies[0].served, entry=None, outcome=outcome)
    num_choices = int(requests[0].params.get("n") or 1)
    return Reply(outcome, Deltas(None, _in_turn(replies, num_choices)), served)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """One line for all: what was stored only if all were, else the first that was not."""
    one = next((outcome for outcome in outcomes if not outcome.is_stored), outcomes[0])
    return replace(
        one,
        entry=None,
        saved_tokens=sum(outcome.saved_tokens or 0 for outcome in outcomes),
        saved_s=sum(outcome.saved_s for outcome in outcomes),
        overhead_s=max(outcome.overhead_s for outcome in outcomes),
    )


async def _in_turn(replies: Sequence[Reply], num_choices: int) -> AsyncGenerator[Delta, None]:
    """The choices of one reply after those of the other, and what all of them used."""
    usages = []
    try:
        for number, reply in enumerate(replies):
            usage = Usage()
            async with aclosing(reply.deltas):
                async for delta in reply.deltas:
                    usage = delta.usage or usage
                    yield replace(delta, index=number * num_choices + delta.index, usage=None)
            usages.append(usage)
        yield Delta(usage=_added(usages))
    finally:
        await _close(replies)


def _added(usages: Sequence[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
    )


async def _close(replies: Sequence[Reply]) -> None:
    for reply in replies:
        await reply.deltas.aclose()
