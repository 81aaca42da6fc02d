"""Which backend answers for a name, and one second try, as long as nothing is configured."""

import asyncio
from contextlib import aclosing

import pytest

from backends.base import Health
from backends.chat import ChatRequest, Delta, collect
from backends.errors import BackendError, BackendTimeout, BackendUnavailable
from backends.fake import Script, ScriptedBackend, say
from backends.routing.router import Router, UnknownModel

REQUEST = ChatRequest("local", ({"role": "user", "content": "hi"},))
DOWN = BackendUnavailable("down")


def failing(error: BackendError, times: int, before: tuple[Delta, ...] = ()) -> Script:
    """A script that fails so many times, after saying `before`, and then answers."""
    left = iter(range(times))
    return lambda _request: [*before, error] if next(left, None) is not None else say("fine")


async def no_wait(_seconds: float) -> None:
    """Does not."""


async def ask(backend: ScriptedBackend) -> str:
    router = Router([backend], sleep=no_wait)
    route = await router.resolve("local")
    async with aclosing(router.stream(route, REQUEST)) as deltas:
        return str(collect([delta async for delta in deltas]).choices[0].message["content"])


async def test_a_name_that_is_served_goes_to_its_backend_and_others_upstream() -> None:
    local, upstream = ScriptedBackend(model_names=["local"]), ScriptedBackend(name="upstream", model_names=["up"])
    router = Router([local], upstream)

    routes = {name: await router.resolve(name) for name in ("local", "up", "anything/else")}

    assert {name: route.step.members[0].name for name, route in routes.items()} == {
        "local": "scripted",
        "up": "upstream",
        "anything/else": "upstream",
    }
    assert routes["anything/else"].model.name == "anything/else"
    assert [model.name for model in await router.models()] == ["local", "up"]


async def test_a_name_served_twice_belongs_to_the_first() -> None:
    router = Router([ScriptedBackend(name="a")], ScriptedBackend(name="b"))

    assert (await router.resolve("scripted")).step.members[0].name == "a"
    assert [model.owned_by for model in await router.models()] == ["a"]


async def test_without_an_upstream_an_unknown_name_is_the_callers_error() -> None:
    with pytest.raises(UnknownModel) as caught:
        await Router([ScriptedBackend()]).resolve("gpt-5")

    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")
    assert "gpt-5" in caught.value.message


async def test_a_backend_that_was_not_there_is_asked_once_more() -> None:
    backend = ScriptedBackend(failing(DOWN, times=1), model_names=["local"])

    assert await ask(backend) == "fine"
    assert backend.calls == 2


@pytest.mark.parametrize(
    "script",
    [
        failing(DOWN, times=2),
        failing(BackendUnavailable("down for good", retryable=False), times=1),
        failing(BackendTimeout("slow"), times=1),
        failing(BackendError("broken", retryable=True), times=1),
        failing(DOWN, times=1, before=(Delta(fields={"content": "be"}),)),
    ],
    ids=["down twice", "down for good", "timeout", "broken", "after the first delta"],
)
async def test_other_failures_are_the_callers_to_see(script: Script) -> None:
    backend = ScriptedBackend(script, model_names=["local"])
    with pytest.raises(BackendError):
        await ask(backend)

    assert backend.calls <= 2


async def test_nothing_is_asked_again_after_the_first_delta() -> None:
    backend = ScriptedBackend(failing(DOWN, times=1, before=(Delta(),)), model_names=["local"])
    with pytest.raises(BackendUnavailable):
        await ask(backend)

    assert backend.calls == 1


async def test_closing_the_road_closes_the_backends_stream() -> None:
    backend = ScriptedBackend([Delta(fields={"content": "x"}), asyncio.Event()], model_names=["local"])
    router = Router([backend])
    async with aclosing(router.stream(await router.resolve("local"), REQUEST)) as deltas:
        await anext(deltas)

    assert (backend.active, backend.cancelled) == (0, 1)


async def test_every_backend_is_opened_asked_and_closed() -> None:
    backends = [ScriptedBackend(name="a"), ScriptedBackend(name="b")]
    backends[1].health_now = Health(False, "loading")
    router = Router(backends[:1], backends[1])

    await router.open()
    assert [backend.is_open for backend in backends] == [True, True]
    assert await router.health() == {"a": Health(True), "b": Health(False, "loading")}
    await router.close()
    assert [backend.is_open for backend in backends] == [False, False]


async def test_a_backend_added_later_is_resolved_and_closed_and_a_removed_one_is_neither() -> None:
    late, early = ScriptedBackend(name="late", model_names=["late"]), ScriptedBackend(name="early")
    router = Router([early], ScriptedBackend(name="upstream"))
    await router.open()
    await late.open()
    router.add(late)
    router.remove(early)

    assert (await router.resolve("late")).step.members[0].backend is late
    assert (await router.resolve("scripted")).step.members[0].name == "upstream"
    await router.close()
    assert (late.is_open, early.is_open) == (False, True)


async def test_one_that_does_not_open_closes_the_others() -> None:
    class Broken(ScriptedBackend):
        async def open(self) -> None:
            raise BackendUnavailable("no engine")

    first = ScriptedBackend()
    with pytest.raises(BackendUnavailable):
        await Router([first, Broken()]).open()

    assert not first.is_open
