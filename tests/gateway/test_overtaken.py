"""A generation that began before an invalidation is nobody's answer after it."""

import asyncio
from pathlib import Path

import pytest

from backends.fake import ScriptedBackend
from backends.fake import say as scripted
from gateway.answers.selection import Selection
from gateway.controls import Controls
from tests.gateway.house import house, read

QUESTION = "What is the capital city of France?"


@pytest.mark.parametrize(
    ("selection", "is_kept"), [(Selection(), False), (Selection(tag="x"), False), (Selection(id="another"), True)]
)
async def test_who_asks_after_an_invalidation_does_not_join_what_began_before_it(
    tmp_path: Path, selection: Selection, is_kept: bool
) -> None:
    gate = asyncio.Event()
    words = scripted("the old one")
    backend = ScriptedBackend([*words[:2], gate, *words[2:]])
    async with house(tmp_path, backend) as gateway:
        tagged = Controls(tags=("x",))
        before = await gateway.ask(QUESTION, controls=tagged)
        await gateway.answers.remove_all(selection)
        backend.script = lambda _: [*scripted("the old one" if is_kept else "the new one")]
        after = asyncio.create_task(gateway.chat(QUESTION, controls=tagged))
        async with asyncio.timeout(10):
            while backend.calls < (1 if is_kept else 2):  # noqa: ASYNC110 - it changes in another task
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)  # who joins has joined
        gate.set()
        texts = [(await read(before)).choices[0].message["content"], (await after)[1].choices[0].message["content"]]
        await gateway.pipeline.close()

        assert texts == (["the old one"] * 2 if is_kept else ["the old one", "the new one"])
        assert backend.calls == (1 if is_kept else 2)
        outcome, kept = await gateway.chat(QUESTION)
        assert (outcome.tier, kept.choices[0].message["content"]) == ("exact", texts[1])
