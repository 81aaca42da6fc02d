"""What every backend must do. A test module calls each promise with a subject: a backend and requests for it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import pytest

from backends.base import Backend
from backends.chat import ChatRequest, Completion, Delta, collect, replay
from backends.errors import BackendError


@dataclass(frozen=True, slots=True)
class Subject:
    """An open backend, and what to ask it for each kind of answer."""

    backend: Backend
    plain: ChatRequest  # answered within a moment, the same way every time
    endless: ChatRequest  # says something, and is not done by itself for a long while
    failing: ChatRequest  # cannot be answered
    is_idle: Callable[[], Awaitable[bool]]  # whether nothing is being generated any more


async def ask(subject: Subject, request: ChatRequest) -> list[Delta]:
    async with aclosing(subject.backend.stream(request)) as deltas:
        return [delta async for delta in deltas]


async def answer(subject: Subject, request: ChatRequest) -> Completion:
    return collect(await ask(subject, request))


async def until_idle(subject: Subject) -> None:
    async with asyncio.timeout(10):
        while not await subject.is_idle():  # noqa: ASYNC110 - it changes in another thread or process
            await asyncio.sleep(0.01)


async def deltas_spell_an_answer(subject: Subject) -> None:
    completion = await answer(subject, subject.plain)

    assert completion.choices
    assert all(choice.finish_reason for choice in completion.choices)
    assert all(choice.message["role"] == "assistant" for choice in completion.choices)
    assert completion.choices[0].message["content"]


async def the_last_delta_tells_the_usage(subject: Subject) -> None:
    *_, last = await ask(subject, subject.plain)

    assert last.usage is not None
    assert last.usage.prompt_tokens > 0
    assert last.usage.completion_tokens > 0


async def nothing_is_said_after_the_finish(subject: Subject) -> None:
    finished: set[int] = set()
    for delta in await ask(subject, subject.plain):
        assert not (delta.fields and delta.index in finished)
        if delta.finish_reason is not None:
            finished.add(delta.index)


async def streamed_or_not_is_the_same_answer(subject: Subject) -> None:
    streamed, whole = [await answer(subject, replace(subject.plain, stream=stream)) for stream in (True, False)]

    assert streamed == whole


async def an_answer_survives_a_replay(subject: Subject) -> None:
    completion = await answer(subject, subject.plain)

    assert collect(replay(completion)) == completion


async def closing_the_stream_ends_the_work(subject: Subject) -> None:
    async with aclosing(subject.backend.stream(subject.endless)) as deltas:
        await anext(deltas)

    await until_idle(subject)


async def cancelling_the_reader_ends_the_work(subject: Subject) -> None:
    reader = asyncio.create_task(ask(subject, subject.endless))
    await asyncio.sleep(0.05)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    await until_idle(subject)


async def a_stream_never_begun_costs_nothing(subject: Subject) -> None:
    await subject.backend.stream(subject.endless).aclose()

    assert await subject.is_idle()


async def a_failure_is_a_backend_error(subject: Subject) -> None:
    with pytest.raises(BackendError) as caught:
        await ask(subject, subject.failing)

    assert caught.value.message
    assert 400 <= caught.value.status < 600
    await until_idle(subject)


async def a_failure_does_not_outlive_its_request(subject: Subject) -> None:
    with pytest.raises(BackendError):
        await ask(subject, subject.failing)

    assert (await answer(subject, subject.plain)).choices


async def many_at_once_do_not_mix(subject: Subject) -> None:
    alone = await answer(subject, subject.plain)
    together = await asyncio.gather(*(answer(subject, subject.plain) for _ in range(8)))

    assert [completion.choices for completion in together] == [alone.choices] * 8


async def models_have_names_and_steady_revisions(subject: Subject) -> None:
    first, second = await subject.backend.models(), await subject.backend.models()

    assert first == second
    assert all(model.name and model.revision for model in first)


async def health_is_known(subject: Subject) -> None:
    assert (await subject.backend.health()).is_ready


PROMISES = [
    deltas_spell_an_answer,
    the_last_delta_tells_the_usage,
    nothing_is_said_after_the_finish,
    streamed_or_not_is_the_same_answer,
    an_answer_survives_a_replay,
    closing_the_stream_ends_the_work,
    cancelling_the_reader_ends_the_work,
    a_stream_never_begun_costs_nothing,
    a_failure_is_a_backend_error,
    a_failure_does_not_outlive_its_request,
    many_at_once_do_not_mix,
    models_have_names_and_steady_revisions,
    health_is_known,
]
