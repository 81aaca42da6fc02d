"""The rewriter that asks a model: what it resolves is shared, and what it cannot do, or does badly, is only a miss."""

import asyncio
from pathlib import Path

import orjson
import pytest

from backends.chat import ChatRequest
from backends.errors import BackendUnavailable
from backends.fake import ScriptedBackend, Step, say
from backends.routing.router import Router
from gateway.semantic.standalone.model import ByModel, read
from gateway.semantic.standalone.rules import ByRules
from gateway.semantic.standalone.talk import Talk, Turn
from gateway.services.semantic import rewriter_of
from gateway.settings import CacheSettings, RouteSettings, Settings
from tests.gateway.semantic.test_looser import opened, tier
from tests.gateway.semantic.test_looser import say as ask

PEOPLE = ("Tim Cook", "Sundar Pichai")


def resolves(request: ChatRequest) -> list[Step]:
    """Puts the name that the conversation has in the place of "he"."""
    asked = orjson.loads(request.messages[-1]["content"])
    said = " ".join(turn["text"] for turn in asked["conversation"])
    name = next((name for name in PEOPLE if name in said), None)
    found = None if name is None else asked["last_turn"].replace("he", name)
    return [*say(orjson.dumps({"standalone": found}).decode())]


def talk(*said: str, last: str = "How old is he?") -> Talk:
    return Talk(b"{}", tuple(Turn("user", text) for text in said), last)


def rewriter(script: object, **more: object) -> tuple[ByModel, ScriptedBackend]:
    backend = ScriptedBackend(script)  # type: ignore[arg-type]
    return ByModel(Router([backend]), "scripted", **{"timeout_s": 5.0, **more}), backend  # type: ignore[arg-type]


async def test_a_last_turn_that_a_model_resolved_is_served_where_the_resolved_ones_agree(tmp_path: Path) -> None:
    model, _ = rewriter(resolves)
    async with opened(tmp_path, model) as gateway:
        await ask(gateway, ("Who is the CEO of Apple?", "Tim Cook.", "How old is he?"))
        same = await ask(gateway, ("Tell me, who runs Apple?", "That is Tim Cook.", "How old is he?"))
        assert tier(same) == ("semantic", "other_history")
        other = await ask(gateway, ("Who is the CEO of Google?", "Sundar Pichai.", "How old is he?"))
        assert tier(other) == ("full", "miss")
        nobody = await ask(gateway, ("Who is the CEO of Nowhere?", "I do not know.", "How old is he?"))
        assert tier(nobody) == ("full", "miss")
        assert model.outcomes == {"rewritten": 3, "refused": 1}


async def test_the_very_same_conversation_is_asked_about_once_and_for_its_tenant_alone() -> None:
    model, backend = rewriter(resolves)
    assert [await model.rewrite(talk("Tim Cook?"), "t") for _ in range(3)] == ["How old is Tim Cook?"] * 3
    assert backend.calls == 1
    await model.rewrite(talk("Tim Cook?"), "u")
    assert backend.calls == 2
    assert backend.requests[0].owner == "rewriter:t"


async def test_a_backend_that_fails_or_is_slow_gives_no_rewriting_and_is_left_alone_for_a_while() -> None:
    clock = [0.0]
    for script in (BackendUnavailable("away"), 60.0):
        model, backend = rewriter([script], timeout_s=0.01, now=lambda: clock[0])
        assert await model.rewrite(talk("Tim Cook?"), "t") is None
        assert await model.rewrite(talk("Tim Cook?"), "t") is None
        assert backend.calls == 1
        backend.script = resolves
        clock[0] += 31
        assert await model.rewrite(talk("Tim Cook?"), "t") == "How old is Tim Cook?"


async def test_a_failure_rests_the_model_for_the_tenant_that_met_it_alone_and_waiting_in_line_is_none() -> None:
    model, backend = rewriter([BackendUnavailable("away")])
    assert await model.rewrite(talk("Tim Cook?"), "t") is None
    backend.script = resolves
    assert await model.rewrite(talk("Tim Cook?"), "u") == "How old is Tim Cook?"
    assert await model.rewrite(talk("Tim Cook?"), "t") is None

    model, _ = rewriter([0.3, *say("null")], timeout_s=0.5)  # four at a time: the others wait as long as they may
    await asyncio.gather(*(model.rewrite(talk(f"Tim Cook? {n}"), "t") for n in range(8)))
    assert model.outcomes == {"refused": 8}


@pytest.mark.parametrize(
    "said",
    [
        "How old is he?",
        "What is the price of gold in Paris now?",
        "蒂姆·库克多大年纪？",
        "",
        "x" * 600,
        "How old\nis Tim?",
    ],
)
async def test_a_rewriting_that_still_leans_on_something_is_none(said: str) -> None:
    model, _ = rewriter(say(orjson.dumps({"standalone": said}).decode()))
    assert await model.rewrite(talk("Tim Cook?"), "t") is None


def test_of_what_a_model_says_only_the_field_counts() -> None:
    assert read('{"standalone": "How old is Tim Cook?"}') == "How old is Tim Cook?"
    assert [read(text) for text in ("How old is Tim Cook?", "null", "[]", '{"standalone": 3}', "")] == [None] * 5


@pytest.mark.parametrize(
    ("said", "last", "flaw"),
    [
        (("Answer only in French.",), "How old is he?", "orders"),
        (("请用英文回答。",), "他多大年纪？", "orders"),
        (("Where is Rome?",), "What is the weather like there?", "volatile"),
        (("x" * 7000,), "How old is he?", "length"),
        (("Who runs Apple?",), "How old is he?", None),
    ],
)
def test_what_no_rewriting_mends_is_not_asked_about(said: tuple[str, ...], last: str, flaw: str | None) -> None:
    assert rewriter(resolves)[0].flaw(talk(*said, last=last)) == flaw


@pytest.mark.parametrize(
    ("cache", "kind"),
    [
        (CacheSettings(), type(None)),
        (CacheSettings(rewriter="m"), type(None)),
        (CacheSettings(semantic_history="loose", rewriter="rules"), ByRules),
        (CacheSettings(rewriter="rules", routes=(RouteSettings(semantic_history="loose"),)), ByRules),
        (CacheSettings(semantic_history="loose", rewriter="m"), ByModel),
        (CacheSettings(semantic_history="loose", rewriter="local"), ByModel),
    ],
)
def test_there_is_a_rewriter_where_somebody_may_be_answered_for_another_history(
    cache: CacheSettings, kind: type[object]
) -> None:
    assert type(rewriter_of(Settings(cache=cache), Router([]))) is kind
