"""Taking backends out of service and back, their queues, and what they tell of themselves."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

import pytest

from backends.base import Health, Model
from backends.chat import ChatRequest, Delta, Usage, collect
from backends.errors import BackendBusy, BackendNotReady, BackendUnavailable
from backends.fake import ScriptedBackend, say
from backends.routing.member import Member, MemberRule
from backends.routing.router import Router, UnknownModel
from backends.routing.watch import WatchRule
from tests.backends.routing.fleet import failing, fleet

TEXT = Delta(fields={"content": "x"})


async def test_a_drained_backend_finishes_what_runs_and_takes_nothing_new() -> None:
    end = asyncio.Event()
    two = fleet({"a": [TEXT, end, *say("a")], "b": say("b")})
    running = asyncio.create_task(two.ask())
    await asyncio.sleep(0.01)
    assert two.backends["a"].active == 1

    two.member("a").drain()
    assert [(await two.ask()).text for _ in range(4)] == ["b"] * 4
    assert two.member("a").state == "draining"
    end.set()
    assert (await running).text.endswith("a")
    assert two.member("a").state == "drained"

    two.member("a").resume()
    end.set()
    for _ in range(2):
        await two.ask()
    assert two.backends["a"].calls == 2


async def test_who_waits_for_a_backend_that_is_drained_goes_elsewhere() -> None:
    end = asyncio.Event()
    two = fleet({"a": [TEXT, end], "b": [TEXT, end]}, at_once=1)
    tasks = [asyncio.create_task(two.ask()) for _ in range(4)]
    await asyncio.sleep(0.01)
    assert two.member("a").gate.waiting == 1
    two.member("a").drain()
    await asyncio.sleep(0.01)

    assert (two.member("a").gate.waiting, two.member("b").gate.waiting) == (0, 2)
    end.set()
    await asyncio.gather(*tasks)


async def test_when_all_are_drained_it_is_said() -> None:
    one = fleet({"a": say("a")})
    one.member("a").drain()

    with pytest.raises(BackendNotReady, match="takes no new requests"):
        await one.ask()
    assert (await one.router.health())["a"] == Health(False, "drained")


async def test_a_full_queue_sends_to_another_replica_and_then_away() -> None:
    end = asyncio.Event()
    two = fleet({"a": [TEXT, end], "b": [TEXT, end]}, at_once=1, queue=1)
    tasks = [asyncio.create_task(two.ask()) for _ in range(4)]
    await asyncio.sleep(0.01)

    with pytest.raises(BackendBusy) as caught:
        await two.ask()
    assert (caught.value.status, caught.value.retry_after_s is not None) == (503, True)
    end.set()
    await asyncio.gather(*tasks)
    assert two.calls() == {"a": 2, "b": 2}


async def test_a_caller_who_leaves_the_queue_is_gone_at_once_and_never_asked_for() -> None:
    end = asyncio.Event()
    one = fleet({"a": [TEXT, end]}, at_once=1)
    first, second = (asyncio.create_task(one.ask()) for _ in range(2))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.wait([second])

    assert (second.cancelled(), one.member("a").gate.waiting, one.backends["a"].calls) == (True, 0, 1)
    end.set()
    await first


async def test_a_backend_that_looks_ill_is_asked_last_and_still_asked() -> None:
    two = fleet({"a": say("a"), "b": say("b")})
    for _ in range(2):
        two.member("a").watch.heard(False, "loading")

    assert [(await two.ask()).text for _ in range(3)] == ["b"] * 3
    two.member("b").drain()
    assert (await two.ask()).text == "a"


async def test_health_is_looked_at_in_the_background() -> None:
    ill = ScriptedBackend(name="a", model_names=["m"])
    ill.health_now = Health(False, "loading")
    rule = MemberRule(watch=WatchRule(every_s=0.005, down_after=2), states_revision=False)
    router = Router([Member(ill, rule)])
    await router.open()
    await until(lambda: router.members[0].state == "down")
    ill.health_now = Health(True)
    await until(lambda: router.members[0].state == "ready")
    await router.close()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_what_a_backend_served_is_remembered_while_its_list_is_away() -> None:
    names = ["m"]

    class Listing(ScriptedBackend):
        async def models(self) -> Sequence[Model]:
            return [self.model(name) for name in names]

    router = Router([Member(Listing(say("fine")), MemberRule(watch=WatchRule()))])
    assert (await router.resolve("m")).model.name == "m"
    names.clear()
    await router.members[0].ask_models()

    assert (await router.resolve("m")).model.name == "m"
    with pytest.raises(UnknownModel):
        await router.resolve("other")


async def test_a_model_that_a_silent_backend_may_serve_is_not_called_unknown() -> None:
    router = Router([Member(ScriptedBackend(model_names=[]), MemberRule(watch=WatchRule()))])

    with pytest.raises(BackendNotReady):
        await router.resolve("m")


async def test_a_report_says_how_each_has_done() -> None:
    usage = Delta(usage=Usage(10, 1, cached_tokens=4))
    two = fleet({"a": failing(BackendUnavailable("nobody is there")), "b": [TEXT, usage]})
    for _ in range(2):
        await two.ask()
    a, b = two.router.report()["backends"]

    assert (a["failures"], a["last_error"]["message"]) == ({"unavailable": a["requests"]}, "nobody is there")
    assert (b["requests"], b["cached_share"], b["running"], b["state"]) == (2, 0.4, 0, "ready")


async def test_a_stronger_replica_is_given_more() -> None:
    end = asyncio.Event()
    two = fleet({"a": [TEXT, end], "b": [TEXT, end]}, policy="least_load")
    two.member("a").weight = 3
    tasks = [asyncio.create_task(two.ask()) for _ in range(8)]
    await asyncio.sleep(0.02)
    calls = two.calls()
    end.set()
    await asyncio.gather(*tasks)

    assert calls == {"a": 6, "b": 2}


async def test_closing_a_stream_closes_the_backends_and_gives_its_place_back() -> None:
    one = fleet({"a": [TEXT, asyncio.Event()]}, at_once=1)
    request = ChatRequest("m", ({"role": "user", "content": "hi"},))
    async with aclosing(one.router.stream(await one.router.resolve("m"), request)) as deltas:
        await anext(deltas)

    assert (one.backends["a"].active, one.member("a").gate.inside) == (0, 0)


async def test_a_local_engine_is_a_replica_beside_a_server_and_is_asked_last_while_it_loads() -> None:
    local, server = (ScriptedBackend(say(name), name=name, model_names=["m"]) for name in ("local", "server"))
    local.health_now = Health(False, "loading")
    loose = MemberRule(names=("m",), states_revision=False)
    router = Router([Member(server, loose)], rule=MemberRule(watch=WatchRule(every_s=0.005, down_after=1)))
    await router.open()
    router.add(local)
    await until(lambda: router.members[1].state == "down")
    route = await router.resolve("m")
    texts = {collect([delta async for delta in router.stream(route, ChatRequest("m", ()))]).text for _ in range(8)}
    local.health_now = Health(True)
    await until(lambda: not router.members[1].is_silent)

    assert texts == {"server"}
    assert (await router.resolve("m")).model.revision == "local-1"
    assert [member.name for member in (await router.resolve("m")).step.members] == ["server", "local"]
    router.remove(local)
    assert [member.name for member in (await router.resolve("m")).step.members] == ["server"]
    await router.close()


async def test_a_silent_server_holds_up_nobody_elses_model() -> None:
    class Hanging(ScriptedBackend):
        async def models(self) -> Sequence[Model]:
            await asyncio.Event().wait()
            return ()

    hanging = Member(Hanging(name="hanging"), MemberRule(watch=WatchRule()))
    router = Router([hanging, ScriptedBackend(model_names=["m"])])
    async with asyncio.timeout(5):
        assert (await router.resolve("m")).backend is router.members[1].backend
