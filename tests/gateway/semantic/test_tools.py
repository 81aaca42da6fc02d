"""An answer that calls a tool is given to its own request alone: whoever says it otherwise may mean another order."""

from dataclasses import replace
from pathlib import Path

from backends.chat import ChatRequest
from backends.fake import ScriptedBackend, say
from gateway.answers.base import Unembedded
from gateway.quota.policies import FREE
from gateway.semantic.found import TOOLS_CALLED
from tests.gateway.house import House, house

QUESTION, REWORDED = "Cancel the order of Bob Miller.", "Please cancel the order of Bob Miller."
CALL = {"id": "call_1", "type": "function", "function": {"name": "cancel", "arguments": '{"order": 5}'}}
TOOLS = [{"type": "function", "function": {"name": "cancel", "parameters": {}}}]


def calling() -> ScriptedBackend:
    said = say("", finish_reason="tool_calls")
    fields = {"role": "assistant", "tool_calls": [{"index": 0, **CALL}]}
    return ScriptedBackend([replace(said[0], fields=fields), *said[-2:]])


async def told(gateway: House, text: str) -> tuple[str, object]:
    outcome, completion = await gateway.chat(text, tools=TOOLS)
    await gateway.pipeline.close()  # what is owed to the index is done
    return outcome.tier, completion.choices[0].message.get("tool_calls")


async def test_a_call_is_had_again_by_the_same_words_and_by_no_others(tmp_path: Path) -> None:
    async with house(tmp_path, calling(), reads_wordings=True) as gateway:
        tiers = [await told(gateway, text) for text in (QUESTION, REWORDED, QUESTION)]

        assert [tier for tier, _ in tiers] == ["full", "full", "exact"]
        assert all(calls for _, calls in tiers)
        assert gateway.backend.calls == 2
        assert gateway.semantic.num_vectors == 0


async def test_a_call_that_was_kept_with_its_question_is_not_served_to_other_words(tmp_path: Path) -> None:
    """As earlier versions kept them, and as a file that is imported may have them."""
    async with house(tmp_path, calling()) as gateway:
        await told(gateway, QUESTION)
        request = ChatRequest("scripted", ({"role": "user", "content": QUESTION},), {"tools": TOOLS})
        asked = await gateway.pipeline.ask(request, "t", "", gateway.controls, FREE)
        entry = await gateway.answers.get(asked.fp.scope, asked.fp.exact)
        assert entry is not None
        await gateway.answers.put(replace(entry, question=QUESTION))
        await gateway.semantic.remember(
            Unembedded(entry.id, entry.scope, entry.compat, QUESTION, None), asked.rule.key, b"its answer"
        )

        tier, _ = await told(gateway, REWORDED)

        assert (tier, gateway.semantic.num_vectors) == ("full", 1)
        assert gateway.count("twicetold_lookups_total", tier="semantic", outcome="miss", reason=TOOLS_CALLED) == 1
