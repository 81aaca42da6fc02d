"""A padded hit looks like the generation that it saves, to the tenant that gets it."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backends.chat import Choice, Completion, Usage, collect
from backends.fake import ScriptedBackend, Step, say
from gateway.answers.base import SHARED as COPY
from gateway.answers.selection import Page, Selection
from gateway.commons.padding import ALIKE, FIRST_SHARE, JITTER, MOST_PIECES, MOST_S, Pace, Paces, pieces_of
from gateway.commons.rule import COMMONS
from gateway.controls import Controls
from gateway.outcome import headers_of
from tests.gateway.commons.test_care import Desk
from tests.gateway.commons.test_sharing import QUESTION, REWORDED, SHARED, asked_by, sharing
from tests.gateway.house import read

PADDED = replace(SHARED, pads_shared_hits=True)
SLOW: list[Step] = [0.2, *say("Paris, of course.")]
SLOWER: list[Step] = [*say("Paris, of")[:-2], 0.2, *say("course.")[1:]]


async def test_a_padded_hit_takes_its_time_and_is_told_as_a_generation(tmp_path: Path) -> None:
    async with sharing(tmp_path, PADDED, ScriptedBackend(SLOW)) as gateway:
        first = (await asked_by(gateway, "a", "b", "c"))[-1]
        for tenant, text in (("d", QUESTION), ("e", REWORDED)):
            started = time.perf_counter()
            (hit,) = await asked_by(gateway, tenant, text=text)

            assert time.perf_counter() - started >= 0.2 * (1 - JITTER)
            assert (hit.reason, hit.is_padded) == ("shared", True)  # to the operator
            told, made = dict(headers_of(hit)), dict(headers_of(first))
            assert told.keys() == made.keys()
            assert told[b"x-twicetold-entry"] != made[b"x-twicetold-entry"]
            alike = {b"x-twicetold-tier", b"x-twicetold-reason", b"cache-status", b"x-twicetold-saved-tokens"}
            assert {name: told[name] for name in alike} == {name: made[name] for name in alike}
        assert gateway.backend.calls == 3


async def test_a_padded_hit_is_ones_own_from_then_on_as_a_generation_is(tmp_path: Path) -> None:
    async with sharing(tmp_path, PADDED, ScriptedBackend(SLOW)) as gateway:
        await asked_by(gateway, "a", "b", "c")
        leader, rider = await asyncio.gather(gateway.chat(QUESTION, tenant="d"), gateway.chat(QUESTION, tenant="d"))
        await gateway.pipeline.close()
        (again,) = await asked_by(gateway, "d")

        assert (leader[0].reason, rider[0].reason, again.reason) == ("shared", "in_flight", "same_request")
        assert leader[1] == rider[1]
        (row,) = await gateway.answers.select(Selection(tenant="d"), Page())
        assert row.origin == COPY


async def test_a_copy_is_no_witness_and_ends_with_the_tenant_whose_answer_it_is(tmp_path: Path) -> None:
    async with sharing(tmp_path, PADDED) as gateway:
        shop = Desk(gateway)
        await asked_by(gateway, "a", "b", "c", "d")
        assert gateway.commons is not None
        await gateway.commons.look()
        assert gateway.commons.num_witnesses == 3
        await shop.invalidation.run(Selection(tenant="c"))

        assert (await asked_by(gateway, "d"))[0].tier == "full"


@pytest.mark.parametrize(
    ("selection", "goes"),
    [
        (Selection(tag="case 7"), True),
        (Selection(tenant="c", tag="case 7"), True),
        (Selection(tenant="a", tag="case 7"), False),
        (Selection(tag="case 8"), False),
    ],
)
async def test_a_copy_goes_with_the_tag_that_the_answer_wore_also_when_that_is_gone(
    tmp_path: Path, selection: Selection, *, goes: bool
) -> None:
    async with sharing(tmp_path, PADDED) as gateway:
        shop = Desk(gateway)
        await asked_by(gateway, "a", "b")
        await asked_by(gateway, "c", controls=Controls(tags=("case 7",)))
        (hit,) = await asked_by(gateway, "d")
        assert hit.reason == "shared"
        await gateway.answers.remove_all(Selection(tenant="c"))
        await gateway.answers.remove_all(Selection(tenant=COMMONS))
        done = await shop.invalidation.run(selection)

        assert (done.count, await gateway.answers.count(Selection(tenant="d"))) == (int(goes), int(not goes))
        assert "case 7" not in str(await gateway.answers.select(Selection(tenant="d"), Page()))


async def test_who_objects_to_its_copy_is_given_no_other(tmp_path: Path) -> None:
    async with sharing(tmp_path, PADDED) as gateway:
        shop = Desk(gateway)
        await asked_by(gateway, "a", "b", "c")
        await shop.ask("d")
        await shop.say("d", is_good=False)
        await shop.invalidation.run(Selection(tenant="d"))
        (outcome,) = await asked_by(gateway, "d")

        assert outcome.tier == "full"
        assert (await asked_by(gateway, "e"))[0].reason == "shared"


async def test_what_is_no_longer_waited_for_is_not_kept(tmp_path: Path) -> None:
    async with sharing(tmp_path, PADDED, ScriptedBackend(SLOWER)) as gateway:
        await asked_by(gateway, "a", "b", "c")
        reply = await gateway.ask(QUESTION, tenant="d", controls=Controls(tiers=frozenset({"exact"})))
        await reply.deltas.aclose()
        await gateway.pipeline.close()

        assert await gateway.answers.count(Selection(tenant="d")) == 0


async def test_what_comes_with_every_word_is_not_shared_where_hits_are_padded(tmp_path: Path) -> None:
    async with sharing(tmp_path, PADDED) as gateway:
        outcomes = await asked_by(gateway, "a", "b", "c", "d", logprobs=True)

        assert [one.tier for one in outcomes] == ["full"] * 4


@pytest.mark.parametrize(
    "text", ["", "Paris", " two  words ", "a\n\nb\tc", "中文 没有 空格。", "x " * (3 * MOST_PIECES)]
)
def test_the_pieces_of_an_answer_are_the_answer(text: str) -> None:
    said = Completion((Choice({"role": "assistant", "content": text}, "stop"),), Usage(3, 4))
    pieces = list(pieces_of(said))

    assert collect(pieces) == said
    assert len(pieces) <= MOST_PIECES + 8
    assert [one.usage is None for one in pieces] == [True] * (len(pieces) - 1) + [False]


def test_pieces_are_due_as_generations_of_about_as_long_a_prompt_have_come_lately() -> None:
    paces, asked = Paces(seed=1), Usage(100, 11)
    for number in range(ALIKE):
        paces.note("m", Pace(100 + number, 1.5, 0.2))
        paces.note("m", Pace(5000 + number, 20.0, 3.0))
    due = paces.due("m", asked, 99.0, 6)

    assert due == pytest.approx([1.5, 1.9, 2.3, 2.7, 3.1, 3.5])
    assert paces.due("m", asked, 99.0, 0) == []
    for number in range(ALIKE):
        paces.note("m", Pace(100 + number, 3.0, 0.4))
    assert paces.due("m", asked, 99.0, 6)[0] == 3.0  # of equals the newer


def test_while_little_is_known_pieces_are_due_in_the_time_the_answer_took() -> None:
    paces = Paces(seed=1)
    paces.note("m", Pace(100, 1.5, 0.2))
    due = paces.due("m", Usage(100, 11), 10.0, 5)

    assert due == sorted(due)
    assert 10.0 * (1 - JITTER) <= due[-1] <= 10.0 * (1 + JITTER)
    assert due[0] == pytest.approx(FIRST_SHARE * due[-1])
    assert paces.due("m", Usage(), 9000.0, 2)[-1] == pytest.approx(MOST_S)


async def test_the_answer_of_a_padded_hit_is_whole(tmp_path: Path) -> None:
    async with sharing(tmp_path, PADDED) as gateway:
        _, made = await gateway.chat(QUESTION, tenant="a")
        await asked_by(gateway, "b", "c")
        reply = await gateway.ask(QUESTION, tenant="d")

        assert await read(reply) == made
