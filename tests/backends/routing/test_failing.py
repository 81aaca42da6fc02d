"""One of several fails: nobody hears of it who can be answered by another."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from backends.chat import ChatRequest, Delta
from backends.errors import (
    BackendBusy,
    BackendError,
    BackendGarbage,
    BackendNotReady,
    BackendTimeout,
    BackendUnavailable,
    RequestRejected,
    UpstreamBilling,
)
from backends.fake import Step, say
from backends.routing.aliases import Alias, Target
from backends.routing.breaker import BreakerRule
from backends.routing.budget import RetryBudget
from tests.backends.routing.fleet import failing, fleet

DEAD = BackendUnavailable("nobody is there")
TOO_MANY = RequestRejected("slow down", status=429, retry_after_s=7)
LACKING = RequestRejected("no such model", status=404, code="model_not_found")
UNPAID = UpstreamBilling("no credit")
FAILURES = [
    DEAD, BackendTimeout("hangs"), BackendError("500"), BackendBusy("full"), TOO_MANY, BackendGarbage("html"),
    UNPAID, LACKING,
]  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_replica_that_fails_before_its_first_delta_gives_way_to_another(failure: BackendError) -> None:
    two = fleet({"a": failing(failure), "b": say("fine")})

    assert [(await two.ask()).text for _ in range(4)] == ["fine"] * 4
    assert two.backends["a"].calls >= 1
    assert two.clock.slept == []


async def test_what_is_the_callers_fault_is_told_at_once() -> None:
    two = fleet({"a": failing(RequestRejected("bad")), "b": failing(RequestRejected("bad"))})
    with pytest.raises(RequestRejected):
        await two.ask()

    assert sum(two.calls().values()) == 1


async def test_after_the_first_delta_nobody_else_is_asked() -> None:
    script = failing(DEAD, before=[Delta(fields={"content": "half an"})])
    two = fleet({"a": script, "b": script})
    with pytest.raises(BackendUnavailable):
        await two.ask()

    assert sum(two.calls().values()) == 1


async def test_when_all_have_failed_they_are_asked_again_after_a_pause() -> None:
    two = fleet({"a": failing(DEAD, times=1), "b": failing(DEAD, times=1)}, retries=1)

    assert (await two.ask()).text == "fine"
    assert len(two.clock.slept) == 1
    assert 0 < two.clock.slept[0] <= 0.2
    assert sum(two.calls().values()) == 3
    assert sum(member.retries for member in two.router.members) == 1


async def test_who_is_too_slow_is_not_asked_twice() -> None:
    two = fleet({"a": failing(BackendTimeout("hangs")), "b": failing(DEAD, times=2)}, retries=2)

    assert (await two.ask()).text == "fine"
    assert two.calls() == {"a": 1, "b": 3}


async def test_a_wait_that_the_server_asks_for_is_kept_when_it_is_short() -> None:
    one = fleet({"a": failing(RequestRejected("slow down", status=429, retry_after_s=1.5), times=1)}, retries=1)

    assert (await one.ask()).text == "fine"
    assert one.clock.slept[0] >= 1.5


async def test_a_wait_that_is_long_is_told_to_the_caller() -> None:
    one = fleet({"a": failing(TOO_MANY)}, retries=3)
    with pytest.raises(RequestRejected) as caught:
        await one.ask()

    assert (caught.value.status, caught.value.retry_after_s, one.clock.slept) == (429, 7, [])


async def test_an_outage_is_not_amplified() -> None:
    one = fleet({"a": failing(DEAD)}, retries=3, budget=RetryBudget(share=0.1, most=5, left=5))
    for _ in range(100):
        with pytest.raises(BackendUnavailable):
            await one.ask()

    assert 100 < one.backends["a"].calls <= 100 + 5 + 10


async def test_one_that_fails_in_a_row_is_left_alone_and_tried_again_later() -> None:
    rule = BreakerRule(failures=3, open_s=5)
    two = fleet({"a": failing(DEAD, times=3, then="back"), "b": say("fine")}, breaker=rule)
    for _ in range(20):
        await two.ask()
    assert (two.backends["a"].calls, two.member("a").state) == (3, "open")

    two.clock.now_s += 5
    assert {(await two.ask()).text for _ in range(4)} == {"back", "fine"}
    assert two.member("a").state == "ready"


async def test_when_all_are_left_alone_the_caller_is_told_when_to_come_back() -> None:
    one = fleet({"a": failing(DEAD)}, breaker=BreakerRule(failures=2, open_s=5))
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            await one.ask()
    with pytest.raises(BackendNotReady) as caught:
        await one.ask()

    assert (caught.value.status, caught.value.retry_after_s, one.backends["a"].calls) == (503, 5, 2)


async def test_one_that_is_busy_rests_and_is_not_broken() -> None:
    two = fleet({"a": failing(TOO_MANY), "b": say("fine")}, breaker=BreakerRule(failures=1))
    for _ in range(10):
        await two.ask()

    assert two.backends["a"].calls <= 1
    assert two.member("a").breaker.state(0) == "closed"
    two.clock.now_s += 8
    assert two.member("a").rank() == 0


async def test_a_caller_who_leaves_half_a_trial_lets_the_next_one_try() -> None:
    scripts: Iterator[list[Step]] = iter([[DEAD], [Delta(fields={"content": "a"}), asyncio.Event()], [*say("back")]])
    one = fleet({"a": lambda _: next(scripts)}, breaker=BreakerRule(failures=1, open_s=5))
    with pytest.raises(BackendUnavailable):
        await one.ask()
    one.clock.now_s += 5
    async with aclosing(one.router.stream(await one.router.resolve("m"), ChatRequest("m", ()))) as deltas:
        await anext(deltas)

    assert (await one.ask()).text == "back"


async def test_a_fallback_answers_in_its_own_name_and_says_so() -> None:
    aliases = [Alias("smart", (Target("m"),), fallback=("gone", "local"))]
    models = {"a": "m", "b": "local"}
    house = fleet({"a": failing(DEAD), "b": say("instead")}, models=models, aliases=aliases)
    deltas = await house.deltas(model="smart")

    assert deltas[0].fallback == "local"
    assert house.backends["b"].requests[0].model == "local"
    assert house.router.fallbacks == {("m", "local"): 1}


async def test_a_fallback_that_fails_too_leaves_the_first_failure_to_tell() -> None:
    aliases = [Alias("m", fallback=("local",))]
    models = {"a": "m", "b": "local"}
    house = fleet({"a": failing(TOO_MANY), "b": failing(RequestRejected("no"))}, models=models, aliases=aliases)

    with pytest.raises(RequestRejected) as caught:
        await house.deltas()
    assert caught.value.status == 429


async def test_no_fallback_is_asked_for_what_is_the_callers_fault() -> None:
    models = {"a": "m", "b": "local"}
    scripts = {"a": failing(RequestRejected("bad")), "b": say("instead")}
    house = fleet(scripts, models=models, aliases=[Alias("m", fallback=("local",))])

    with pytest.raises(RequestRejected):
        await house.ask()
    assert house.backends["b"].calls == 0


async def test_an_alias_resolves_to_revisions_that_tell_its_targets_apart() -> None:
    aliases = [Alias("smart", (Target("m"), Target("large")))]
    house = fleet({"a": say("m"), "b": say("large")}, models={"b": "large"}, aliases=aliases)
    routes = {
        (await house.router.resolve("smart", ({"role": "user", "content": str(number)},))).model.revision
        for number in range(20)
    }

    assert len(routes) == 2
    assert "smart" in [model.name for model in await house.router.models()]


async def test_a_tenant_whose_requests_break_a_backend_shuts_out_himself_alone() -> None:
    def picky(request: ChatRequest) -> list[Step]:
        return [BackendError("500: image input is not supported")] if request.owner == "rude" else [*say("fine")]

    one = fleet({"a": picky}, breaker=BreakerRule(failures=3))
    for _ in range(9):
        with pytest.raises(BackendError):
            await one.ask(owner="rude")

    assert (await one.ask(owner="other")).text == "fine"
    assert one.backends["a"].calls == 3 + 1
    assert one.member("a").report()["breaker"] == {"state": "closed", "opened": 1, "tenants": 1, "wait_s": 0}
    assert one.member("a").state == "open_for_some"


async def test_while_a_long_trial_streams_others_are_answered() -> None:
    scripts: Iterator[list[Step]] = iter([[DEAD], [Delta(fields={"content": "a"}), asyncio.Event()], [*say("back")]])
    one = fleet({"a": lambda _: next(scripts)}, breaker=BreakerRule(failures=1, open_s=5))
    with pytest.raises(BackendUnavailable):
        await one.ask()
    one.clock.now_s += 5
    async with aclosing(one.router.stream(await one.router.resolve("m"), ChatRequest("m", ()))) as deltas:
        await anext(deltas)
        assert (await one.ask()).text == "back"


async def test_one_that_lacks_its_model_is_asked_last_for_it_for_a_while() -> None:
    two = fleet({"a": failing(LACKING, times=1, then="found"), "b": say("fine")})
    for member in two.router.members:
        await member.models()
    assert {(await two.ask()).text for _ in range(6)} == {"fine"}
    assert (two.backends["a"].calls, two.member("a").state, two.member("a").report()["lacks"]) == (1, "ready", ["m"])

    two.clock.now_s += 30
    assert {(await two.ask()).text for _ in range(4)} == {"found", "fine"}
    assert two.member("a").report()["lacks"] == []


async def test_what_nobody_has_is_told_as_the_server_said_it_and_a_real_failure_before_it() -> None:
    nobody = fleet({"a": failing(LACKING), "b": failing(LACKING)})
    some = fleet({"a": failing(UNPAID), "b": failing(LACKING)})

    with pytest.raises(RequestRejected, match="no such model"):
        await nobody.ask()
    for _ in range(2):
        with pytest.raises(UpstreamBilling):
            await some.ask()


@pytest.mark.parametrize("failure", [UNPAID, LACKING])
async def test_a_fallback_stands_in_for_a_backend_without_credit_or_model(failure: BackendError) -> None:
    models = {"a": "m", "b": "local"}
    aliases = [Alias("m", fallback=("local",))]
    house = fleet({"a": failing(failure), "b": say("instead")}, models=models, aliases=aliases)

    assert (await house.ask()).text == "instead"


async def test_an_alias_says_which_of_its_models_nobody_serves(caplog: pytest.LogCaptureFixture) -> None:
    aliases = [
        Alias("half", (Target("m"), Target("gone"), Target("off", 0))),
        Alias("none", (Target("gone"),), fallback=("lost",)),
        Alias("m", fallback=("gone",)),
    ]
    house = fleet({"a": say("fine")}, aliases=aliases)
    await house.router.open()
    await asyncio.sleep(0.01)
    told = {alias["name"]: alias["unserved"] for alias in house.router.report()["aliases"]}

    assert told == {"half": ["gone"], "none": ["gone", "lost"], "m": ["gone"]}
    assert [model.name for model in await house.router.models()] == ["m", "half"]
    assert "the alias none names lost, which nobody serves" in caplog.text
    await house.router.close()
