"""What is removed is removed everywhere at once: memory, store, index, and what waits to be written."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from embeddings.base import Reading
from embeddings.hashing import HashingEmbedder
from gateway.answers.base import CacheError, Verdict
from gateway.answers.memory import MemoryAnswers
from gateway.answers.selection import Selection
from gateway.answers.sqlite import SqliteAnswers
from gateway.answers.tiered import TieredAnswers
from gateway.curation.feedback import Feedback
from gateway.curation.invalidate import Invalidation
from gateway.errors import StoreAway
from gateway.ledger import Ledger
from gateway.metrics import Metrics
from gateway.served import ServedMemory
from gateway.settings import SettingsError, load_settings
from tests.contracts.answers_contract import entry_of
from tests.gateway.house import House, house, read

QUESTIONS = ("What is the capital city of France?", "How tall is the Eiffel Tower?")


def invalidation(gateway: House) -> Invalidation:
    return Invalidation(gateway.answers, gateway.semantic, gateway.ledger)


async def test_an_invalidated_answer_is_found_by_no_words_any_more(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        for question in QUESTIONS:
            await gateway.chat(question)
        await gateway.pipeline.close()
        assert gateway.semantic.num_vectors == 2
        done = await invalidation(gateway).run(Selection(model="scripted"))

        assert (done.count, gateway.semantic.num_vectors, await gateway.answers.size()) == (2, 0, 0)
        assert (await gateway.chat(QUESTIONS[0].replace("What is", "What's")))[0].tier == "full"


async def test_a_preview_removes_nothing_and_counts_what_would_go(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        for number in range(25):
            await gateway.chat(f"Which of the numbers is {number}?", tenant=f"t{number % 2}")
        await gateway.pipeline.close()
        shown = await invalidation(gateway).preview(Selection(model="scripted"))

        assert (shown.is_dry_run, shown.count, len(shown.sample)) == (True, 25, 20)
        assert await gateway.answers.size() == 25
        assert (await invalidation(gateway).preview(Selection(tenant="t1"))).count == 12


async def test_an_answer_on_its_way_to_the_store_does_not_arrive(tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        reply = await gateway.ask(QUESTIONS[0])
        await read(reply)  # kept at hand; the store hears of it behind the caller's back
        await invalidation(gateway).run(Selection(model="scripted"))
        await gateway.pipeline.close()

        assert await gateway.answers.size() == 0
        assert await gateway.answers.peek(reply.served.scope, reply.served.exact) is None


async def test_without_its_store_a_verdict_is_refused_and_an_invalidation_still_clears_memory(tmp_path: Path) -> None:
    store = SqliteAnswers(tmp_path / "never-opened.db", budget_bytes=None)
    answers, ledger = TieredAnswers(MemoryAnswers(1 << 20), store), Ledger(Metrics())
    removal = Invalidation(answers, None, ledger)
    entry = replace(entry_of(), tenant="mine")
    answers.put_now(entry)

    with pytest.raises(StoreAway):
        await Feedback(answers, removal, ServedMemory(), None, ledger).of_entry(
            "mine", entry.id, is_good=False, comment=""
        )
    with pytest.raises(CacheError):
        await removal.judge(entry, Verdict("one", is_good=False, comment="", at_s=1.0))
    with pytest.raises(CacheError):
        await removal.run(Selection(model="m"))
    assert answers.get_now(entry.scope, entry.exact) is None


@pytest.mark.parametrize(
    ("name", "value"), [("eviction", "newest"), ("tenant_mb", "-1"), ("sliding_ttl", "perhaps"), ("tenant_mb", "many")]
)
def test_a_bad_setting_of_the_store_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"cache.{name}"):
        load_settings({}, environ={f"TWICETOLD_CACHE__{name.upper()}": value})


class Held(HashingEmbedder):
    """An embedder that waits until it may go on."""

    def __init__(self) -> None:
        super().__init__(256)
        self.may_go_on = threading.Event()
        self.is_asked = threading.Event()

    def read(self, texts: Sequence[str]) -> list[Reading]:
        self.is_asked.set()
        assert self.may_go_on.wait(30)
        return super().read(texts)


async def test_what_is_removed_while_its_vector_is_made_is_in_no_index(tmp_path: Path) -> None:
    embedder = Held()
    embedder.may_go_on.set()
    async with house(tmp_path, embedder=embedder) as gateway:
        embedder.may_go_on.clear()
        embedder.is_asked.clear()
        await gateway.chat(QUESTIONS[0])
        assert await asyncio.to_thread(embedder.is_asked.wait, 30)  # so it is in the store
        await invalidation(gateway).run(Selection(model="scripted"))
        embedder.may_go_on.set()
        await gateway.pipeline.close()

        assert gateway.semantic.num_vectors == 0
