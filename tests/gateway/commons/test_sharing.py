"""When an answer crosses from one tenant to others, and when it never does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.chat import ChatRequest, Choice, Completion
from backends.fake import ScriptedBackend, say
from gateway.answers.base import PUT
from gateway.answers.selection import Page, Selection
from gateway.asked import Asked
from gateway.cli.explain_text import rendered
from gateway.commons.file import FileWitnesses
from gateway.commons.rule import COMMONS
from gateway.controls import Controls
from gateway.explain import Explainer
from gateway.identity.scope import is_tenant, tenant_of
from gateway.outcome import Outcome, headers_of
from gateway.policy import Rules
from gateway.quota.policies import TenantPolicy
from tests.gateway.house import House, house, read

QUESTION = "What is the capital city of France?"
REWORDED = "What's the capital city of France?"
SHARED = Rules(shadow_rate=0.0, share_tenants=3)


@asynccontextmanager
async def sharing(folder: Path, rules: Rules = SHARED, backend: ScriptedBackend | None = None) -> AsyncIterator[House]:
    async with house(folder, backend, rules, witnesses=FileWitnesses(folder / "commons.db")) as gateway:
        yield gateway


async def asked_by(gateway: House, *tenants: str, text: str = QUESTION, **wishes: Any) -> list[Outcome]:
    """What each of them gets, one after the other, what is owed to the store done in between."""
    outcomes = []
    for tenant in tenants:
        outcomes.append((await gateway.chat(text, tenant=tenant, **wishes))[0])
        await gateway.pipeline.close()
    return outcomes


async def test_an_answer_is_shared_when_enough_tenants_have_asked_the_very_same(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        first = await asked_by(gateway, "a", "b", "c")
        (fourth,) = await asked_by(gateway, "d")

        assert [one.tier for one in first] == ["full"] * 3
        assert (fourth.tier, fourth.reason, gateway.backend.calls) == ("exact", "shared", 3)


async def test_one_tenant_asking_often_is_one_witness(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "a", "a", "a", controls=Controls(no_cache=True))
        outcomes = await asked_by(gateway, "b", "d")

        assert [one.tier for one in outcomes] == ["full", "full"]


async def test_witnesses_and_what_is_shared_outlive_the_process(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "a", "b")
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "c")
    async with sharing(tmp_path) as gateway:
        (fourth,) = await asked_by(gateway, "d")

        assert (fourth.reason, gateway.backend.calls) == ("shared", 0)


async def test_other_words_find_a_shared_answer_under_the_same_guards(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "a", "b", "c")
        (reworded,) = await asked_by(gateway, "d", text=REWORDED)
        (guarded,) = await asked_by(gateway, "d", text="What is not the capital city of France?")

        assert (reworded.tier, reworded.reason) == ("semantic", "shared")
        assert guarded.tier == "full"


async def test_who_asks_for_a_likeness_is_told_nothing_of_others_questions(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "a", "b", "c")
        felt = Controls(min_similarity=0.1)
        (reworded,) = await asked_by(gateway, "d", text=REWORDED, controls=felt)
        (same,) = await asked_by(gateway, "e", controls=felt)

        assert (reworded.tier, same.reason) == ("full", "shared")


async def test_a_shared_hit_tells_neither_entry_nor_likeness_nor_age(tmp_path: Path) -> None:
    rules = replace(SHARED, default_ttl_s=600.0)
    async with sharing(tmp_path, rules) as gateway:
        await asked_by(gateway, "a", "b", "c")
        for text in (QUESTION, REWORDED):
            (outcome,) = await asked_by(gateway, "d", text=text)
            headers = {name.decode(): value.decode() for name, value in headers_of(outcome)}

            assert outcome.entry is not None  # for the operator
            assert headers["x-twicetold-reason"] == "shared"
            assert not {"x-twicetold-entry", "x-twicetold-similarity", "age"} & headers.keys()
            assert "ttl" not in headers["cache-status"]


async def test_a_shared_answer_says_nothing_of_how_it_came_to_its_tenant(tmp_path: Path) -> None:
    said = say("Paris")
    last = replace(said[-1], usage=replace(said[-1].usage, cached_tokens=4, extra={"cache_read_input_tokens": 4}))  # type: ignore[type-var]
    async with sharing(tmp_path, backend=ScriptedBackend([*said[:-1], last])) as gateway:
        await asked_by(gateway, "a", "b", "c")
        _, completion = await gateway.chat(QUESTION, tenant="d")

        assert completion.text == "Paris"
        assert (completion.usage.cached_tokens, dict(completion.usage.extra), dict(completion.extra)) == (0, {}, {})


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({"salt": "s"}, "a salt is a wall"),
        ({"controls": Controls(namespace="n")}, "a namespace is a wall"),
        ({"controls": Controls(max_age_s=60.0)}, "an age could be felt out"),
        ({"temperature": 0.3}, "it is another request"),
        ({"controls": Controls(no_cache=True)}, "nothing stored was wanted"),
        ({"controls": Controls(tiers=frozenset())}, "nothing stored was wanted"),
    ],
)
async def test_behind_a_wall_nothing_shared_is_found(tmp_path: Path, wishes: dict[str, Any], why: str) -> None:
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "a", "b", "c")
        (outcome,) = await asked_by(gateway, "d", **wishes)

        assert outcome.tier == "full", why


@pytest.mark.parametrize(
    "wishes",
    [
        {"salt": "s"},
        {"controls": Controls(namespace="n")},
        {"controls": Controls(no_store=True)},
        {"controls": Controls(tiers=frozenset())},
    ],
)
async def test_what_is_asked_behind_a_wall_is_no_witness(tmp_path: Path, wishes: dict[str, Any]) -> None:
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "a", "b", "c", "d", **wishes)
        (outcome,) = await asked_by(gateway, "e")

        assert outcome.tier == "full"
        assert await gateway.answers.count(Selection(tenant=COMMONS)) == 0


async def test_what_somebody_put_never_crosses(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        for tenant in ("a", "b", "c", "d"):
            asked = await _asked(gateway, tenant)
            assert gateway.pipeline.keep(asked, gateway.pipeline.begin(), _said("Lyon"), 0.1) is None
            await gateway.pipeline.close()
            (outcome,) = await asked_by(gateway, tenant)
            assert outcome.reason == "same_request"
        (other,) = await asked_by(gateway, "e")

        assert other.tier == "full"
        assert await gateway.answers.count(Selection(tenant=COMMONS)) == 0


async def test_only_what_a_backend_said_is_offered_and_only_for_that_very_request_found(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "a", "b")
        (row,) = await gateway.answers.select(Selection(tenant="b"), Page())
        place = (await gateway.pipeline.ask(_request(), "c", "", Controls())).place
        entry = await gateway.answers.owned("b", row.id)
        assert gateway.commons is not None
        assert place is not None
        assert entry is not None

        assert await gateway.commons.offer(place, replace(entry, tenant="c", origin=PUT)) is None
        assert await gateway.commons.offer(place, replace(entry, tenant="c")) is not None
        found = await gateway.commons.find(place, "d")
        assert found is not None
        gateway.answers.put_now(replace(found, canonical=b"another request under the same hash"))
        assert await gateway.commons.find(place, "d") is None


async def test_an_answer_that_calls_a_tool_never_crosses(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
    said = say("", finish_reason="tool_calls")
    calling = [replace(said[0], fields={"role": "assistant", "tool_calls": [{"index": 0, **call}]}), *said[-2:]]
    async with sharing(tmp_path, backend=ScriptedBackend(calling)) as gateway:
        outcomes = await asked_by(gateway, "a", "b", "c", "d")

        assert [one.tier for one in outcomes] == ["full"] * 4


async def test_who_does_not_share_neither_gives_nor_gets(tmp_path: Path) -> None:
    alone = TenantPolicy(shares=False)
    async with sharing(tmp_path) as gateway:
        for tenant in ("a", "b", "c"):
            await read(await gateway.pipeline.answer(_request(), tenant, "", Controls(), alone))
            await gateway.pipeline.close()
        outcomes = await asked_by(gateway, "d", "e", "f")
        reply = await gateway.pipeline.answer(_request(), "g", "", Controls(), alone)
        await read(reply)

        assert [one.tier for one in outcomes] == ["full"] * 3
        assert reply.outcome.tier == "full"


async def test_asking_again_does_not_replace_what_is_shared(tmp_path: Path) -> None:
    says = iter(["one", "two", "three", "four"])
    async with sharing(tmp_path, backend=ScriptedBackend(lambda _: say(next(says)))) as gateway:
        await asked_by(gateway, "a", "b", "c")
        await asked_by(gateway, "c", controls=Controls(no_cache=True))
        _, completion = await gateway.chat(QUESTION, tenant="d")

        assert completion.text == "three"


async def test_more_witnesses_asked_for_ends_what_crossed_with_fewer(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "a", "b", "c")
    async with sharing(tmp_path, replace(SHARED, share_tenants=4)) as gateway:
        (outcome,) = await asked_by(gateway, "d")

        assert outcome.tier == "full"


async def test_the_operator_sees_whose_answer_it_is_and_who_made_it(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        await asked_by(gateway, "a", "b", "c")
        (row,) = await gateway.answers.select(Selection(tenant=COMMONS), Page())

        assert (row.tenant, row.namespace, row.origin) == (COMMONS, "c", "backend")


async def test_an_explanation_tells_the_operator_how_many_have_asked_and_why_not(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        explainer = Explainer(gateway.pipeline, gateway.answers, gateway.semantic, gateway.commons)
        await asked_by(gateway, "a", "b")
        told = (await explainer.explain(_request(), "d", "", Controls())).as_json()
        assert (told["commons"]["tenants"], told["commons"]["needed"], told["would"]["tier"]) == (2, 3, "full")
        assert "2 of 3 tenants have asked this" in rendered(told)
        await asked_by(gateway, "c")
        told = (await explainer.explain(_request(), "d", "", Controls())).as_json()
        assert (told["would"]["reason"], told["would"]["entry"]) == ("shared", told["commons"]["entry"])
        told = (await explainer.explain(_request(), "d", "salt", Controls())).as_json()
        assert "not shared (salt)" in rendered(told)
        assert gateway.backend.calls == 3


async def test_where_nothing_is_shared_no_witness_is_kept(tmp_path: Path) -> None:
    async with sharing(tmp_path, replace(SHARED, share_tenants=0)) as gateway:
        await asked_by(gateway, "a", "b", "c", "d")

        assert gateway.commons is not None
        await gateway.commons.look()
        assert (gateway.commons.num_witnesses, gateway.backend.calls) == (0, 4)


def _request() -> ChatRequest:
    return ChatRequest("scripted", ({"role": "user", "content": QUESTION},))


async def _asked(gateway: House, tenant: str) -> Asked:
    return await gateway.pipeline.ask(_request(), tenant, "", Controls(), may_generate=False)


def _said(text: str) -> Completion:
    return Completion((Choice({"role": "assistant", "content": text}, "stop"),))


def test_no_credential_stands_for_the_commons() -> None:
    assert not is_tenant(COMMONS)
    assert COMMONS not in {tenant_of(b"s" * 32, credential) for credential in (None, "", COMMONS, "tt_" + "a" * 43)}
