"""What a failure allows, how many second tries there are, what health checks are believed, and who is a replica."""

import pytest

from backends.base import Model
from backends.errors import (
    BackendBusy,
    BackendError,
    BackendGarbage,
    BackendNotReady,
    BackendTimeout,
    BackendUnavailable,
    RequestRejected,
    UpstreamAuth,
    UpstreamBilling,
)
from backends.fake import ScriptedBackend
from backends.routing.budget import RetryBudget
from backends.routing.failures import is_mark, may_go_elsewhere, may_repeat
from backends.routing.member import Member, MemberRule
from backends.routing.replicas import replicas
from backends.routing.watch import Watch, WatchRule


@pytest.mark.parametrize(
    ("error", "repeat", "elsewhere", "mark"),
    [
        (BackendUnavailable("refused"), True, True, True),
        (BackendUnavailable("closed after the request", retryable=False), False, True, True),
        (BackendNotReady("loading"), False, True, False),
        (BackendTimeout("slow"), False, True, True),
        (BackendGarbage("no completion"), False, True, True),
        (BackendError("500", retryable=True), False, True, True),
        (UpstreamAuth("our key"), False, True, True),
        (BackendBusy("full", retry_after_s=1), True, True, False),
        (BackendBusy("full, and says not how long"), False, True, False),
        (RequestRejected("429", status=429, retry_after_s=1), True, True, False),
        (RequestRejected("429", status=429, retry_after_s=60), False, True, False),
        (RequestRejected("bad", status=400), False, False, False),
        (RequestRejected("no such model", status=404, code="model_not_found"), False, True, False),
        (RequestRejected("no such file", status=404, param="messages[0]"), False, False, False),
        (UpstreamBilling("no credit"), False, True, True),
    ],
    ids=lambda value: str(value) if isinstance(value, BackendError) else "",
)
def test_what_a_failure_allows(error: BackendError, repeat: bool, elsewhere: bool, mark: bool) -> None:
    assert (may_repeat(error, 2.0), may_go_elsewhere(error), is_mark(error)) == (repeat, elsewhere, mark)


def test_an_outage_gets_a_share_of_second_tries_and_no_more() -> None:
    budget = RetryBudget(share=0.2, most=10, left=10)
    granted = 0
    for _ in range(1000):
        budget.earn()
        granted += budget.take()

    assert 200 <= granted <= 212
    assert budget.refused == 1000 - granted


def test_one_bad_look_takes_nothing_down_and_one_good_look_brings_it_back() -> None:
    watch = Watch(WatchRule(down_after=2, up_after=1))

    assert [watch.heard(is_ready, "") for is_ready in (False, True, False, False, True)] == [
        False, False, False, True, True,
    ]  # fmt: skip
    assert watch.is_up


def test_who_states_another_revision_is_no_replica_and_who_states_none_is() -> None:
    loose = MemberRule(states_revision=False)
    first, same, other, silent = (
        Member(ScriptedBackend(name=name), rule)
        for name, rule in (("first", loose), ("same", MemberRule()), ("other", MemberRule()), ("silent", loose))
    )
    found = replicas(
        [(first, Model("m", "")), (same, Model("m", "7")), (other, Model("m", "8")), (silent, Model("m", ""))]
    )

    assert found.model.revision == "7"
    assert found.members == (first, same, silent)
    assert found.strangers == (other,)
