"""What is kept goes when it is as old as it may be, and is not served from that moment on."""

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path

from backends.fake import ScriptedBackend
from backends.routing.router import Router
from gateway.answers.selection import Page, Selection
from gateway.curation.invalidate import Invalidation
from gateway.curation.retention import Aged, Caps, Retention
from gateway.embedded.memory import MemoryVectors
from gateway.embedded.service import Embeddings
from gateway.engines import Engines
from gateway.policy import Rules
from gateway.services.rules import rules_of
from gateway.settings import load_settings
from tests.gateway.house import SECRET, House, house
from tests.gateway.test_engines import ScriptedEngine

HOUR_S = 3600.0


def retention(
    one: House,
    folder: Path,
    caps: Caps,
    now: Callable[[], float] = time.time,
    *,
    aged: Iterable[Aged] = (),
    clear_unserved: Callable[[], Awaitable[None]] | None = None,
) -> Retention:
    router = Router([ScriptedBackend()])
    embeddings = Embeddings(secret=SECRET, router=router, rules=Rules(), ledger=one.ledger, memory=MemoryVectors(0))
    return Retention(
        caps,
        one.answers,
        Invalidation(one.answers, one.semantic, one.ledger, None, embeddings),
        embeddings,
        Engines(router, lambda *_: ScriptedEngine("m")),
        one.ledger,
        folder / "kv.cleared",
        semantic=one.semantic,
        aged=aged,
        clear_unserved=clear_unserved,
        now=now,
    )


async def test_answers_go_at_their_age_whatever_their_ttl_says(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        await one.chat("How do I boil an egg?")
        await one.pipeline.close()
        keeper = retention(one, tmp_path, Caps(answers_s=HOUR_S))

        await keeper.look()
        assert await one.answers.count(Selection()) == 1
        await retention(one, tmp_path, Caps(answers_s=HOUR_S), now=lambda: time.time() + HOUR_S + 1).look()

        assert await one.answers.count(Selection()) == 0
        assert (await one.chat("How do I boil an egg?"))[0].tier == "full"


async def test_what_is_too_old_is_not_served_although_nobody_has_looked_yet(tmp_path: Path) -> None:
    async with house(tmp_path, rules=Rules(shadow_rate=0.0, keeps_s=HOUR_S)) as one:
        await one.chat("How do I boil an egg?")
        assert (await one.chat("How do I boil an egg?"))[0].tier == "exact"
        await one.pipeline.close()
        row = (await one.answers.select(Selection(), Page()))[0]
        entry = await one.answers.owned("t", row.id)
        assert entry is not None
        await one.answers.put(replace(entry, created_s=time.time() - HOUR_S - 1))

        assert (await one.chat("How do I boil an egg?"))[0].tier == "full"


def test_a_ttl_is_no_longer_than_answers_are_kept(tmp_path: Path) -> None:
    flags = {"data_dir": tmp_path, "retention": {"answers_s": 60}, "cache": {"max_ttl_s": 3600}}
    rules = rules_of(load_settings(flags, environ={}), has_semantic=False)

    assert (rules.max_ttl_s, rules.default_ttl_s, rules.keeps_s) == (60, 60, 60)


async def test_prefixes_are_cleared_once_in_their_time(tmp_path: Path) -> None:
    cleared: list[str] = []

    async def clear() -> None:
        cleared.append("unserved")

    async with house(tmp_path) as one:
        keeper = retention(one, tmp_path, Caps(kv_s=HOUR_S), clear_unserved=clear)
        await keeper.look()
        await keeper.look()
        assert len(cleared) == 1

        long_ago = time.time() - HOUR_S - 1
        os.utime(tmp_path / "kv.cleared", (long_ago, long_ago))
        await keeper.look()
        assert len(cleared) == 2


async def test_what_is_in_memory_goes_by_its_own_age(tmp_path: Path) -> None:
    asked: list[float] = []

    def forget_before(at_s: float) -> int:
        asked.append(at_s)
        return 0

    aged = (Aged(10.0, forget_before), Aged(0.0, lambda _: 1 // 0))
    async with house(tmp_path) as one:
        await retention(one, tmp_path, Caps(requests_s=10.0), now=lambda: 100.0, aged=aged).look()

    assert asked == [90.0]
