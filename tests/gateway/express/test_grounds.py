"""An answer is told as long as everything it was given on holds, and no longer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from backends.fake import ScriptedBackend
from backends.routing.router import Router
from gateway.answers.base import CLOCKS_AGREE_S, Entry, Unembedded
from gateway.answers.memory import MemoryAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.callers.keys import Keys, Wish
from gateway.express.grounds import Grounds, World
from gateway.quota.policies import Policies
from gateway.semantic.changes import Change, Changes
from gateway.semantic.rule import LaneKey
from tests.contracts.answers_contract import entry_of

NOW_S = 1_000_000.0


class Rack:
    """Keeps records of keys, and has no others."""

    async def changed(self) -> bool:
        return False

    async def load(self) -> list[Any]:
        return []

    async def save(self, record: Any) -> None:
        pass


class Serving(ScriptedBackend):
    """One that says at once what it serves."""

    stamp = "first"


@dataclass
class Place:
    """Those who decide, and an answer to a key of a tenant."""

    world: World
    grounds: Grounds
    key: dict[str, Any]
    backend: Serving
    entry: Entry = field(default_factory=entry_of)

    def holds(self, now_s: float = NOW_S + 10) -> bool:
        return self.world.upholds(self.grounds, now_s)


async def place_of(**more: Any) -> Place:
    keys = Keys(b"s" * 32, [Rack()], is_required=True, now=lambda: NOW_S)  # type: ignore[list-item]  # as much as is asked
    memory, backend = MemoryAnswers(1_000_000, now=lambda: NOW_S), Serving()
    answers, changes, policies = TieredAnswers(memory, MemoryAnswers(1_000_000)), Changes(), Policies()
    router = Router([backend])
    key, entry = await keys.create(Wish("a")), replace(entry_of(), expires_s=NOW_S + 100)
    answers.put_now(entry)
    world = World(keys, policies, answers, router, changes)
    caller = keys.identify(key["key"])
    grounds = Grounds(
        credential=key["key"],
        caller=caller,
        policy=policies.of(caller),
        routes=router.stamp,
        changes=0,
        scope=entry.scope,
        exact=entry.exact,
        stamp=answers.stamp_now(entry.scope, entry.exact),
        entry=entry,
        max_age_s=more.get("max_age_s"),
    )
    return Place(world, grounds, key, backend, entry)


async def revoke(place: Place) -> None:
    await place.world.keys.revoke(place.key["id"])


async def rule(place: Place) -> None:
    await place.world.policies.say(place.grounds.caller.tenant, {"hit_details": False})


async def change(place: Place) -> None:
    assert isinstance(place.world.changes, Changes)
    place.world.changes.make(LaneKey(place.grounds.caller.tenant, "default"), Change("off"))


async def reload(place: Place) -> None:
    place.backend.stamp = "second"


async def hide(place: Place) -> None:
    place.backend.stamp = None  # type: ignore[assignment]  # it would have to be asked


async def remove(place: Place) -> None:
    await place.world.answers.remove(place.entry.scope, place.entry.id)


async def replaced(place: Place) -> None:
    place.world.answers.put_now(replace(place.entry, created_s=NOW_S + 1))


async def same_again(place: Place) -> None:
    place.world.answers.put_now(place.entry)


async def embed(place: Place) -> None:
    entry = place.entry
    row = Unembedded(entry.id, entry.scope, entry.compat, entry.question or "", None)
    await place.world.answers.set_vector(row, "e", b"\0" * 8)


async def prolong(place: Place) -> None:
    await place.world.answers.prolong(place.entry.scope, place.entry.id, NOW_S + 5)


@pytest.mark.parametrize(
    "happens",
    [revoke, rule, change, reload, hide, remove, replaced, same_again, embed, prolong],
    ids=lambda f: f.__name__,
)
async def test_any_change_ends_it(happens: Callable[[Place], Awaitable[None]]) -> None:
    place = await place_of()
    assert place.holds()

    await happens(place)

    assert not place.holds()


@pytest.mark.parametrize(
    ("max_age_s", "now_s", "holds"),
    [
        (None, NOW_S + 99, True),
        (None, NOW_S + 100, False),  # its end
        (10.0, NOW_S + 10, True),
        (10.0, NOW_S + 11, False),  # the caller's limit
        (None, NOW_S - CLOCKS_AGREE_S - 1, True),  # nobody asked for an age
        (10.0, NOW_S - CLOCKS_AGREE_S - 1, False),  # the clock was put back: nobody knows how old it is
    ],
)
async def test_it_is_told_within_its_time(max_age_s: float | None, now_s: float, holds: bool) -> None:
    place = await place_of(max_age_s=max_age_s)

    assert place.holds(now_s) is holds
