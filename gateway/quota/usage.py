"""What a tenant used, as the operator is told it. Pure."""

from dataclasses import asdict
from typing import Any

from gateway.quota.buckets import Account, Moment, standing_of
from gateway.settings.trust import Limits


def usage_of(account: Account, limits: Limits, moment: Moment) -> dict[str, Any]:
    """Of this day and this month (UTC), and what is under way. Nothing is counted of who has no limits."""
    now = account.at(limits, moment)
    standing = standing_of([now], [limits], moment)
    return {
        "day": asdict(now.day.sums),
        "month": asdict(now.month.sums),
        "running": now.running,
        "held_tokens": now.held.tokens,
        "remaining_requests": None if standing.requests is None else standing.requests.remaining,
        "remaining_tokens": None if standing.tokens is None else standing.tokens.remaining,
    }
