"""What the generations cost that one request began: who began it pays for all of it, whoever else heard it.

A generation may go on for others when who began it has left. So it is paid for where it is made, when it has ended, and
not where it is delivered: who only rides along pays nothing, and no token is paid for twice.

    generation   began ......... pieces ......... ended: added to the tab
    the request        heard ....... left                  still there: one settlement; gone: one more, of this alone
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.chat import ChatRequest, Delta, Usage
from gateway.quota.buckets import Sums
from gateway.quota.guess import guess_of

if TYPE_CHECKING:
    from gateway.quota.admission import Subjects
    from gateway.quota.gate import Quota


class Tab:
    """One request's."""

    def __init__(self, quota: "Quota", subjects: "Subjects") -> None:
        self._quota = quota
        self._subjects = subjects
        self._sums = Sums()
        self._is_closed = False

    def add(self, model: str, usage: Usage) -> None:
        """A generation has ended."""
        tokens = usage.prompt_tokens + usage.completion_tokens
        sums = Sums(tokens=tokens, money=self._quota.money_of(model, usage))
        if self._is_closed:
            self._quota.charge(self._subjects, sums)
        else:
            self._sums += sums

    def close(self) -> Sums:
        """The request has ended: what was generated for it by now. What ends later is charged by itself."""
        self._is_closed = True
        return self._sums


async def metered(deltas: AsyncGenerator[Delta, None], request: ChatRequest, tab: Tab) -> AsyncGenerator[Delta, None]:
    """Pass the deltas of a generation through; put on the tab what it used, however it ends.

    Of one that is broken off nobody tells the usage: it is guessed from the number of its pieces. One that failed
    before anything was said costs nothing.
    """
    num_pieces, model, told = 0, request.model, None
    usage, was_read = None, True  # the prompt, by a model
    try:
        async with aclosing(deltas):
            async for delta in deltas:
                num_pieces += 1
                told, model = delta.usage or told, delta.fallback or model
                yield delta
        usage, was_read = told, num_pieces > 0
    except Exception:
        was_read = num_pieces > 0
        raise
    finally:
        if was_read:
            tab.add(model, usage or _broken_off(told, request, num_pieces))


def _broken_off(told: Usage | None, request: ChatRequest, num_pieces: int) -> Usage:
    """What one used that nobody heard to the end; what its server had said by then holds."""
    if told is None:
        return Usage(guess_of(request).prompt_tokens, num_pieces)
    return replace(told, completion_tokens=max(num_pieces, told.completion_tokens))
