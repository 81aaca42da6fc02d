"""The backends: opened, closed, added, removed, looked at, and found by the names they serve."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from backends.base import AnyModelBackend, Backend, Health, Model
from backends.routing.dispatch import Dispatch
from backends.routing.listening import Listening
from backends.routing.member import EVERY_NAME, Member, MemberRule
from backends.routing.replicas import Replicas, replicas

CHECK_S = 5.0  # a health check may take so long

log = logging.getLogger(__name__)


class Fleet:
    """Owns the backends. They are found by the names they serve; any other name goes to `default`."""

    def __init__(
        self,
        backends: Sequence[Backend | Member],
        default: AnyModelBackend | None,
        rule: MemberRule,
        dispatch: Dispatch,
    ) -> None:
        """`rule`: of backends that come without one, now and later."""
        self._rule = rule
        self._members = [backend if isinstance(backend, Member) else Member(backend, rule) for backend in backends]
        if default is not None:
            self._members.append(Member(default, MemberRule(names=(EVERY_NAME,))))
        self._dispatch = dispatch
        self._watching: asyncio.Task[None] | None = None
        self._listening = Listening(dispatch.forget, dispatch.room)
        self._warned: set[tuple[str, str]] = set()

    @property
    def members(self) -> Sequence[Member]:
        return tuple(self._members)

    @property
    def stamp(self) -> object | None:
        """Equal to another as long as everybody is who it was and serves what it did; None: somebody does not say."""
        stamps = [member.stamp for member in self._members]
        return None if None in stamps else stamps

    @property
    def silent(self) -> Sequence[Member]:
        """Those that have not said yet what they serve."""
        return tuple(member for member in self._members if member.is_silent)

    async def open(self) -> None:
        """Open every backend, or none; watch those that are to be watched."""
        async with AsyncExitStack() as opened:
            for member in self.members:
                await member.backend.open()
                opened.push_async_callback(member.backend.close)
            opened.pop_all()
        if any(rule.watch is not None for rule in (self._rule, *(member.rule for member in self._members))):
            self._watching = asyncio.create_task(self._watch())
        self._listening.open({member.name: member.rule.events for member in self._members if member.rule.events})

    async def close(self) -> None:
        """Close every backend, even when closing one fails."""
        await self._listening.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        async with AsyncExitStack() as closing:
            for member in self.members:
                closing.push_async_callback(member.backend.close)

    def add(self, backend: Backend) -> None:
        """Serve the names of a backend that is open, from now on."""
        self._members.append(Member(backend, self._rule))

    def remove(self, backend: Backend) -> None:
        """Know this backend no more."""
        self._members.remove(next(member for member in self._members if member.backend is backend))
        self._dispatch.forget(backend.name)

    def member(self, name: str) -> Member | None:
        """The backend of this name."""
        return next((member for member in self._members if member.name == name), None)

    def may_serve(self, name: str) -> bool:
        """Whether anybody serves a model, as far as they have said: nobody is asked."""
        return any(member.may_serve(name) for member in self._members)

    async def models(self) -> Sequence[Model]:
        """Every model served, by the first backend that has the name."""
        by_name: dict[str, Model] = {}
        for served in await asyncio.gather(*map(_listed, self.members)):
            for model in served:
                by_name.setdefault(model.name, model)
        return list(by_name.values())

    async def health(self) -> Mapping[str, Health]:
        """The health of every backend, by name; one that takes nothing now is not ready."""
        members = self.members
        healths = await asyncio.gather(*(member.backend.health() for member in members))
        return {member.name: _ruled(member, health) for member, health in zip(members, healths, strict=True)}

    async def find(self, name: str) -> Replicas | None:
        """Who serves a model: who lists it, else who takes any name."""
        serving: list[tuple[Member, Model]] = []
        silent = self.silent
        for member in self.members:  # they may change while one is asked
            if member in silent:  # it may be long in answering, and this model another's
                continue
            if (model := await member.serves(name)) is not None:
                serving.append((member, model))
        if not serving and silent:
            serving = [found for each in await asyncio.gather(*(_serves(m, name) for m in silent)) for found in each]
        if not serving:
            serving = [(member, member.model(name)) for member in self._members if member.takes_any]
        if not serving:
            return None
        found = replicas(serving)
        for stranger in found.strangers:
            self._warn(name, stranger.name)
        return found

    def _warn(self, model: str, backend: str) -> None:
        if (model, backend) not in self._warned:
            self._warned.add((model, backend))
            log.warning("%s serves %s in another revision than those before it, and is not asked", backend, model)

    async def _watch(self) -> None:
        """Ask backends for their health and their models, for ever."""
        while True:
            due = [member for member in self._members if member.is_due()]
            for result in await asyncio.gather(*map(self._look, due), return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("a backend could not be looked at: %s", result, exc_info=result)
            every_s = [member.rule.watch.every_s for member in self._members if member.rule.watch is not None]
            await asyncio.sleep(min(every_s, default=1.0))

    async def _look(self, member: Member) -> None:
        if await member.check(CHECK_S):
            log.warning("%s is down: %s", member.name, member.watch.detail)
            self._dispatch.forget(member.name)
        if member.watch.is_up and not member.rule.names:
            await member.ask_models()


def _ruled(member: Member, health: Health) -> Health:
    """The health of a backend, seen with what is decided about it."""
    if member.state in ("draining", "drained", "open"):
        return Health(False, member.state if member.state != "open" else "left alone: it failed too often")
    return health


async def _serves(member: Member, name: str) -> list[tuple[Member, Model]]:
    model = await member.serves(name)
    return [] if model is None else [(member, model)]


async def _listed(member: Member) -> Sequence[Model]:
    """What a backend says it serves; one that takes any name may list some all the same."""
    return await member.backend.models() if member.takes_any else await member.models()
