"""Accounts in memory: bounded, and nobody's that matters is let go."""

from gateway.quota.buckets import Account
from gateway.quota.local import LocalAccounts


def test_of_too_many_the_longest_idle_go_also_behind_one_that_is_busy() -> None:
    accounts = LocalAccounts(most=3)
    accounts.put("busy", Account(running=1))
    accounts.put("owed", Account())
    accounts.changed.add("owed")
    for number in range(5):
        accounts.put(f"idle {number}", Account())

    assert {name for name, _ in accounts} == {"busy", "owed", "idle 4"}
