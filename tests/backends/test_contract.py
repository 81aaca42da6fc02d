"""The backends that need no model keep the promises of every backend."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from backends.chat import ChatRequest, Delta
from backends.errors import BackendError
from backends.fake import ScriptedBackend, Step, say
from backends.remote import FLAVOURS, RemoteSpec, remote
from backends.upstream import UpstreamBackend
from tests.contracts.backend_contract import PROMISES, Subject
from tests.upstream import RunningUpstream, address, running_upstream

Make = Callable[[RunningUpstream], AbstractAsyncContextManager[Subject]]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as server:
        yield server


def ask_for(model: str, *, stream: bool = True) -> ChatRequest:
    return ChatRequest(model, ({"role": "user", "content": "What is a block table?"},), stream=stream)


def script(request: ChatRequest) -> Iterable[Step]:
    if request.model == "failing":
        return [BackendError("as told")]
    if request.model == "endless":
        return itertools.cycle([Delta(fields={"content": "more"}), 0.01])
    return say("A block table maps positions to blocks.")


@asynccontextmanager
async def scripted(_upstream: RunningUpstream) -> AsyncIterator[Subject]:
    backend = ScriptedBackend(script)

    async def is_idle() -> bool:
        return backend.active == 0

    await backend.open()
    yield Subject(backend, ask_for("scripted"), ask_for("endless"), ask_for("failing"), is_idle)
    await backend.close()


@asynccontextmanager
async def openai_streaming(upstream: RunningUpstream) -> AsyncIterator[Subject]:
    backend = UpstreamBackend("upstream", upstream.base_url)

    async def is_idle() -> bool:
        return upstream.counters()["active"] == 0 and backend.stats.active == 0

    await backend.open()
    yield Subject(backend, ask_for("normal"), ask_for("hang:mid"), ask_for("error:400"), is_idle)
    await backend.close()


@asynccontextmanager
async def openai_failing_late(upstream: RunningUpstream) -> AsyncIterator[Subject]:
    """The same, over plain HTTP/1.1 chunks cut anywhere, with errors that come after the first delta."""
    backend = UpstreamBackend("upstream", upstream.base_url.removesuffix("/v1") + "/")

    async def is_idle() -> bool:
        return upstream.counters()["active"] == 0 and backend.stats.active == 0

    await backend.open()
    yield Subject(backend, ask_for("with:reasoning"), ask_for("slow:0.2"), ask_for("cut"), is_idle)
    await backend.close()


def spoken_to(flavour: str) -> Make:
    """A server of another kind, behind what turns a spec into a backend."""

    @asynccontextmanager
    async def make(upstream: RunningUpstream) -> AsyncIterator[Subject]:
        backend = remote(RemoteSpec("upstream", address(upstream, flavour), flavour, api_key="key"))

        async def is_idle() -> bool:
            return upstream.counters()["active"] == 0

        await backend.open()
        yield Subject(backend, ask_for("with:reasoning"), ask_for("hang:mid"), ask_for("error:400"), is_idle)
        await backend.close()

    return make


MAKERS = {
    "scripted": scripted,
    "streaming": openai_streaming,
    "failing late": openai_failing_late,
    **{flavour: spoken_to(flavour) for flavour in FLAVOURS},
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_every_backend(
    promise: Callable[[Subject], Awaitable[None]], make: Make, upstream: RunningUpstream
) -> None:
    async with make(upstream) as subject:
        await promise(subject)
