"""The commons: answers that a tenant may have although another one's request made them.

    asked and answered   the tenant's own answer is kept as ever; then it is noted, as a keyed hash, that it asked this
    by enough tenants    what the model said to the last of them is kept in the commons as well
    asked by others      found there after one's own, exactly or by meaning, on the same route

Only what a backend of ours said to a tenant crosses, never what was put or imported; whoever comes later does not
replace it while it is fresh, so nobody can ask again until an answer suits him. Who says that a shared answer is bad
reads it no more, and after two of those nobody does. It ends with the tenant whose answer it is.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.answers.base import Entry, NearAnswers
from gateway.answers.selection import Selection
from gateway.commons.rule import COMMONS, CROSSING, Place, is_shared, refusal, shared
from gateway.commons.witnesses import Statement, Witnesses, witness_of
from gateway.ledger import Ledger
from gateway.policy import Rules

if TYPE_CHECKING:
    from gateway.asked import Asked

Remove = Callable[[Selection], Awaitable[int]]  # from everywhere; how many


class Commons:
    """Belongs to one event loop."""

    def __init__(self, secret: bytes, witnesses: Witnesses, answers: NearAnswers, ledger: Ledger) -> None:
        self._secret = secret
        self._witnesses = witnesses
        self._answers = answers
        self._ledger = ledger
        self.num_witnesses = 0  # by the last look

    async def open(self) -> None:
        """Raises `CacheError`."""
        await self._witnesses.open()

    async def close(self) -> None:
        await self._witnesses.close()

    async def look(self) -> None:
        """Count. Raises `CacheError`."""
        self.num_witnesses = await self._witnesses.size()

    def placed(self, asked: "Asked", salt: str) -> "Asked":
        """The same with where its answer lies in the commons, or why it has no part in them."""
        rules, controls = asked.rules, asked.controls
        refused = refusal(asked.request, rules, controls, salt, is_key_apart=asked.normal.is_key_apart)
        if refused is None and not asked.may_generate:
            refused = "only_looks"
        if refused is not None:
            return asked if refused == "not_shared" else replace(asked, unshared=refused)
        model = asked.request.model, asked.route.model.revision
        return replace(asked, place=Place.of(self._secret, rules, *model, asked.fp.canonical))

    async def explain(self, asked: "Asked") -> dict[str, Any] | None:
        """What an operator may know of the commons and a request; None where nothing is shared. Raises `CacheError`."""
        told: dict[str, Any] = {"needed": asked.rules.share_tenants, "refusal": asked.unshared}
        if asked.place is None:
            return told if asked.unshared is not None else None
        fp, tenant = asked.place.fp, asked.request.owner
        heard = await self._witnesses.heard(fp.exact, witness_of(self._secret, fp.exact, tenant))
        there = await self._answers.peek(fp.scope, fp.exact)
        is_found = there is not None and there.is_fresh(time.time()) and not heard.objects
        entry = there.id if there is not None and is_found else None
        return {**told, "tenants": heard.count, "objects": heard.objects, "entry": entry}

    # -- a request ---------------------------------------------------------------------------------------------------

    async def find(self, place: Place, tenant: str) -> Entry | None:
        """The shared answer to this very request. Raises `CacheError`."""
        fp = place.fp
        entry = self._answers.get_now(fp.scope, fp.exact) or await self._answers.get(fp.scope, fp.exact)
        if entry is None or entry.canonical != fp.canonical or not is_shared(entry):
            return None
        if not entry.bad:
            return entry
        heard = await self._witnesses.heard(fp.exact, witness_of(self._secret, fp.exact, tenant))
        return None if heard.objects else entry

    async def offer(self, place: Place, entry: Entry) -> Entry | None:
        """A tenant asked this and got this answer, which is kept: note the one, and keep the other for all if enough
        have asked. What is kept then. Raises `CacheError`."""
        if entry.origin not in CROSSING:
            return None
        heard = await self._witnesses.note(self._statement(place, entry.tenant))
        if heard.count < place.least or heard.objects or entry.completion.calls_tools:
            return None
        there = await self._answers.peek(place.fp.scope, place.fp.exact)
        if there is not None and there.is_fresh(entry.created_s):
            return None
        common = shared(entry, place)
        if not self._answers.put_now(common) or not await self._answers.settle(common):
            return None
        self._ledger.looked_up("commons", "kept", "enough_tenants")
        return common

    # -- what users say, and what is forgotten -----------------------------------------------------------------------

    def voice(self, entry: Entry, tenant: str) -> str:
        """What a tenant is called where a verdict on a shared answer is written down: it has one, however often it
        asked."""
        return f"tenant-{witness_of(self._secret, entry.exact, tenant).hex()}"

    async def object(self, entry: Entry, tenant: str, *, objects: bool) -> None:
        """A tenant says that a shared answer is bad, or is not after all. Raises `CacheError`."""
        witness = witness_of(self._secret, entry.exact, tenant)
        await self._witnesses.object(Statement(entry.scope, entry.exact, witness, 0), objects=objects)

    async def original(self, copy: Entry, rules: Rules) -> Entry | None:
        """The shared answer that a tenant's entry is a copy of. Raises `CacheError`."""
        place = Place.of(self._secret, rules, copy.model, copy.revision, copy.canonical)
        return await self._answers.peek(place.fp.scope, place.fp.exact)

    async def forget(self, tenant: str, remove: Remove) -> int:
        """Forget what a tenant asked, and end every shared answer that is its own, or that too few others asked for.

        `remove` takes answers out of service everywhere. How many records and answers went. Raises `CacheError`.
        """
        count = await remove(Selection(tenant=COMMONS, namespace=tenant))
        gone = await self._witnesses.forget(self._secret, tenant)
        for scope, request in gone.too_few:
            if await self._answers.peek(scope, request) is not None:  # most were asked by this tenant alone
                count += await remove(Selection(scope=scope, exact=request))
        return count + gone.count

    def _statement(self, place: Place, tenant: str) -> Statement:
        fp = place.fp
        return Statement(fp.scope, fp.exact, witness_of(self._secret, fp.exact, tenant), place.least)
