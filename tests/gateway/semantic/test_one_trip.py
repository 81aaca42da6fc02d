"""What a hit by meaning costs: one text to embed, and no thread beside the embedder's."""

import asyncio
from pathlib import Path

from backends.fake import ScriptedBackend, say
from gateway.policy import Rules
from gateway.semantic.rule import LaneRule
from tests.gateway.house import house

SHADOW = Rules(mode="shadow", shadow_rate=0.0)
QUESTION, REWORDED = "What is the capital of France?", "What is the capital city of France?"


async def test_a_lookup_embeds_the_question_and_no_stored_one(tmp_path: Path) -> None:
    backend = ScriptedBackend(say("The Seine."))
    async with house(tmp_path, backend) as gateway:
        await gateway.chat(QUESTION)
        await gateway.pipeline.close()  # what is owed to the index is done
        before = gateway.semantic.batcher.stats.texts
        gateway.semantic.batcher._readings._kept.clear()  # what was read long ago

        outcome, _ = await gateway.chat(REWORDED)

        assert outcome.tier == "semantic"
        assert gateway.semantic.batcher.stats.texts == before + 1


async def test_a_lane_that_is_busy_is_waited_for_and_holds_nobody_else_up(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        lanes, rule = gateway.semantic.lanes, LaneRule.of("t", SHADOW)
        held = await lanes.report(rule)
        held.is_quick = True

        assert (await lanes.decide_wording(rule, "a", "e_1")).action == "shadow"
        with held.lock:
            waiting = asyncio.create_task(lanes.decide_wording(rule, "a", "e_1"))
            await asyncio.sleep(0.02)  # the loop goes on
            assert not waiting.done()
        assert (await waiting).action == "shadow"
