"""What users say of promoted questions: exact hits that a judge's yes made."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from backends.chat import ChatRequest
from backends.fake import ScriptedBackend, say
from embeddings.control import Label, Lane
from gateway.curation.feedback import Feedback, Said
from gateway.curation.invalidate import Invalidation
from gateway.policy import Rules
from gateway.semantic.figures import figures
from gateway.semantic.rule import LaneKey, LaneRule
from gateway.served import ServedMemory
from tests.gateway.house import House, house, read

LANE = LaneKey("t", "default")
RULE = LaneRule.of("t", Rules(shadow_rate=0.0))
QUESTION, REWORDED = "What is the capital city of France?", "What's the capital city of France?"
SHORT, LONGER = "It is the old city of Paris.", "It is the old city of Paris on the Seine."


@asynccontextmanager
async def promoted(folder: Path, new_lane: type[Lane] = Lane) -> AsyncIterator[tuple[House, Feedback, ServedMemory]]:
    """A gateway where the judge made the second question a name of the first one's answer."""

    def script(request: ChatRequest) -> str:
        if request.model == "judge":
            return "yes"
        return SHORT if request.messages[-1]["content"] == QUESTION else LONGER

    backend = ScriptedBackend(lambda request: say(script(request)), model_names=("scripted", "judge"))
    async with house(folder, backend, new_lane=new_lane, judge="judge") as gateway:
        for text in (QUESTION, REWORDED):
            await gateway.chat(text)
            await gateway.pipeline.close()
        served = ServedMemory()
        invalidation = Invalidation(gateway.answers, gateway.semantic, gateway.ledger)
        yield gateway, Feedback(gateway.answers, invalidation, served, gateway.semantic, gateway.ledger), served


async def judged(gateway: House, feedback: Feedback, served: ServedMemory, *, is_good: bool) -> Said:
    """Ask the promoted question, and say what its answer was worth."""
    reply = await gateway.ask(REWORDED)
    served.note("r", reply.served)
    assert (reply.outcome.tier, reply.outcome.reason) == ("exact", "promoted")
    assert (await read(reply)).text == SHORT
    return await feedback.of_response("t", "r", is_good=is_good, comment="")


async def said(gateway: House) -> Label:
    return (await gateway.labels.read(LANE))[-1].label


async def test_a_bad_word_on_a_promoted_question_is_a_wrong_hit_of_its_lane_and_ends_the_alias_for_good(
    tmp_path: Path,
) -> None:
    async with promoted(tmp_path) as (gateway, feedback, served):
        assert (await judged(gateway, feedback, served, is_good=False)).state == "retired"
        label = await said(gateway)
        assert (label.question, label.stored, label.is_right) == (REWORDED, QUESTION, False)
        assert (label.source, label.was_hit, label.was_eligible) == ("feedback", True, True)
        assert len(label.features) > 1
        report = (await gateway.semantic.lanes.report(RULE)).report
        assert (report.known, report.wrong) == (1, 1)
        assert figures(gateway.semantic)["wrong_hit_rate"]["estimate"] == 1.0

        assert (await gateway.chat(QUESTION))[0].tier == "exact"  # the answer to its own question stays
        assert gateway.semantic.learning.promoted == 1
    async with promoted(tmp_path) as (gateway, *_):  # another judge says yes again
        assert (await gateway.chat(REWORDED))[1].text == LONGER
        assert gateway.semantic.learning.promoted == 0


async def test_a_good_word_on_a_promoted_question_is_a_right_hit_and_it_stays(tmp_path: Path) -> None:
    async with promoted(tmp_path) as (gateway, feedback, served):
        assert (await judged(gateway, feedback, served, is_good=True)).state == "kept"
        report = (await gateway.semantic.lanes.report(RULE)).report
        assert (report.known, report.wrong) == (1, 0)
        assert (await gateway.chat(REWORDED))[0].tier == "exact"
