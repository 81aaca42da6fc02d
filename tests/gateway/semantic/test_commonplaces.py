"""Who answers everything alike teaches nothing: neither that questions are one, nor that their answers are kin."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backends.fake import ScriptedBackend, say
from embeddings.base import Reading
from embeddings.control import Neighbour, Verdict
from gateway.answers.digest import FOLDED_CHARS
from gateway.policy import Rules
from gateway.semantic.commonplaces import MOST, Commonplaces
from gateway.semantic.found import digest_of
from gateway.semantic.rule import LaneKey
from tests.contracts.answers_contract import entry_of
from tests.gateway.house import PlainLane, house

LANE = LaneKey("t", "default")
REFUSAL = "Sorry, I can't help with that."
UNLIKE = ("Who wrote Faust?", "How deep is Lake Baikal?", "Bake rye bread with sourdough", "kubectl drain fails")
TICKET, REWORDED, AGAIN = (f"{how} a ticket from Hamburg to Munich?" for how in ("Can I buy", "May I buy", "Do I buy"))


class Watching(PlainLane):
    """Serves nothing, and remembers its neighbours."""

    floor = 2.0
    seen: list[list[Neighbour]]

    def decide(
        self, question: Reading, neighbours: Sequence[Neighbour], *, min_similarity: float = 0.0,
        is_shadow_only: bool = False,
    ) -> Verdict:  # fmt: skip
        type(self).seen.append(list(neighbours))
        return super().decide(question, neighbours, min_similarity=min_similarity, is_shadow_only=is_shadow_only)


def test_case_and_spaces_do_not_count_in_an_answer_but_in_one_so_long_that_folding_it_holds_everybody_up() -> None:
    short, long = "Sorry,  NO. ", "Sorry,  NO. " * (FOLDED_CHARS // 12 + 1)

    assert digest_of(entry_of(text=short)) == digest_of(entry_of(text="sorry, no."))
    assert (
        digest_of(entry_of(text=long)) == digest_of(entry_of("b", text=long)) != digest_of(entry_of(text=long.lower()))
    )


async def test_an_upstream_that_refuses_everything_makes_no_labels_and_no_kin(tmp_path: Path) -> None:
    Watching.seen = []
    async with house(tmp_path, ScriptedBackend(lambda _: say(REFUSAL)), Rules(), new_lane=Watching) as gateway:
        for question in (*UNLIKE, TICKET, REWORDED, AGAIN):
            await gateway.chat(question)
            await gateway.pipeline.close()

        assert await gateway.labels.read(LANE) == []
        assert gateway.semantic.learning.outcomes == {"commonplace": 3}
    assert len({one.answer for one in Watching.seen[-1]}) == len(Watching.seen[-1]) == 2


async def test_a_refusal_that_is_stored_is_not_right_for_another_question_and_a_real_answer_says_it_is_wrong(
    tmp_path: Path,
) -> None:
    said = {AGAIN: "Yes, at the counter or in the app, until 5 minutes before the train leaves."}
    backend = ScriptedBackend(lambda request: say(said.get(request.messages[-1]["content"], REFUSAL)))
    async with house(tmp_path, backend, Rules(), new_lane=Watching) as gateway:
        Watching.seen = []
        for question in (*UNLIKE, TICKET, AGAIN):
            await gateway.chat(question)
            await gateway.pipeline.close()

        assert [kept.label.is_right for kept in await gateway.labels.read(LANE)] == [False]


def test_an_answer_is_a_commonplace_once_too_many_unlike_questions_share_it_in_one_lane() -> None:
    vectors = np.eye(8, dtype=np.float32)
    known = Commonplaces(per_lane=2)
    for vector in [*vectors[:MOST], *vectors[:MOST]]:
        known.note(LANE, b"a", vector)
    assert not known.has(LANE, b"a")  # the same again is nothing new
    known.note(LANE, b"a", vectors[MOST])
    assert known.has(LANE, b"a")
    assert not known.has(LaneKey("another", "default"), b"a")
    for answer in (b"b", b"c"):
        known.note(LANE, answer, vectors[0])
    assert len(known) == 2
    assert not known.has(LANE, b"a")  # the memory is bounded


def test_no_lane_pushes_out_what_another_was_answered() -> None:
    vectors = np.eye(8, dtype=np.float32)
    known = Commonplaces(per_lane=4, in_all=6)
    for vector in vectors[: MOST + 1]:
        known.note(LANE, b"sorry", vector)
    for number in range(100):
        known.note(LaneKey("busy", "default"), b"%d" % number, vectors[0])
    assert known.has(LANE, b"sorry")
    assert len(known) == 5
    for number in range(100):
        known.note(LaneKey(f"made up {number}", "default"), b"", vectors[0])
    assert len(known) == 6  # all of it is bounded, too
