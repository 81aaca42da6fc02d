"""The answer cache without the proxy: what is looked up, what is kept, and what is learned."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backends.chat import ChatRequest, Choice, Completion, Usage, collect
from gateway.answers.selection import Selection
from gateway.aside import CacheAside, Found, Missed
from gateway.body import Curfew
from gateway.callers.keys import Keys
from gateway.controls import Controls
from gateway.curation.feedback import Feedback
from gateway.curation.invalidate import Invalidation
from gateway.errors import InvalidRequest, NotAuthorised, PutRefused, UnknownId
from gateway.forgotten import Forgotten
from gateway.outcome import Outcome, headers_of
from gateway.policy import RouteRules, Rules
from gateway.routes.cache import CacheDesk, cache_routes
from gateway.routes.intake import Intake
from gateway.semantic.rule import LaneRule
from gateway.served import ServedMemory
from gateway.shapes.base import Shape
from gateway.shapes.chat import ChatShape
from gateway.shapes.messages.shape import MessagesShape
from tests.gateway.house import SECRET, House, PlainLane, house

QUESTION = "What is the capital city of France?"
REWORDED = "What's the capital city of France?"
ANSWER = Completion((Choice({"role": "assistant", "content": "Paris."}, "stop"),), Usage(8, 2))
EXACT = Controls(tiers=frozenset({"exact"}))


def request(text: str = QUESTION, model: str = "scripted", params: dict[str, Any] | None = None) -> ChatRequest:
    return ChatRequest(model, ({"role": "user", "content": text},), params or {})


class Desk:
    """The cache of one gateway, asked by one tenant."""

    def __init__(self, gateway: House) -> None:
        self.gateway = gateway
        self.served, self.forgotten = ServedMemory(), Forgotten()
        self.aside = CacheAside(gateway.pipeline, self.served, gateway.ledger, self.forgotten)

    async def look_up(
        self, text: str = QUESTION, tenant: str = "t", controls: Controls | None = None, **wishes: Any
    ) -> Found | Missed:
        asked = (request(text, **wishes), tenant, "", controls or Controls())
        return await self.aside.look_up(*asked, response_id=f"chatcmpl-{text}")

    async def put(
        self, text: str = QUESTION, tenant: str = "t", answer: Completion = ANSWER, controls: Controls | None = None,
        lookup: str | None = None, elapsed_s: float | None = None, **wishes: Any,
    ) -> str | None:  # fmt: skip
        asked = (request(text, **wishes), tenant, "", controls or Controls())
        return (await self.aside.put(*asked, answer, lookup=lookup, elapsed_s=elapsed_s)).reason


async def test_callers_are_not_told_entry_and_similarity_where_the_rules_say_so(tmp_path: Path) -> None:
    for hit_details in (True, False):
        rules = Rules(routes=(RouteRules("*", "*", "t", Rules(hit_details=hit_details)),))
        async with house(tmp_path / str(hit_details), rules=rules) as gateway:
            desk = Desk(gateway)
            await desk.put()
            await gateway.pipeline.close()
            hit = (await gateway.ask(REWORDED)).outcome
            invalidation = Invalidation(gateway.answers, gateway.semantic, gateway.ledger)
            feedback = Feedback(gateway.answers, invalidation, desk.served, gateway.semantic, gateway.ledger)
            found = await desk.look_up(REWORDED)
            assert isinstance(found, Found)
            said = await feedback.of_response("t", found.id, is_good=True, comment="")
            names = [name for name, _ in headers_of(hit)]

            assert hit.tier == "semantic"
            assert (b"x-twicetold-entry" in names, b"x-twicetold-similarity" in names) == (hit_details, hit_details)
            assert (said.state, said.entry is not None) == ("kept", hit_details)


async def test_what_was_put_is_found_and_is_the_proxys_answer_too(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        missed = await desk.look_up()
        assert isinstance(missed, Missed)
        assert await desk.put(lookup=missed.id) == "complete"

        found = await desk.look_up()
        assert isinstance(found, Found)
        assert collect([delta async for delta in found.reply.deltas]) == ANSWER
        outcome, said = await gateway.chat(QUESTION)
        assert (outcome.tier, said, gateway.backend.calls) == ("exact", ANSWER, 0)


async def test_nothing_is_noted_of_a_put_whose_tenant_was_erased_since_its_lookup(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk, lines = Desk(gateway), list[Any]()
        gateway.ledger.listen(lines.append)
        missed = await desk.look_up()
        assert isinstance(missed, Missed)
        desk.forgotten.note([Selection(tenant="t")])
        desk.served.forget("t")
        await desk.put(lookup=missed.id)
        again = await desk.look_up("Who painted it?")
        await desk.put("Who painted it?", lookup=again.id)

        assert desk.served.find(missed.id) is None
        assert desk.served.find(again.id) is not None
        assert [line.question for line in lines] == [None, "Who painted it?"]


async def test_what_the_proxy_kept_is_found_and_a_lookup_generates_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        _, said = await gateway.chat(QUESTION)
        found = await desk.look_up()
        assert isinstance(found, Found)
        assert collect([delta async for delta in found.reply.deltas]) == said
        assert isinstance(await desk.look_up("Who painted it?"), Missed)
        assert gateway.backend.calls == 1


async def test_other_words_find_a_put_answer(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        await desk.put()
        await gateway.pipeline.close()
        found = await desk.look_up(REWORDED)

        assert isinstance(found, Found)
        assert (found.reply.outcome.tier, found.reply.outcome.reason) == ("semantic", "same_question")


@pytest.mark.parametrize("wall", [{"tenant": "other"}, {"model": "else"}, {"controls": Controls(namespace="n")}])
async def test_walls_stand_between_puts_and_lookups(tmp_path: Path, wall: dict[str, Any]) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        await desk.put()
        assert isinstance(await desk.look_up(**wall), Missed)


async def test_a_model_that_only_the_app_knows_has_a_cache_all_the_same(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        await desk.put(model="the apps own")
        assert isinstance(await desk.look_up(model="the apps own"), Found)


@pytest.mark.parametrize(
    ("answer", "controls", "reason"),
    [
        (Completion((Choice({"content": "cut"}, "length"),)), Controls(), "finish_length"),
        (Completion((Choice({"content": " "}, "stop"),)), Controls(), "empty"),
        (Completion((Choice({"content": "x", "refusal": "no"}, "stop"),)), Controls(), "refused"),
        (ANSWER, Controls(no_store=True), "no_store"),
        (ANSWER, Controls(tiers=frozenset({"kv"})), "tiers_off"),
    ],
)
async def test_a_put_passes_the_write_gate(tmp_path: Path, answer: Completion, controls: Controls, reason: str) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        assert await desk.put(answer=answer, controls=controls) == reason
        assert isinstance(await desk.look_up(), Missed)
        assert gateway.count("twicetold_lookups_total", tier="write", outcome="refused", reason=reason) == 1


CALLS = Completion((Choice({"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}, "tool_calls"),))
JSON_TEXT = Completion((Choice({"content": '{"city": "Paris"}'}, "stop"),))
TWO = Completion(ANSWER.choices * 2)
FUNCTION = {"type": "function", "function": {"name": "f"}}
TOOLS = {"tools": [FUNCTION]}


@pytest.mark.parametrize(
    ("params", "answer", "reason"),
    [
        ({"n": 2}, ANSWER, "other_number_of_choices"),
        ({}, TWO, "other_number_of_choices"),
        ({"n": 2}, TWO, "complete"),
        ({"logprobs": True}, ANSWER, "no_logprobs"),
        ({"logprobs": True}, Completion((Choice({"content": "a"}, "stop", {"content": []}),)), "complete"),
        ({"response_format": {"type": "json_object"}}, ANSWER, "not_json"),
        ({"response_format": {"type": "json_schema"}}, ANSWER, "not_json"),
        ({"response_format": {"type": "json_object"}}, Completion((Choice({"content": "[1]"}, "stop"),)), "not_json"),
        ({"response_format": {"type": "json_object"}}, JSON_TEXT, "complete"),
        ({"response_format": {"type": "json_schema"}, **TOOLS}, CALLS, "complete"),
        ({"tool_choice": "required"}, ANSWER, "no_tool_call"),
        ({"tool_choice": FUNCTION}, ANSWER, "no_tool_call"),
        ({"tool_choice": FUNCTION, **TOOLS}, CALLS, "complete"),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required"}}},
            ANSWER,
            "no_tool_call",
        ),
        ({"tool_choice": "none", **TOOLS}, CALLS, "tool_call"),
        ({}, CALLS, "tool_call"),
        ({"tool_choice": "auto"}, ANSWER, "complete"),
    ],
)
async def test_a_put_is_kept_only_if_it_can_be_what_was_asked_for(
    tmp_path: Path, params: dict[str, Any], answer: Completion, reason: str
) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        missed = await desk.look_up(params=params)
        assert isinstance(missed, Missed)
        assert await desk.put(answer=answer, params=params, lookup=missed.id) == reason
        assert isinstance(await desk.look_up(params=params), Found) == (reason == "complete")


async def test_what_was_removed_since_its_lookup_stays_removed(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        missed = await desk.look_up()
        await gateway.answers.remove_all(Selection(model="scripted"))

        assert await desk.put(lookup=missed.id) == "overtaken"
        assert isinstance(await desk.look_up(), Missed)
        assert await desk.put() == "complete"


async def test_a_put_names_no_lookup_of_another_request_and_an_unknown_one_does_no_harm(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        missed = await desk.look_up()
        assert isinstance(missed, Missed)
        with pytest.raises(InvalidRequest, match="another request"):
            await desk.put("Something else?", lookup=missed.id)
        assert await desk.put(tenant="other", lookup=missed.id) == "complete"
        assert await desk.put(lookup="lookup-of-yesterday") == "complete"


async def test_hits_and_the_apps_own_generations_stand_in_the_ledger(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        missed = await desk.look_up()
        await desk.put(lookup=missed.id, elapsed_s=2.0)
        totals = gateway.ledger.totals
        assert (totals.tiers["full"].requests, totals.tiers["full"].seconds) == (1, 2.0)
        assert (totals.prompt_tokens, totals.completion_tokens) == (8, 2)

        await desk.put()  # nobody asked: no request
        assert totals.requests == 1
        await desk.look_up()
        for outcome, reason in (("miss", "miss"), ("hit", "exact")):
            assert gateway.count("twicetold_lookups_total", tier="lookup", outcome=outcome, reason=reason) == 1


async def test_a_put_teaches_the_lane_what_its_lookup_was_near_to(tmp_path: Path) -> None:
    class Sampling(PlainLane):
        samples = True

    async with house(tmp_path, new_lane=Sampling, rules=Rules(shadow_rate=1.0)) as gateway:
        desk = Desk(gateway)
        await desk.put()
        await gateway.pipeline.close()
        missed = await desk.look_up(REWORDED)
        assert isinstance(missed, Missed)
        assert missed.outcome == Outcome("full", "shadow")
        await desk.put(REWORDED, lookup=missed.id)
        await gateway.pipeline.close()
        assert gateway.semantic.learning.outcomes["right"] == 1

        forgot = await desk.look_up("What is the capital city of France, please?")
        assert isinstance(forgot, Missed)
        await desk.put("What is the capital city of France, please?")  # it may be what another lookup said
        await gateway.pipeline.close()
        assert gateway.semantic.learning.outcomes["right"] == 1


async def test_a_stale_answer_is_given_when_asked_for_and_not_refreshed(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        await desk.put(controls=Controls(ttl_s=0.01))
        found = await desk.look_up(controls=Controls(stale_s=60.0))
        while isinstance(found, Found) and found.reply.outcome.reason != "stale":
            found = await desk.look_up(controls=Controls(stale_s=60.0))
        await gateway.pipeline.close()

        assert isinstance(found, Found)
        assert gateway.backend.calls == 0


async def test_what_users_say_of_a_lookups_answer_is_a_label(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        desk = Desk(gateway)
        invalidation = Invalidation(gateway.answers, gateway.semantic, gateway.ledger)
        feedback = Feedback(gateway.answers, invalidation, desk.served, gateway.semantic, gateway.ledger)
        await desk.put()
        await gateway.pipeline.close()
        found = await desk.look_up(REWORDED)
        assert isinstance(found, Found)
        with pytest.raises(UnknownId):
            await feedback.of_response("another", found.id, is_good=False, comment="")
        said = await feedback.of_response("t", found.id, is_good=False, comment="no")

        assert (said.entry, said.state, said.bad) == (found.reply.outcome.entry, "kept", 1)
        rule = LaneRule.of("t", Rules(shadow_rate=0.0))
        assert list((await gateway.semantic.lanes.report(rule)).labels) == [("feedback", False)]


async def test_where_others_can_come_nobody_puts_without_a_key(tmp_path: Path) -> None:
    app = FastAPI()
    body = {"request": {"model": "scripted", "messages": [{"role": "user", "content": "?"}]}, "answer": "poison"}
    async with house(tmp_path) as gateway, httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        aside, keys = CacheAside(gateway.pipeline, ServedMemory(), gateway.ledger, Forgotten()), Keys(SECRET, [])
        intake = Intake(keys, 1 << 20, Curfew())
        desk = CacheDesk(aside, gateway.ledger, {"chat": ChatShape()}, intake, is_local=False)
        app.include_router(cache_routes(desk))
        with pytest.raises(PutRefused, match="with a key only"):
            await http.put("http://gw/v1/cache/entries", json=body)
        kept = await http.put("http://gw/v1/cache/entries", json=body, headers={"x-api-key": "k"})

        assert kept.json()["kept"]
        assert gateway.count("twicetold_errors_total", code="put_refused", route="put") == 1
        assert (await http.post("http://gw/v1/cache/lookup", json={"request": body["request"]})).json()["hit"] is False


async def test_nobody_without_a_key_has_a_body_read(tmp_path: Path) -> None:
    app, reads, ended = FastAPI(), [0], {"authorization": f"Bearer tt_{'x' * 43}"}
    shapes: dict[str, Shape] = {"chat": ChatShape(), "messages": MessagesShape()}
    body = {"request": {"model": "scripted", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}}

    async def sent() -> AsyncIterator[bytes]:
        reads[0] += 1
        yield b"{}"

    async with house(tmp_path) as gateway, httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        aside, intake = (
            CacheAside(gateway.pipeline, ServedMemory(), gateway.ledger, Forgotten()),
            Intake(Keys(SECRET, []), 1 << 20, Curfew()),
        )
        app.include_router(cache_routes(CacheDesk(aside, gateway.ledger, shapes, intake, is_local=True)))
        for method, path in (("POST", "lookup"), ("PUT", "entries")):
            headers = {"content-type": "application/json", **ended}
            with pytest.raises(NotAuthorised):
                await http.request(method, f"http://gw/v1/cache/{path}", content=sent(), headers=headers)
        both = {**ended, "x-api-key": "k"}
        said = await http.post("http://gw/v1/cache/lookup", json={**body, "shape": "messages"}, headers=both)

        assert (reads, said.json()["hit"]) == ([0], False)
        with pytest.raises(NotAuthorised):
            await http.post("http://gw/v1/cache/lookup", json=body, headers=both)
