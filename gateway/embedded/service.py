"""The road of one embeddings request.

    key of every item -> memory -> file -> what is left, once each: the own embedder or an upstream -> kept

Items that several requests want at once are asked for once. An upstream is asked for what nobody has, in one batch.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from backends.chat import EMBEDDINGS, ChatRequest, Collector
from backends.errors import BackendError, BackendGarbage
from backends.routing.router import Route, Router
from gateway.answers.removals import Removals
from gateway.answers.selection import Selection
from gateway.controls import Controls
from gateway.embedded.file import FileVectors
from gateway.embedded.kept import Kept, is_meant, names_answers
from gateway.embedded.memory import MemoryVectors
from gateway.embedded.request import EmbeddingRequest, Item, item_key
from gateway.embedded.vector import Vector, read_vector
from gateway.errors import NotCached
from gateway.identity.scope import Scope
from gateway.ledger import Ledger
from gateway.outcome import Outcome
from gateway.policy import Plan, Rules, plan
from gateway.quota.policies import FREE, TenantPolicy
from gateway.redaction import KEEPS_ALL, Redactor, strings_of

if TYPE_CHECKING:
    from gateway.embedded.own import OwnEmbedder

AT_ONCE = 16  # vectors read on the event loop; more are read beside it
MAX_WRITES = 256  # batches that wait for the file; what comes then is kept in memory alone


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a request gets."""

    vectors: tuple[Vector, ...]  # of the items, in order
    num_tokens: int  # of all of them
    num_asked_tokens: int  # of those that were made for this request
    num_stored: int  # items that were kept
    outcome: Outcome
    model: str  # as whoever made them calls it


@dataclass(slots=True)
class Tallies:
    """Items since the start."""

    stored: int = 0
    asked: int = 0
    shared: int = 0  # another request was asking for them


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request with what is decided about it."""

    request: EmbeddingRequest
    tenant: str
    controls: Controls
    plan: Plan
    route: Route | None  # None: the own embedder
    revision: str
    keeps: bool  # whether the vectors may be kept
    keys: tuple[bytes, ...]
    items: dict[bytes, Item]
    began: int  # after so many removals


class Embeddings:
    """Answers embeddings requests. Belongs to one event loop."""

    def __init__(
        self,
        *,
        secret: bytes,
        router: Router,
        rules: Rules,
        ledger: Ledger,
        memory: MemoryVectors,
        file: FileVectors | None = None,
        own: "OwnEmbedder | None" = None,
        redactor: Redactor = KEEPS_ALL,
    ) -> None:
        self._redactor = redactor
        self.tallies = Tallies()
        self.memory = memory
        self.file = file
        self.own = own
        self._secret = secret
        self._router = router
        self._rules = rules
        self._ledger = ledger
        self._flying: dict[bytes, asyncio.Future[Kept]] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._removals = Removals()

    async def open(self) -> None:
        if self.file is not None:
            with self._ledger.best_effort("embedding_open"):
                await self.file.open()

    async def close(self) -> None:
        """Finish what is owed to the file."""
        await asyncio.gather(*self._writes)
        if self.file is not None:
            await self.file.close()

    async def answer(
        self, request: EmbeddingRequest, tenant: str, controls: Controls, policy: TenantPolicy = FREE
    ) -> Embedded:
        """The vectors of the items. Raises `GatewayError` or `BackendError`."""
        started = time.perf_counter()
        asked = await self._decide(request, tenant, controls, policy)
        found = await self._stored(asked) if asked.plan.read_exact else {}
        missing = [key for key in asked.items if key not in found]
        if missing and controls.only_if_cached:
            raise NotCached("Not all of this is stored, and only-if-cached was asked.", "Cache-Control")
        overhead_s = time.perf_counter() - started
        made = await self._missing(asked, missing) if missing else {}
        self.tallies.stored += len(found)
        return _embedded(asked, found, made, overhead_s)

    async def count(self, selection: Selection) -> int:
        """How many kept vectors are meant. Raises `CacheError`."""
        return self.memory.count(selection) if self.file is None else await self.file.count(selection)

    async def remove(self, selection: Selection) -> int:
        """Forget what is meant, and keep nothing of it that was asked for before. Raises `CacheError` when the file
        fails; memory has forgotten it all the same."""
        if names_answers(selection):
            return 0
        self._removals.note(selection)
        gone = self.memory.remove(selection)
        if self.file is None:
            return gone
        if self._writes:  # those that have begun: what they bring is found then
            await asyncio.wait(list(self._writes))
        return await self.file.remove(selection)

    async def closed(self, selection: Selection) -> int:
        """Kept vectors that do not open, so that nobody can say whether they are meant. Raises `CacheError`."""
        return 0 if self.file is None else await self.file.closed(selection)

    async def is_purged(self) -> bool:
        """Whether the log beside the file holds nothing of what was removed. Raises `CacheError`."""
        return self.file is None or await self.file.is_purged()

    async def _decide(self, request: EmbeddingRequest, tenant: str, controls: Controls, policy: TenantPolicy) -> _Asked:
        began = self._removals.count
        route, revision = None, ""
        if self.own is not None and request.model in self.own.names:
            revision = await self.own.revision()
        else:
            found = await self._router.resolve(request.model, ())
            route = replace(found, fallback=())  # another model's vectors are of no use beside these
            revision = route.model.revision
        scope = Scope(tenant, request.model, revision, controls.namespace, request.cache_salt).digest(self._secret)
        kind = request.kind
        keys = tuple(item_key(self._secret, scope, kind, item) for item in request.items)
        rules = policy.over(self._rules.of(tenant, request.model, controls.namespace))
        if self._redactor.holds(strings_of((request.items, controls.namespace, controls.tags))):
            controls = replace(controls, is_redacted=True, no_store=True)
        wish = plan(controls, rules)
        keeps = wish.write and rules.exact and "exact" in controls.tiers
        items = dict(zip(keys, request.items, strict=True))
        return _Asked(request, tenant, controls, wish, route, revision, keeps, keys, items, began)

    # -- what is kept ----------------------------------------------------------------------------------------------

    async def _stored(self, asked: _Asked) -> dict[bytes, Kept]:
        found = self.memory.get(asked.items)
        left = [key for key in asked.items if key not in found]
        if left and self.file is not None:
            with self._ledger.best_effort("embedding_read"):
                from_file = self._unremoved((await self.file.get(left)).values(), asked.began)
                self.memory.put(from_file)
                found |= {kept.key: kept for kept in from_file}
        limits_s = (asked.controls.max_age_s, self._rules.keeps_s)
        now_s, max_age_s = time.time(), min((one for one in limits_s if one is not None), default=None)
        return {key: kept for key, kept in found.items() if kept.is_usable(now_s, max_age_s)}

    def _keep(self, asked: _Asked, made: Sequence[Kept]) -> None:
        made = self._unremoved(made, asked.began)
        if not asked.keeps or not made:
            return
        self.memory.put(made)
        if self.file is not None and len(self._writes) < MAX_WRITES:
            task = asyncio.create_task(self._write(self.file, made, self._removals.count))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def _write(self, file: FileVectors, made: list[Kept], began: int) -> None:
        with self._ledger.best_effort("embedding_write"):
            await file.put(self._unremoved(made, began))

    def _unremoved(self, made: Iterable[Kept], began: int) -> list[Kept]:
        """Without what was removed after there had been `began` removals."""
        removed = self._removals.since(began)
        return [kept for kept in made if not any(is_meant(one, kept) for one in removed)]

    # -- what is made ----------------------------------------------------------------------------------------------

    async def _missing(self, asked: _Asked, missing: Sequence[bytes]) -> dict[bytes, Kept]:
        """Of the missing items, wait for those that another request asks for, and ask for the others."""
        may_share = asked.plan.share_flight
        flying = {key: self._flying[key] for key in missing if may_share and key in self._flying}
        mine = [key for key in missing if key not in flying]
        made = await self._ask(asked, mine, may_share) if mine else {}
        lost: list[bytes] = []
        for key, future in flying.items():
            try:
                made[key] = await asyncio.shield(future)
                self.tallies.shared += 1
            except (BackendError, asyncio.CancelledError):
                if not future.done():  # it is this request that was cancelled
                    raise
                lost.append(key)  # whoever asked for it failed, or left
        return made | (await self._ask(asked, lost, may_share) if lost else {})

    async def _ask(self, asked: _Asked, keys: Sequence[bytes], may_share: bool) -> dict[bytes, Kept]:
        loop = asyncio.get_running_loop()
        mine = {key: loop.create_future() for key in keys} if may_share else {}
        for key, future in mine.items():
            future.add_done_callback(_look_at)
            self._flying[key] = future
        try:
            made = await self._make(asked, keys)
            for key, future in mine.items():
                if not future.done():
                    future.set_result(made[key])
            return made
        except BackendError as error:
            for future in mine.values():
                if not future.done():
                    future.set_exception(error)
            raise
        finally:
            for key, future in mine.items():
                if self._flying.get(key) is future:
                    del self._flying[key]
                future.cancel()

    async def _make(self, asked: _Asked, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        started = time.perf_counter()
        items = [asked.items[key] for key in keys]
        self.tallies.asked += len(items)
        if asked.route is None:
            assert self.own is not None
            vectors, tokens = await self.own.embed(asked.request, items)
        else:
            vectors, tokens = await self._from_upstream(asked, asked.route, items)
        now_s, elapsed_s = time.time(), (time.perf_counter() - started) / len(items)
        ttl_s = asked.plan.ttl_s
        made = {
            key: Kept(
                key,
                vector,
                count,
                asked.tenant,
                asked.request.model,
                asked.controls.namespace,
                asked.revision,
                now_s,
                None if ttl_s is None else now_s + ttl_s,
                elapsed_s,
                asked.controls.tags,
            )
            for key, vector, count in zip(keys, vectors, tokens, strict=True)
        }
        self._keep(asked, list(made.values()))
        return made

    async def _from_upstream(
        self, asked: _Asked, route: Route, items: Sequence[Item]
    ) -> tuple[list[Vector], list[int]]:
        params = {**asked.request.params, "input": list(items)}
        request = ChatRequest(
            asked.request.model, (), params, purpose=EMBEDDINGS, owner=asked.tenant, use_kv=False, publish_kv=False
        )
        answer = Collector()
        async with aclosing(self._router.stream(route, request)) as deltas:
            async for delta in deltas:
                answer.add(delta)
        completion = answer.completion()
        said = completion.choices[0].message.get(EMBEDDINGS) if completion.choices else None
        read = partial(_read, said, asked.request.is_of_floats)
        vectors = read() if len(items) <= AT_ONCE else await asyncio.to_thread(read)
        if len(vectors) != len(items) or not all(vectors):
            raise BackendGarbage(f"The server of {asked.request.model} did not send {len(items)} vectors")
        return [vector for vector in vectors if vector is not None], _shares(completion.usage.prompt_tokens, items)


def _read(said: Any, is_floats: bool) -> list[Vector | None]:
    return [read_vector(one, is_floats=is_floats) for one in said] if isinstance(said, list) else []


def _look_at(future: "asyncio.Future[Kept]") -> None:
    """Nobody may have waited for it."""
    if not future.cancelled():
        future.exception()


def _shares(total: int, items: Sequence[Item]) -> list[int]:
    """The tokens of each item: exact for lists of tokens, else its part of the total by length."""
    if all(isinstance(item, list) for item in items):
        return [len(item) for item in items]
    lengths, shares, before = [len(item) for item in items], list[int](), 0
    whole, said = sum(lengths), 0
    for length in lengths:
        before += length
        shares.append(total * before // whole - said)
        said += shares[-1]
    return shares


def _embedded(asked: _Asked, found: dict[bytes, Kept], made: dict[bytes, Kept], overhead_s: float) -> Embedded:
    rows = [found.get(key) or made[key] for key in asked.keys]
    saved = sum(kept.num_tokens for kept in found.values())
    reason = "same_request" if not made else "partial" if found else asked.plan.bypass or "miss"
    now_s = time.time()
    outcome = Outcome(
        tier="full" if made else "exact",
        reason=reason,
        age_s=None if made else max(0.0, now_s - min(kept.created_s for kept in rows)),
        saved_tokens=saved,
        saved_s=sum(kept.elapsed_s for kept in found.values()),
        bypass=asked.plan.bypass,
        overhead_s=overhead_s,
    )
    return Embedded(
        tuple(kept.vector for kept in rows),
        sum(kept.num_tokens for kept in rows),
        sum(kept.num_tokens for kept in made.values()),
        len(found),
        outcome,
        asked.request.model,
    )
