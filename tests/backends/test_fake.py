"""The scripted backend says what it is told to."""

import asyncio

import pytest

from backends.chat import ChatRequest, Completion, Delta, Usage, collect
from backends.errors import BackendBusy
from backends.fake import ScriptedBackend, say

REQUEST = ChatRequest("scripted", ({"role": "user", "content": "two words"},))


async def collected(backend: ScriptedBackend) -> Completion:
    return collect([delta async for delta in backend.stream(REQUEST)])


async def test_by_default_it_repeats_the_question() -> None:
    backend = ScriptedBackend()
    completion = await collected(backend)

    assert completion.choices[0].message == {"role": "assistant", "content": "You said: two words"}
    assert completion.usage == Usage(5, 4)
    assert backend.requests == [REQUEST]


async def test_an_event_holds_the_script_until_it_is_set() -> None:
    gate = asyncio.Event()
    backend = ScriptedBackend([gate, *say("open")])
    stream = backend.stream(REQUEST)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert backend.active == 1
    assert not first.done()

    gate.set()
    assert (await first).fields == {"role": "assistant", "content": ""}
    await stream.aclose()
    assert (backend.active, backend.cancelled) == (0, 1)


async def test_an_error_in_the_script_is_raised_and_is_no_cancellation() -> None:
    backend = ScriptedBackend([Delta(fields={"content": "x"}), 0.001, BackendBusy("full")])
    with pytest.raises(BackendBusy):
        await collected(backend)

    assert (backend.calls, backend.active, backend.cancelled) == (1, 0, 0)
