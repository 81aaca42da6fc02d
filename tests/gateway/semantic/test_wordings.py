"""The same question in its bare form: served without an embedder, guarded, sampled, forgotten with its entry."""

from collections.abc import Sequence
from pathlib import Path

from backends.fake import ScriptedBackend, say
from embeddings.base import EmbedderError, Reading, Vectors
from embeddings.control import Lane
from embeddings.hashing import HashingEmbedder
from gateway.controls import Controls
from gateway.explain import explain_served
from gateway.policy import Rules
from gateway.semantic.rule import LaneKey
from tests.gateway.house import House, house, read

QUESTION = "What is the capital city of France?"
POLITE = "Could you please tell me what the capital city of France is?"
ON = Rules(shadow_rate=0.0)


class Blind(HashingEmbedder):
    """Reads nothing."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        raise EmbedderError("nothing can be read")

    def read(self, texts: Sequence[str]) -> list[Reading]:
        raise EmbedderError("nothing can be read")


async def answered(gateway: House, text: str = QUESTION) -> None:
    await gateway.chat(text)
    await gateway.pipeline.close()


async def test_politeness_makes_no_other_question_whatever_an_embedder_says_also_after_a_restart(
    tmp_path: Path,
) -> None:
    for is_first in (True, False):
        async with house(tmp_path, rules=ON, embedder=Blind(), new_lane=Lane, reads_wordings=True) as gateway:
            if is_first:
                await answered(gateway)
            outcome, _ = await gateway.chat(POLITE)
            assert (outcome.tier, outcome.reason, outcome.similarity) == ("semantic", "same_wording", None)
            assert gateway.backend.calls == is_first


async def test_walls_guards_and_a_wish_for_likeness_hold_for_bare_forms_too(tmp_path: Path) -> None:
    async with house(tmp_path, rules=ON, embedder=Blind(), new_lane=Lane, reads_wordings=True) as gateway:
        await answered(gateway)
        for wishes in ({"tenant": "u"}, {"salt": "s"}, {"controls": Controls(min_similarity=0.5)}):
            assert (await gateway.chat(POLITE, **wishes))[0].tier == "full"
        assert (await gateway.chat("Could you please tell me what the capital city of Spain is?"))[0].tier == "full"


async def test_a_share_of_them_is_sampled_and_in_shadow_all(tmp_path: Path) -> None:
    for rules in (Rules(shadow_rate=1.0), Rules(mode="shadow", shadow_rate=0.0)):
        folder = tmp_path / rules.mode
        folder.mkdir()
        backend = ScriptedBackend(say("It is Paris."))
        async with house(folder, backend, rules, new_lane=Lane, reads_wordings=True) as gateway:
            await answered(gateway)
            assert (await gateway.chat(POLITE))[0].tier == "full"
            await gateway.pipeline.close()
            (kept,) = await gateway.labels.read(LaneKey("t", "default"))
            assert (kept.label.is_right, kept.label.was_eligible, kept.label.was_hit) == (True, True, True)
            assert kept.label.is_wording
            reason = {"tier": "semantic", "outcome": "shadow", "reason": "same_wording"}
            assert gateway.count("twicetold_lookups_total", **reason) == 1


async def test_one_wrong_outcome_stops_them_for_the_lane_also_after_a_restart(tmp_path: Path) -> None:
    said = {QUESTION: "There are 3 of them.", POLITE: "There are 41 of them."}
    backend = ScriptedBackend(lambda request: say(said.get(request.messages[-1]["content"], "It is Rome.")))
    async with house(tmp_path, backend, Rules(mode="shadow"), new_lane=Lane, reads_wordings=True) as gateway:
        await answered(gateway)
        await answered(gateway, POLITE)
        await answered(gateway, "What is the capital city of Italy?")
        (kept,) = await gateway.labels.read(LaneKey("t", "default"))
        assert (kept.label.is_right, kept.label.is_wording) == (False, True)
    async with house(tmp_path, rules=ON, new_lane=Lane, reads_wordings=True) as gateway:
        assert (await gateway.chat(POLITE.replace("France", "Italy")))[0].tier == "full"
        await gateway.pipeline.close()
        assert gateway.count("twicetold_lookups_total", tier="semantic", outcome="miss", reason="below_threshold") == 1
        assert len(await gateway.labels.read(LaneKey("t", "default"))) > 1  # what is generated goes on being compared


async def test_a_user_who_calls_one_wrong_is_heard(tmp_path: Path) -> None:
    async with house(tmp_path, rules=ON, new_lane=Lane, reads_wordings=True) as gateway:
        await answered(gateway)
        await answered(gateway, "What is the capital city of Italy?")
        reply = await gateway.ask(POLITE)
        await read(reply)
        served = reply.served
        assert (served.verdict and served.verdict.chosen, served.stored_question) == (served.entry, QUESTION)
        assert explain_served("r", served)["semantic"]["candidates"][0]["question"] == QUESTION
        await gateway.semantic.feedback(served, is_good=False)
        (kept,) = await gateway.labels.read(LaneKey("t", "default"))
        assert (kept.label.is_right, kept.label.source, kept.label.stored) == (False, "feedback", QUESTION)
        assert (await gateway.chat(POLITE.replace("France", "Italy")))[0].tier == "full"


async def test_an_entry_that_is_gone_or_was_called_wrong_is_not_found(tmp_path: Path) -> None:
    async with house(tmp_path, rules=ON, embedder=Blind(), new_lane=Lane, reads_wordings=True) as gateway:
        await answered(gateway)
        entry = await gateway.answers.owned("t", (await gateway.chat(QUESTION))[0].entry or "")
        assert entry is not None
        await gateway.answers.remove(entry.scope, entry.id)
        assert (await gateway.chat(POLITE))[0].tier == "full"
