"""What users say of semantic hits: a label for the lane, and the end of the entry everywhere after two bad ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.curation.feedback import Feedback
from gateway.curation.invalidate import Invalidation
from gateway.errors import UnknownId
from gateway.policy import Rules
from gateway.reply import Reply
from gateway.semantic.rule import LaneRule
from gateway.served import ServedMemory
from tests.gateway.house import House, house, read

QUESTION = "What is the capital city of France?"
REWORDED = ("What's the capital city of France?", "What is the capital city of France please?")
RULE = LaneRule.of("t", Rules(shadow_rate=0.0))


class Desk:
    """A house, and somebody who takes what its users say."""

    def __init__(self, gateway: House) -> None:
        self.gateway = gateway
        self.served = ServedMemory()
        invalidation = Invalidation(gateway.answers, gateway.semantic, gateway.ledger)
        self.feedback = Feedback(gateway.answers, invalidation, self.served, gateway.semantic, gateway.ledger)

    async def asked(self, text: str, response_id: str) -> Reply:
        """Ask, read to the end, and wait until what is kept can be found by its meaning."""
        reply = await self.gateway.ask(text)
        self.served.note(response_id, reply.served)
        await read(reply)
        self.served.ended(response_id)
        await self.gateway.pipeline.close()
        return reply

    async def say(self, response_id: str, *, is_good: bool) -> str:
        said = await self.feedback.of_response("t", response_id, is_good=is_good, comment="")
        return said.state


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    async with house(folder) as gateway:
        yield Desk(gateway)


async def labels(desk: Desk) -> list[tuple[str, bool]]:
    held = await desk.gateway.semantic.lanes.report(RULE)
    return sorted(held.labels)


async def test_two_bad_verdicts_take_an_answer_out_of_every_tier_for_good(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        await shop.asked(QUESTION, "r0")
        for number, text in enumerate(REWORDED):
            reply = await shop.asked(text, f"r{number + 1}")
            assert reply.outcome.tier == "semantic"
        assert shop.gateway.semantic.num_vectors == 1

        assert await shop.say("r1", is_good=False) == "kept"
        assert await shop.say("r2", is_good=False) == "retired"
        assert shop.gateway.semantic.num_vectors == 0
        assert (await shop.gateway.chat(REWORDED[0], tenant="t"))[0].tier == "full"
        assert await labels(shop) == [("feedback", False)]

    async with desk(tmp_path) as shop:
        assert (await shop.asked(QUESTION, "r3")).outcome.tier != "exact"


async def test_a_verdict_on_a_semantic_hit_is_one_label_however_often_it_is_said(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        await shop.asked(QUESTION, "r0")
        await shop.asked(REWORDED[0], "r1")
        for _ in range(3):
            await shop.say("r1", is_good=True)

        held = await shop.gateway.semantic.lanes.report(RULE)
        assert dict(held.labels) == {("feedback", True): 1}


async def test_the_last_word_on_a_semantic_hit_is_the_label(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        await shop.asked(QUESTION, "r0")
        await shop.asked(REWORDED[0], "r1")
        for is_good in (True, False, False):
            await shop.say("r1", is_good=is_good)

        held = await shop.gateway.semantic.lanes.report(RULE)
        assert dict(held.labels) == {("feedback", False): 1}
    async with desk(tmp_path) as shop:  # and after a restart
        assert dict((await shop.gateway.semantic.lanes.report(RULE)).labels) == {("feedback", False): 1}


async def test_a_verdict_by_entry_is_a_label_of_the_last_response(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        await shop.asked(QUESTION, "r0")
        entry = (await shop.asked(REWORDED[0], "r1")).served.entry
        assert entry is not None
        for is_good in (True, True, False):
            await shop.feedback.of_entry("t", entry, is_good=is_good, comment="")
        await shop.say("r1", is_good=False)  # the same response

        held = await shop.gateway.semantic.lanes.report(RULE)
        assert dict(held.labels) == {("feedback", False): 1}


async def test_a_verdict_on_a_generated_answer_is_no_label(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        await shop.asked(QUESTION, "r0")
        assert await shop.say("r0", is_good=False) == "kept"

        assert await labels(shop) == []


async def test_a_response_of_another_tenant_is_unknown(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        await shop.asked(QUESTION, "r0")
        with pytest.raises(UnknownId):
            await shop.feedback.of_response("other", "r0", is_good=False, comment="")


async def test_the_memory_of_responses_is_bounded_for_each_tenant(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        served = ServedMemory(per_tenant=3, in_all=5)
        replies = {tenant: await gateway.ask(QUESTION, tenant=tenant) for tenant in ("busy", "quiet", "third")}
        served.note("q0", replies["quiet"].served)
        for number in range(10):
            served.note(f"b{number}", replies["busy"].served)
        assert [name for name in ("q0", "b6", "b7", "b9") if served.find(name)] == ["q0", "b7", "b9"]
        for number in range(3):
            served.note(f"t{number}", replies["third"].served)

        assert len(served) == 5
        assert served.find("q0") is None  # the least lately served tenant goes first
        served.note_hits([f"h{number}" for number in range(5)], replies["quiet"].served)
        assert [name for name in ("b9", "h1", "h2", "h4") if served.find(name)] == ["h2", "h4"]
        assert served.last_of("t", str(replies["quiet"].served.entry)) is None
        assert served.last_of("quiet", str(replies["quiet"].served.entry)) == "h4"
        small = ServedMemory(max_bytes=2 * replies["busy"].served.size_bytes)
        for number in range(4):
            small.note(f"b{number}", replies["busy"].served)
        assert [number for number in range(4) if small.find(f"b{number}")] == [2, 3]
        for reply in replies.values():
            await reply.deltas.aclose()
