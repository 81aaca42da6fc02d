"""What is learned behind callers' backs, on the whole road: comparisons, samples, the judge, promotion, feedback."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from backends.chat import ChatRequest
from backends.fake import ScriptedBackend, Step, say
from embeddings.control import Verdict
from gateway.answers.base import CacheError
from gateway.controls import Controls
from gateway.policy import RouteRules, Rules
from gateway.semantic.changes import Change
from gateway.semantic.labels import Kept
from gateway.semantic.rule import LaneKey, LaneRule
from tests.gateway.house import House, PlainLane, house

QUESTION = "What is the capital city of France?"
REWORDED = "What's the capital city of France?"
NEAR = "What's the capital city of france"
SHORT, LONGER = "It is the old city of Paris.", "It is the old city of Paris on the Seine."
SHADOW = Rules(mode="shadow", shadow_rate=0.0)
LANE = LaneKey("t", "default")


class StrictLane(PlainLane):
    """Serves nothing; what is near is worth a comparison."""

    floor = 0.9999


def answers(by_question: dict[str, str], verdict: str = "yes") -> ScriptedBackend:
    """Says what is written, and as the judge the verdict."""

    def script(request: ChatRequest) -> Iterable[Step]:
        return say(verdict if request.model == "judge" else by_question[request.messages[-1]["content"]])

    return ScriptedBackend(script, model_names=("scripted", "judge"))


async def labels(gateway: House, lane: LaneKey = LANE) -> list[Kept]:
    await gateway.pipeline.close()
    return await gateway.labels.read(lane)


def asked_of(backend: ScriptedBackend, model: str) -> int:
    return sum(request.model == model for request in backend.requests)


async def two(gateway: House, second: str = REWORDED, **wishes: object) -> str:
    """Ask, let it settle, ask in other words: the tier of the second answer."""
    await gateway.chat(QUESTION)
    await gateway.pipeline.close()
    tier: str = (await gateway.chat(second, **wishes))[0].tier
    await gateway.pipeline.close()
    return tier


@pytest.mark.parametrize(
    ("fresh", "is_right"),
    [("It is Paris.", True), ("Berlin has 3 airports.", False)],
)
async def test_shadow_never_serves_and_labels_what_it_would_have_served(
    tmp_path: Path, fresh: str, is_right: bool
) -> None:
    backend = answers({QUESTION: "It is paris", REWORDED: fresh})
    async with house(tmp_path, backend, SHADOW) as gateway:
        assert await two(gateway) == "full"
        (kept,) = await labels(gateway)
        assert (kept.label.is_right, kept.label.source, kept.label.was_eligible) == (is_right, "shadow", True)
        assert (kept.label.question, kept.label.stored) == (REWORDED, QUESTION)
        assert gateway.count("twicetold_lookups_total", tier="semantic", outcome="shadow", reason="served") == 1
        assert (await gateway.chat(QUESTION))[0].tier == "exact"


async def test_a_near_miss_is_compared_and_costs_no_second_answer(tmp_path: Path) -> None:
    backend = answers({QUESTION: "It is Paris.", REWORDED: "It is Paris."})
    async with house(tmp_path, backend, new_lane=StrictLane) as gateway:
        assert await two(gateway) == "full"
        assert [kept.label.is_right for kept in await labels(gateway)] == [True]
        assert backend.calls == 2


async def test_what_nobody_can_tell_gives_no_label(tmp_path: Path) -> None:
    backend = answers({QUESTION: SHORT, REWORDED: LONGER})
    async with house(tmp_path, backend, SHADOW) as gateway:
        await two(gateway)
        assert await labels(gateway) == []
        assert gateway.semantic.learning.outcomes == {"unknown": 1}


@pytest.mark.parametrize("verdict", ["yes", "no"])
async def test_the_judge_is_asked_where_words_do_not_tell_and_its_yes_makes_an_exact_hit(
    tmp_path: Path, verdict: str
) -> None:
    backend = answers({QUESTION: SHORT, REWORDED: LONGER}, verdict)
    async with house(tmp_path, backend, new_lane=StrictLane, judge="judge") as gateway:
        await two(gateway)
        (kept,) = await labels(gateway)
        outcome, said = await gateway.chat(REWORDED)

        assert (kept.label.source, kept.label.is_right) == ("judge", verdict == "yes")
        assert outcome.tier == "exact"
        assert said.text == (SHORT if verdict == "yes" else LONGER)
        assert gateway.semantic.learning.promoted == (verdict == "yes")
    async with house(tmp_path, backend, new_lane=StrictLane) as gateway:  # and after a restart
        assert (await gateway.chat(REWORDED))[1].text == said.text
        assert gateway.semantic.num_vectors == 2


async def test_a_promoted_question_goes_with_the_entry_it_names(tmp_path: Path) -> None:
    backend = answers({QUESTION: SHORT, REWORDED: LONGER})
    async with house(tmp_path, backend, new_lane=StrictLane, judge="judge") as gateway:
        await two(gateway)
        original = (await gateway.chat(QUESTION))[0].entry
        entry = await gateway.answers.owned("t", original or "")
        assert entry is not None
        await gateway.answers.remove(entry.scope, entry.id)
        assert (await gateway.chat(REWORDED))[0].tier == "full"


async def test_a_sample_is_not_taken_from_who_wants_no_generation_or_leaves_nothing_behind(tmp_path: Path) -> None:
    class Sampling(PlainLane):
        samples = True

    backend = answers({QUESTION: "It is Paris.", REWORDED: "It is Paris."})
    async with house(tmp_path, backend, new_lane=Sampling) as gateway:
        assert await two(gateway, controls=Controls(only_if_cached=True)) == "semantic"
        assert await two(gateway, controls=Controls(no_store=True)) == "semantic"
        assert await two(gateway) == "full"
        assert len(await labels(gateway)) == 1


async def test_labels_of_one_tenant_or_route_are_never_anothers(tmp_path: Path) -> None:
    other = RouteRules("scripted", "b", "", Rules(mode="shadow", route="b"))
    rules = Rules(mode="shadow", routes=(other,))
    backend = answers({QUESTION: "It is Paris.", REWORDED: "It is Paris."})
    async with house(tmp_path, backend, rules) as gateway:
        await two(gateway)
        await gateway.chat(QUESTION, tenant="u")
        await gateway.chat(QUESTION, controls=Controls(namespace="b"))
        await gateway.pipeline.close()
        await gateway.chat(REWORDED, controls=Controls(namespace="b"))
        found = {lane: len(await labels(gateway, lane)) for lane in (LANE, LaneKey("t", "b"), LaneKey("u", "default"))}
        assert list(found.values()) == [1, 1, 0]


async def test_off_asks_no_embedder_and_learns_nothing_and_can_be_changed_at_run_time(tmp_path: Path) -> None:
    backend = answers({QUESTION: "It is Paris.", REWORDED: "It is Paris."})
    async with house(tmp_path, backend, Rules(mode="off")) as gateway:
        assert await two(gateway) == "full"
        assert gateway.semantic.num_vectors == 0
        gateway.semantic.changes.make(LANE, Change(mode="on"))
        await gateway.chat(QUESTION, controls=Controls(no_cache=True))
        await gateway.pipeline.close()
        assert (await gateway.chat("What's the capital city of france"))[0].tier == "semantic"
        assert (await gateway.chat(REWORDED, tenant="u"))[0].tier == "full"


async def test_labels_come_back_after_a_restart_in_their_order(tmp_path: Path) -> None:
    backend = answers({QUESTION: "It is Paris.", REWORDED: "It is Paris.", NEAR: "Berlin has 3 airports."})
    async with house(tmp_path, backend, SHADOW) as gateway:
        await two(gateway)
        await gateway.chat(NEAR)
        before = [kept.label for kept in await labels(gateway)]
        assert len(before) >= 2
    async with house(tmp_path, backend, SHADOW) as gateway:
        held = await gateway.semantic.lanes.report(LaneRule.of("t", SHADOW))
        assert isinstance(held.lane, PlainLane)
        assert held.lane.labels == before


async def test_a_user_who_says_that_a_hit_was_wrong_gives_a_label(tmp_path: Path) -> None:
    async with house(tmp_path, answers({QUESTION: "It is Paris."})) as gateway:
        await gateway.chat(QUESTION)
        await gateway.pipeline.close()
        reply = await gateway.ask(REWORDED)
        exact = await gateway.ask(QUESTION)
        for served in (reply.served, exact.served):
            await gateway.semantic.feedback(served, is_good=False)
        (kept,) = await labels(gateway)
        assert (kept.label.source, kept.label.is_right, kept.label.stored) == ("feedback", False, QUESTION)


async def test_words_of_a_removed_entry_are_forgotten(tmp_path: Path) -> None:
    backend = answers({QUESTION: "It is Paris.", REWORDED: "It is Paris."})
    async with house(tmp_path, backend, SHADOW) as gateway:
        await two(gateway)
        entry = (await gateway.chat(QUESTION))[0].entry
        owned = await gateway.answers.owned("t", entry or "")
        assert owned is not None
        await gateway.semantic.forget(owned.scope, owned.compat, owned.id)
        assert [(kept.label.question, kept.label.is_right) for kept in await labels(gateway)] == [("", True)]


async def test_without_its_labels_a_lane_serves_nothing_and_it_is_counted(tmp_path: Path) -> None:
    async with house(tmp_path, answers({QUESTION: "It is Paris.", REWORDED: "It is Paris."})) as gateway:
        await gateway.labels.close()
        assert await two(gateway) == "full"
        assert gateway.count("twicetold_cache_failures_total", step="semantic_read") == 1
        with pytest.raises(CacheError):
            await gateway.semantic.lanes.report(LaneRule.of("t", SHADOW))


@pytest.mark.parametrize("trouble", ["slow", "broken"])
async def test_a_lane_that_is_slow_or_broken_is_a_miss_and_counted(tmp_path: Path, trouble: str) -> None:
    class Troubled(PlainLane):
        def decide(self, *args: Any, **more: Any) -> Verdict:
            if trouble == "broken":
                raise ZeroDivisionError
            time.sleep(0.3)
            return super().decide(*args, **more)

    backend = answers({QUESTION: "It is Paris.", REWORDED: "It is Paris."})
    async with house(tmp_path, backend, new_lane=Troubled, timeout_s=0.1) as gateway:
        assert await two(gateway) == "full"
        assert gateway.count("twicetold_cache_failures_total", step="semantic_read") == 1


async def test_lanes_that_are_not_asked_go_and_come_back_from_the_file(tmp_path: Path) -> None:
    backend = answers({QUESTION: "It is Paris.", REWORDED: "It is Paris."})
    made: list[PlainLane] = []

    def new_lane(*args: object, **more: object) -> PlainLane:
        made.append(PlainLane(*args, **more))  # type: ignore[arg-type]
        return made[-1]

    async with house(tmp_path, backend, SHADOW, new_lane=new_lane, max_lanes=2) as gateway:
        await two(gateway)
        rules: Callable[[str], LaneRule] = lambda tenant: LaneRule.of(tenant, SHADOW)  # noqa: E731
        for tenant in ("u", "v", "t", "t"):
            await gateway.semantic.lanes.report(rules(tenant))
        assert len(made) == 4
        assert made[-1].labels == made[0].labels != []
