"""What users say of shared answers, and how these end with whom they came from."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.answers.base import Entry
from gateway.answers.selection import Page, Selection
from gateway.commons.rule import COMMONS
from gateway.curation.feedback import Feedback, Said
from gateway.curation.invalidate import Invalidation
from gateway.curation.portable import Movement, entry_line, read_line
from gateway.errors import InvalidRequest
from gateway.outcome import Outcome
from gateway.served import ServedMemory
from tests.gateway.commons.test_sharing import QUESTION, REWORDED, asked_by, sharing
from tests.gateway.house import SECRET, House, read


@dataclass
class Desk:
    gateway: House
    served: ServedMemory = field(default_factory=ServedMemory)

    def __post_init__(self) -> None:
        g = self.gateway
        self.invalidation = Invalidation(g.answers, g.semantic, g.ledger)
        self.feedback = Feedback(g.answers, self.invalidation, self.served, g.semantic, g.ledger, g.commons)

    async def ask(self, tenant: str, text: str = QUESTION) -> Outcome:
        """Ask, under a response id that is the tenant's name."""
        reply = await self.gateway.ask(text, tenant=tenant)
        self.served.note(tenant, reply.served)
        await read(reply)
        self.served.ended(tenant)
        await self.gateway.pipeline.close()
        return reply.outcome

    async def say(self, tenant: str, *, is_good: bool) -> Said:
        return await self.feedback.of_response(tenant, tenant, is_good=is_good, comment="words of mine")

    async def shared(self) -> list[Entry]:
        rows = await self.gateway.answers.select(Selection(tenant=COMMONS), Page())
        found = [await self.gateway.answers.owned(row.tenant, row.id) for row in rows]
        return [entry for entry in found if entry is not None]

    async def forget(self, tenant: str) -> int:
        assert self.gateway.commons is not None
        return await self.gateway.commons.forget(tenant, self._remove)

    async def _remove(self, selection: Selection) -> int:
        return (await self.invalidation.run(selection)).count


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    """Where an answer has just become a shared one."""
    async with sharing(folder) as gateway:
        await asked_by(gateway, "a", "b", "c")
        yield Desk(gateway)


async def test_who_says_that_a_shared_answer_is_bad_gets_it_no_more_and_others_do(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        await shop.ask("d")
        said = await shop.say("d", is_good=False)

        assert (await shop.ask("d")).tier == "full"
        assert (await shop.ask("e")).reason == "shared"
        assert (said.entry, said.state, said.good, said.bad) == (None, "kept", 0, 1)


async def test_one_tenant_cannot_retire_what_others_share_and_two_can(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        await shop.ask("d")
        for _ in range(3):
            await shop.say("d", is_good=False)
        await shop.ask("d")
        assert (await shop.ask("e")).reason == "shared"
        await shop.say("e", is_good=False)

        assert await shop.shared() == []
        assert (await shop.ask("f")).tier == "full"


async def test_who_objects_does_not_write_what_others_share(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        for tenant in "de":
            await shop.ask(tenant)
        for tenant in "de":
            await shop.say(tenant, is_good=False)
        for tenant in "de":
            await shop.ask(tenant)
        assert await shop.shared() == []
        await shop.ask("f")

        assert [one.namespace for one in await shop.shared()] == ["f"]


async def test_other_words_do_not_find_what_somebody_objects_to(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        assert (await shop.ask("d", REWORDED)).reason == "shared"
        await shop.say("d", is_good=False)

        assert (await shop.ask("e", REWORDED)).tier == "full"


async def test_a_verdict_tells_nothing_of_other_tenants_and_leaves_no_words(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        for tenant in "de":
            await shop.ask(tenant)
        await shop.say("d", is_good=True)
        said = await shop.say("e", is_good=False)
        (entry,) = await shop.shared()
        verdicts = await shop.gateway.answers.verdicts(entry.scope, entry.id)

        assert (said.good, said.bad) == (0, 1)
        assert [one.comment for one in verdicts] == ["", ""]


async def test_a_shared_answer_ends_with_the_tenant_whose_it_is(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        await shop.invalidation.run(Selection(tenant="a"))
        assert (await shop.ask("d")).reason == "shared"
        before = await shop.invalidation.preview(Selection(tenant="c"))
        await shop.invalidation.run(Selection(tenant="c"))

        assert before.count == 2
        assert await shop.shared() == []
        assert (await shop.ask("e", REWORDED)).tier == "full"


async def test_a_shared_answer_ends_with_the_entry_that_it_is_a_copy_of(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        (row,) = await shop.gateway.answers.select(Selection(tenant="c"), Page())
        await shop.invalidation.run(Selection(id=row.id))

        assert await shop.shared() == []


async def test_a_shared_answer_ends_with_its_tag(tmp_path: Path) -> None:
    async with sharing(tmp_path) as gateway:
        tagged = gateway.controls.__class__(tags=("user-7",))
        await asked_by(gateway, "a", "b", "c", controls=tagged)
        shop = Desk(gateway)
        await shop.invalidation.run(Selection(tag="user-7"))

        assert await shop.shared() == []


async def test_a_witness_that_is_forgotten_takes_what_too_few_others_asked(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        assert await shop.forget("a") == 2  # the record of it, and the answer

        assert await shop.shared() == []
        assert (await shop.ask("d")).tier == "full"  # which makes three again
        assert (await shop.ask("e")).reason == "shared"


async def test_what_is_shared_is_neither_exported_nor_imported(tmp_path: Path) -> None:
    async with desk(tmp_path) as shop:
        (entry,) = await shop.shared()
        line = entry_line(SECRET, entry, 0, "")
        refusal = None
        try:
            read_line(SECRET, line, Movement(), entry.created_s)
        except InvalidRequest as error:
            refusal = error.param

        assert refusal == "tenant"
