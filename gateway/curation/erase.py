"""Erasing one tenant, or what wears one tag, from everything this deployment keeps.

    answers      with their aliases, vectors, verdicts, from memory, store and index of every gateway (`invalidate.py`)
    learned      labels and verifiers fitted to them; with a tag, which labels do not wear, the words of all of them
    remembered   what is in memory of each tenant that is concerned: prepared answers, responses, conversations, last
                 requests, prompts
    prefixes     blocks and segments, in RAM, on disk, in Redis; they wear no tag either
    witnesses    of the commons, and shared answers that were the tenant's
    budgets      what a tenant and its keys used, when its keys end with it

A tag is worn by answers alone. What cannot be told apart by it is forgotten of every tenant that has an answer under
the tag: more than was asked for, and nothing that could not be made again. Then the logs beside the files are emptied,
and what is counted is told place by place.

Memory forgets first, so that nobody goes on from what is being erased, and once more at the end. What a request that
began before would note there later is not noted (`forgotten.py`).
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gateway.answers.base import CacheError
from gateway.answers.selection import MAX_PAGE, Page, Selection
from gateway.answers.tiered import TieredAnswers
from gateway.commons.rule import COMMONS
from gateway.curation.archive import stored
from gateway.curation.invalidate import Heard, Invalidation
from gateway.forgotten import Forgotten

if TYPE_CHECKING:
    from gateway.callers.keys import Keys
    from gateway.commons.commons import Commons
    from gateway.embedded.service import Embeddings
    from gateway.engines import Engines
    from gateway.quota.gate import Quota
    from gateway.semantic.tier import Semantic
    from gateway.shared.responses import SharedResponses

PURGE_TRIES = 20
PURGE_AGAIN_S = 0.1  # while somebody reads the log of a file
SET_ASIDE = "*.corrupt-*"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Whom:
    """A tenant, a tag, or what one tenant keeps under a tag."""

    tenant: str | None = None
    tag: str | None = None

    @property
    def selection(self) -> Selection:
        return Selection(tenant=self.tenant, tag=self.tag)

    @property
    def words_only(self) -> bool:
        """Whether only some of what is learned of a tenant is meant, and nobody can say which."""
        return self.tag is not None


@dataclass(frozen=True, slots=True)
class Held:
    """A place in memory that knows whose what it holds is."""

    name: str
    count: Callable[[str], int]
    forget: Callable[[str], int]


@dataclass(slots=True)
class Account:
    """What was erased, or would be, place by place, and what is still to be done."""

    counts: Counter[str] = field(default_factory=Counter)
    pending: list[str] = field(default_factory=list)

    def add(self, counts: Mapping[str, int]) -> None:
        self.counts.update(counts)

    def as_json(self) -> dict[str, Any]:
        return {"counts": dict(sorted(self.counts.items())), "pending": self.pending}


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did, or would do, here and elsewhere."""

    is_dry_run: bool
    whom: Whom
    tenants: tuple[str, ...]
    account: Account
    heard: Heard | None = None
    others: Sequence[Account] = ()

    def as_json(self) -> dict[str, Any]:
        total = sum(one.counts.total() for one in (self.account, *self.others))
        missing = 0 if self.heard is None or self.heard.others is None else self.heard.others - len(self.others)
        is_known = self.heard is None or self.heard.others is not None
        pending = any(one.pending for one in (self.account, *self.others))
        return {
            "object": "cache.erasure",
            "dry_run": self.is_dry_run,
            "tenant": self.whom.tenant,
            "tag": self.whom.tag,
            "tenants": list(self.tenants),
            **self.account.as_json(),
            "total": total,
            "replicas": None if self.heard is None else [one.as_json() for one in self.others],
            "is_whole": not self.is_dry_run and not pending and is_known and missing <= 0,
        }


class Elsewhere(Protocol):
    """The other gateways. Raises `CacheError`."""

    async def tell(self, tenants: Sequence[str], whom: Whom) -> str:
        """Have the others erase these tenants, also those that are not here now; a name to ask by."""

    async def accounts(self, name: str, most: int) -> list[Account]:
        """What the others did; waits for so many of them, within reason."""


class EraseKept(Protocol):
    """Deletes what is kept of a tenant's prefixes without an engine's help; segments by tier. Raises `CacheError`."""

    def __call__(self, tenant: str) -> Awaitable[Mapping[str, int]]: ...


class Erasure:
    """Belongs to one event loop. Raises `StoreAway` where the store of answers fails: nothing is promised then."""

    def __init__(
        self,
        answers: TieredAnswers,
        invalidation: Invalidation,
        embeddings: "Embeddings",
        engines: "Engines",
        keys: "Keys",
        folder: Path,
        *,
        semantic: "Semantic | None" = None,
        commons: "Commons | None" = None,
        responses: "SharedResponses | None" = None,
        routes: Iterable[str] = (),
        held: Iterable[Held] = (),
        erase_kept: EraseKept | None = None,
        elsewhere: Elsewhere | None = None,
        quota: "Quota | None" = None,
    ) -> None:
        """`folder` is where files of ours lie; `routes` are those whose lanes may have a verifier."""
        self._answers = answers
        self._invalidation = invalidation
        self._embeddings = embeddings
        self._engines = engines
        self._keys = keys
        self._folder = folder
        self._semantic = semantic
        self._commons = commons
        self._responses = responses
        self._routes = tuple(routes)
        self.held = list(held)
        self.forgotten = Forgotten()  # for whoever notes something there
        self._erase_kept = erase_kept
        self._elsewhere = elsewhere
        self._quota = quota

    async def preview(self, whom: Whom, *, with_keys: bool = False) -> Erased:
        """What `run` would erase on this gateway. Prefixes are not counted: nobody knows them but engines at work."""
        return await stored(self._preview(whom, with_keys=with_keys))

    async def run(self, whom: Whom, *, with_keys: bool = False) -> Erased:
        """Erase it, here and on the other gateways."""
        return await stored(self._run(whom, with_keys=with_keys))

    async def _preview(self, whom: Whom, *, with_keys: bool) -> Erased:
        tenants = await self._concerned(whom)
        account = Account()
        found = await self._invalidation.preview(whom.selection)
        account.add({"answers": found.count, "embeddings": found.vectors, "set_aside": len(self._set_aside())})
        account.pending += await self._closed(whom)
        for tenant in tenants:
            for one in self.held:
                account.counts[one.name] += one.count(tenant)
            if self._responses is not None:
                account.add({"shared_responses": self._responses.count(tenant)})
            if self._semantic is not None:
                learning = self._semantic.learning
                account.add({"labels": await learning.count(tenant, words_only=whom.words_only)})
        if with_keys and whom.tenant is not None and whom.tag is None:
            account.add({"keys": sum(one["tenant"] == whom.tenant for one in self._keys.listing())})
            if self._quota is not None:
                account.add({"budgets": self._quota.count(whom.tenant)})
        return Erased(True, whom, tenants, account)

    async def _run(self, whom: Whom, *, with_keys: bool) -> Erased:
        tenants = await self._concerned(whom)
        account = Account()
        self._forget(tenants, whom, account)
        done = await self._invalidation.run(whom.selection)
        account.add({"answers": done.count, "embeddings": done.vectors})
        with self._owed(account, "what is sealed"):
            account.pending += await self._closed(whom)
        name = ""
        if self._elsewhere is not None:
            with self._owed(account, "other gateways"):
                name = await self._elsewhere.tell(tenants, whom)
        if self._commons is not None and whom.tag is None and whom.tenant is not None:
            with self._owed(account, "commons"):
                account.add({"commons": await self._commons.forget(whom.tenant, self._remove)})
        if with_keys and whom.tenant is not None and whom.tag is None:
            account.add({"keys": await self._keys.forget(whom.tenant)})
            if self._quota is not None:
                with self._owed(account, "budgets"):
                    account.add({"budgets": await self._quota.erase(whom.tenant)})
        here = await self.run_here(tenants, whom)
        account.add(here.counts)
        account.pending += here.pending
        others = [] if done.heard is None or not name else await self._of_others(account, name, done.heard)
        log.info("erased %d things of %d tenants", account.counts.total(), len(tenants))
        return Erased(False, whom, tenants, account, done.heard, others)

    async def run_here(self, tenants: Sequence[str], whom: Whom) -> Account:
        """Erase what only this gateway has of these tenants, and empty the logs of its files."""
        account = Account()
        self._forget(tenants, whom, account)
        with self._owed(account, "embeddings"):
            account.add({"embeddings": await self._embeddings.remove(whom.selection)})
        for tenant in tenants:
            if self._responses is not None:
                with self._owed(account, "responses in redis"):
                    account.add({"shared_responses": await self._responses.erase(tenant)})
            if self._semantic is not None:
                with self._owed(account, "labels"):
                    account.add(await self._semantic.erase(tenant, self._routes, words_only=whom.words_only))
            await self._erase_prefixes(tenant, account)
        account.add({"set_aside": self._delete_set_aside(account)})
        await self._purge(account)
        return account

    def _forget(self, tenants: Sequence[str], whom: Whom, account: Account) -> None:
        """Forget what memory has of these tenants, and have nothing noted there of what began before."""
        self.forgotten.note({whom.selection, *(Selection(tenant=tenant) for tenant in tenants)})
        for tenant in tenants:
            for one in self.held:  # several may have one name
                account.counts[one.name] += one.forget(tenant)

    async def _concerned(self, whom: Whom) -> tuple[str, ...]:
        """The tenant that is named, or those that have answers under the tag."""
        if whom.tenant is not None:
            return (whom.tenant,)
        found: set[str] = set()
        page = Page(MAX_PAGE)
        while rows := await self._answers.select(whom.selection, page):
            found |= {row.namespace if row.tenant == COMMONS else row.tenant for row in rows}
            page = Page(MAX_PAGE, rows[-1].place)
        return tuple(sorted(found))

    async def _closed(self, whom: Whom) -> list[str]:
        """What could not be looked at: theirs may be among it."""
        places = {"answers": self._answers.closed, "vectors of embeddings": self._embeddings.closed}
        found = {name: await count(whom.selection) for name, count in places.items()}
        return [f"{num} {name} sealed under a key that is not given" for name, num in found.items() if num]

    async def _remove(self, selection: Selection) -> int:
        return (await self._invalidation.run(selection)).count

    async def _erase_prefixes(self, tenant: str, account: Account) -> None:
        told = await self._engines.erase_kv(tenant)
        for model, done in told.items():
            segments = {f"kv_{tier}_segments": count for tier, count in done["segments"].items()}
            account.add({"kv_blocks": done["blocks"], **segments})
            account.pending += [f"kept prefixes of {model}: {place}" for place in done["pending"] if place != "engine"]
        if self._erase_kept is not None:  # of models that no engine serves now, and of engines that did not answer
            with self._owed(account, "kept prefixes"):
                rest = await self._erase_kept(tenant)
                account.add({f"kv_{tier}_segments": count for tier, count in rest.items()})

    def _set_aside(self) -> list[Path]:
        """Files that were corrupt and are kept for whoever wants to know: nobody can say whose words are in them."""
        return [path for path in self._folder.glob(SET_ASIDE) if path.is_file()]

    def _delete_set_aside(self, account: Account) -> int:
        count = 0
        for path in self._set_aside():
            try:
                path.unlink(missing_ok=True)
                count += 1
            except OSError as error:
                account.pending.append(f"{path.name}: {error.strerror}")
        return count

    async def _purge(self, account: Account) -> None:
        """Have nothing of what was removed left in the logs beside the files."""
        places: dict[str, Callable[[], Awaitable[bool]]] = {
            "log of answers": self._answers.is_purged,
            "log of embeddings": self._embeddings.is_purged,
        }
        if self._semantic is not None:
            places["log of labels"] = self._semantic.learning.is_purged
        for name, is_purged in places.items():
            with self._owed(account, name):
                for _ in range(PURGE_TRIES):
                    if await is_purged():
                        break
                    await asyncio.sleep(PURGE_AGAIN_S)
                else:
                    account.pending.append(name)

    async def _of_others(self, account: Account, name: str, heard: Heard) -> list[Account]:
        assert self._elsewhere is not None
        with self._owed(account, "other gateways"):
            return await self._elsewhere.accounts(name, heard.others or heard.heard)
        return []

    def _owed(self, account: Account, place: str) -> "_Owed":
        return _Owed(account, place)


@dataclass(slots=True)
class _Owed:
    """Around a place that may fail: the others are erased all the same, and this one is named."""

    account: Account
    place: str

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, CacheError):
            return False
        log.warning("%s not erased: %s", self.place, error)
        self.account.pending.append(self.place)
        return True
