"""What becomes of requests that differ in volatile text alone, on their way through the gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from backends.chat import ChatRequest
from backends.fake import ScriptedBackend, say
from gateway.cli.explain_text import rendered
from gateway.explain import Explainer
from gateway.normalise.request import Normaliser
from gateway.normalise.route import route_of
from gateway.outcome import Outcome
from gateway.settings import NormaliseSettings
from tests.gateway.house import House, house, read


@asynccontextmanager
async def normalising(folder: Path, answer: str = "A list of blocks.", **said: Any) -> AsyncIterator[House]:
    normaliser = Normaliser([route_of(NormaliseSettings(**said), "normalise[0]")])
    async with house(folder, ScriptedBackend(lambda _: say(answer)), normaliser=normaliser) as gateway:
        gateway.metrics.watch(normaliser.samples)
        yield gateway


def at(clock: str, question: str = "What is a block table?") -> ChatRequest:
    system = {"role": "system", "content": f"Current time: 2026-06-09 {clock}\nBe brief."}
    return ChatRequest("scripted", (system, {"role": "user", "content": question}))


async def ask(gateway: House, request: ChatRequest) -> Outcome:
    reply = await gateway.pipeline.answer(request, "t", "", gateway.controls)
    await read(reply)
    return reply.outcome


async def test_the_same_question_in_the_same_minute_is_answered_from_memory(tmp_path: Path) -> None:
    async with normalising(tmp_path) as gateway:
        await ask(gateway, at("12:00:05"))
        assert (await ask(gateway, at("12:00:51"))).tier == "exact"
        assert gateway.backend.requests[0].messages == at("12:00:05").messages  # sent as it came
        assert gateway.count("twicetold_normalised_total", rule="clock", place="key") == 2


async def test_a_backend_that_is_sent_what_is_left_never_sees_the_clock(tmp_path: Path) -> None:
    async with normalising(tmp_path, send=True, clock_to="day") as gateway:
        await ask(gateway, at("12:00:05"))
        assert gateway.backend.requests[0].messages[0]["content"] == "Current time: 2026-06-09 xx:xx\nBe brief."
        assert (await ask(gateway, at("13:07:51"))).tier == "exact"


async def test_an_answer_that_tells_the_time_is_not_kept(tmp_path: Path) -> None:
    async with normalising(tmp_path, "It was asked at 12:00:05.") as gateway:
        await ask(gateway, at("12:00:05"))
        assert (await ask(gateway, at("12:00:51"))).tier == "full"


async def test_an_hour_later_the_answer_is_another_one_in_every_language(tmp_path: Path) -> None:
    async with normalising(tmp_path, "Es ist 9 Uhr.") as gateway:
        await ask(gateway, at("09:00:12", "Wie spät ist es?"))
        assert (await ask(gateway, at("23:00:12", "Wie spät ist es?"))).tier == "full"


async def test_nobody_rides_along_with_another_prompt(tmp_path: Path) -> None:
    async with normalising(tmp_path) as gateway:
        await asyncio.gather(ask(gateway, at("12:00:05")), ask(gateway, at("12:00:06")))
        assert gateway.backend.calls == 2


async def test_explain_shows_what_was_taken_out(tmp_path: Path) -> None:
    async with normalising(tmp_path) as gateway:
        explainer = Explainer(gateway.pipeline, gateway.answers, gateway.semantic)
        told = (await explainer.explain(at("12:00:05"), "t", "", gateway.controls)).as_json()
        assert [(one["rule"], one["text"]) for one in told["normalised"]["taken_out"]] == [("clock", " 12:00:05")]
        assert "' 12:00:05', now ' 12:00' for the key alone: rule clock, message 1 (system), character 25" in rendered(
            told
        )
        told = (
            await explainer.explain(at("12:00:05", "How many seconds are left?"), "t", "", gateway.controls)
        ).as_json()
        assert "the clock stays: names_seconds" in rendered(told)
