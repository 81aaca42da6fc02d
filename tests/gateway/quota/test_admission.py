"""One limited request's way in and out, however it ends."""

import asyncio

import pytest

from gateway.quota.gate import Quota
from gateway.quota.guess import Guess
from gateway.quota.policies import TenantPolicy
from gateway.settings.trust import Limits

TENANT = "a" * 32
POLICY = TenantPolicy(limits=((TENANT, Limits(tokens_per_day=100, concurrent=1)),))


async def test_who_leaves_while_a_model_reads_the_prompt_pays_for_the_prompt() -> None:
    quota = Quota()
    with pytest.raises(asyncio.CancelledError):
        async with quota.enter(POLICY, lambda: Guess("m", 7, 50)):
            raise asyncio.CancelledError

    account = quota.accounts.of(TENANT)
    assert (account.day.sums.tokens, account.day.sums.requests, account.running, account.held.tokens) == (7, 1, 0, 0)
