"""What every answer store promises. A test module imports these tests and brings the fixtures `answers` and `clock`.

`answers` is an open store on `clock` that keeps ended entries visible for `KEEP_STALE_S`.
"""

import asyncio
import random
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

import pytest

from backends.chat import Choice, Completion, Usage
from gateway.answers.base import (
    MAX_VERDICTS,
    Answers,
    CacheError,
    Embedded,
    Entry,
    Gone,
    Unembedded,
    Verdict,
    unembedded_of,
)
from gateway.answers.selection import Page, Selection

KEEP_STALE_S = 100.0
VECTORS = {"c": b"1234", "d": b""}  # by name; the empty one is of a question the embedder cannot see


@dataclass
class Clock:
    """A clock that moves when told to."""

    now_s: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def digest(name: str) -> bytes:
    return name.encode().ljust(32, b".")


def completion_of(text: str) -> Completion:
    return Completion((Choice({"role": "assistant", "content": text}, "stop"),), Usage(7, 3))


def entry_of(name: str = "a", *, scope: str = "s", text: str = "hello", created_s: float = 1_000_000.0) -> Entry:
    return Entry(
        id=f"e_{name}",
        scope=digest(scope),
        exact=digest(name),
        compat=digest("compat"),
        canonical=f'{{"messages":["{name}"]}}'.encode(),
        question=f"what is {name}?",
        model="m",
        completion=completion_of(text),
        created_s=created_s,
        expires_s=None,
        elapsed_s=1.5,
    )


def full_entry() -> Entry:
    """An entry with every field set, and every kind of JSON in it."""
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"arguments": "{}"}}]}
    nested = MappingProxyType({"service_tier": "x", "deep": MappingProxyType({"list": [1, 2.5, None, True]})})
    completion = Completion(
        (
            Choice(message, "tool_calls", {"content": [{"token": "你", "logprob": -0.25}]}),
            Choice({"role": "assistant", "content": "zwei\n\x00"}, None),
        ),
        Usage(10, 20, 5, MappingProxyType({"completion_tokens_details": {"reasoning_tokens": 4}})),
        nested,
    )
    return replace(
        entry_of(),
        question="你好 \U0001f600 'quoted' \x00",
        completion=completion,
        expires_s=1_000_500.25,
        tags=("red", "blå"),
        tenant="ten",
        namespace="space",
        revision="r1",
        schema=1,
        sliding_s=60.0,
        origin="backend",
        embedder="mini@1",
        vector=bytes(range(256)) * 6,
    )


async def embedded(answers: Answers, embedder: str) -> list[Embedded]:
    return [row async for row in answers.embedded(embedder)]


async def unembedded(answers: Answers, embedder: str) -> list[Unembedded]:
    return [row async for row in answers.unembedded(embedder)]


def lacking(entry: Entry) -> Unembedded:
    row = unembedded_of(entry)
    assert row is not None
    return row


async def test_what_was_put_comes_back_whole(answers: Answers) -> None:
    await answers.put(full_entry())

    assert await answers.get(digest("s"), digest("a")) == full_entry()
    assert await answers.by_id(digest("s"), "e_a") == full_entry()


async def test_what_was_never_put_is_a_miss(answers: Answers) -> None:
    assert await answers.get(digest("s"), digest("a")) is None
    assert await answers.by_id(digest("s"), "e_a") is None
    assert not await answers.remove(digest("s"), "e_a")


async def test_another_scope_never_sees_an_entry(answers: Answers) -> None:
    await answers.put(entry_of())

    assert await answers.get(digest("other"), digest("a")) is None
    assert await answers.by_id(digest("other"), "e_a") is None
    assert not await answers.remove(digest("other"), "e_a")
    assert await answers.get(digest("s"), digest("a")) is not None


async def test_two_scopes_keep_the_same_request_apart(answers: Answers) -> None:
    await answers.put(entry_of(scope="one", text="for one"))
    await answers.put(entry_of(scope="two", text="for two"))

    one, two = [await answers.get(digest(scope), digest("a")) for scope in ("one", "two")]
    assert one is not None
    assert two is not None
    assert (one.completion, two.completion) == (completion_of("for one"), completion_of("for two"))
    assert await answers.size() == 2


async def test_a_second_put_replaces_the_first(answers: Answers) -> None:
    await answers.put(entry_of(text="old"))
    await answers.put(entry_of(text="new"))

    found = await answers.get(digest("s"), digest("a"))
    assert found is not None
    assert found.completion == completion_of("new")
    assert await answers.size() == 1


async def test_a_replaced_name_is_forgotten(answers: Answers) -> None:
    await answers.put(entry_of())
    await answers.put(replace(entry_of(text="new"), id="e_other"))

    assert await answers.by_id(digest("s"), "e_a") is None
    assert await answers.by_id(digest("s"), "e_other") is not None


async def test_a_name_belongs_to_one_request(answers: Answers) -> None:
    await answers.put(entry_of("a"))
    await answers.put(replace(entry_of("b"), id="e_a"))

    assert await answers.get(digest("s"), digest("a")) is None
    assert await answers.by_id(digest("s"), "e_a") == replace(entry_of("b"), id="e_a")
    assert await answers.size() == 1


async def test_a_removed_entry_is_gone(answers: Answers) -> None:
    await answers.put(entry_of())

    assert await answers.remove(digest("s"), "e_a")
    assert await answers.get(digest("s"), digest("a")) is None
    assert await answers.by_id(digest("s"), "e_a") is None
    assert await answers.size() == 0


async def test_an_ended_entry_is_visible_and_not_fresh(answers: Answers, clock: Clock) -> None:
    await answers.put(replace(entry_of(), expires_s=clock() + 10))
    clock.now_s += 11

    found = await answers.get(digest("s"), digest("a"))
    assert found is not None
    assert not found.is_fresh(clock())


async def test_a_long_ended_entry_is_a_miss(answers: Answers, clock: Clock) -> None:
    await answers.put(replace(full_entry(), expires_s=clock() + 10))
    clock.now_s += 10 + KEEP_STALE_S

    assert await answers.get(digest("s"), digest("a")) is None
    assert await answers.by_id(digest("s"), "e_a") is None
    assert await embedded(answers, "mini@1") == []


async def test_reading_does_not_prolong_a_life(answers: Answers, clock: Clock) -> None:
    await answers.put(replace(entry_of(), expires_s=clock() + 10))
    for _ in range(5):
        clock.now_s += 9
        found = await answers.get(digest("s"), digest("a"))
        assert found is not None
        assert found.expires_s == 1_000_010


async def test_vectors_come_oldest_first_and_none_is_missing(answers: Answers) -> None:
    ages = list(range(600))  # more than one page
    random.Random(7).shuffle(ages)
    for age in ages:
        entry = entry_of(f"{age}", created_s=1000.0 + age // 2)
        await answers.put(replace(entry, embedder="mini@1", vector=age.to_bytes(4, "little")))

    rows = await embedded(answers, "mini@1")
    assert len(rows) == len(ages)
    numbers = [int.from_bytes(row.vector, "little") for row in rows]
    assert sorted(numbers) == sorted(ages)
    assert [number // 2 for number in numbers] == sorted(age // 2 for age in ages)


async def test_vectors_of_another_embedder_stay_out(answers: Answers) -> None:
    await answers.put(replace(entry_of("a"), embedder="mini@1", vector=b"1234"))
    await answers.put(replace(entry_of("b"), embedder="large@1", vector=b"5678"))
    await answers.put(entry_of("c"))
    await answers.put(replace(entry_of("d"), embedder="mini@1", vector=b"9999", question=None))

    assert await embedded(answers, "mini@1") == [
        Embedded("e_a", digest("s"), digest("compat"), "what is a?", b"1234", None)
    ]


async def test_what_an_embedder_has_not_seen_is_listed_for_it(answers: Answers, clock: Clock) -> None:
    bare, foreign = entry_of("a"), replace(entry_of("b", scope="t"), embedder="large@1", vector=b"5678")
    done, unseen = (replace(entry_of(name), embedder="mini@1", vector=vector) for name, vector in VECTORS.items())
    gone, quiet = replace(entry_of("e"), expires_s=clock() + 1), replace(entry_of("f"), question=None)
    for entry in (done, unseen, gone, quiet, bare, foreign):
        await answers.put(entry)
    clock.now_s += 1 + KEEP_STALE_S

    assert await unembedded(answers, "mini@1") == [lacking(bare), lacking(foreign)]


async def test_a_long_list_of_the_unembedded_is_whole(answers: Answers) -> None:
    entries = [entry_of(f"{number}") for number in range(600)]  # more than one page
    await asyncio.gather(*(answers.put(entry) for entry in entries))

    rows = await unembedded(answers, "mini@1")
    assert {row.id for row in rows} == {entry.id for entry in entries}
    assert len(rows) == 600


async def test_a_vector_can_come_later_and_from_another_embedder(answers: Answers) -> None:
    await answers.put(entry_of())
    for embedder in ("large@1", "mini@1"):
        await answers.set_vector(lacking(entry_of()), embedder, embedder.encode())

        assert await unembedded(answers, embedder) == []
        assert [row.vector for row in await embedded(answers, embedder)] == [embedder.encode()]
        expected = replace(entry_of(), embedder=embedder, vector=embedder.encode())
        assert await answers.get(digest("s"), digest("a")) == expected
    assert await embedded(answers, "large@1") == []


async def test_an_empty_vector_says_that_there_is_none_to_be_had(answers: Answers) -> None:
    await answers.put(entry_of())
    await answers.set_vector(lacking(entry_of()), "mini@1", b"")

    assert await unembedded(answers, "mini@1") == []
    assert await embedded(answers, "mini@1") == []
    assert len(await unembedded(answers, "large@1")) == 1


@pytest.mark.parametrize(
    "now", [None, replace(entry_of(), question="something else?"), replace(entry_of(), question=None), entry_of("b")]
)
async def test_a_vector_for_what_is_gone_or_replaced_changes_nothing(answers: Answers, now: Entry | None) -> None:
    await answers.put(entry_of())
    await answers.remove(digest("s"), "e_a")
    if now is not None:
        await answers.put(now)
    for row in (lacking(entry_of()), replace(lacking(entry_of("b")), scope=digest("other"))):
        await answers.set_vector(row, "mini@1", b"1234")

    assert await embedded(answers, "mini@1") == []
    assert await answers.size() == (now is not None)
    if now is not None:
        assert await answers.get(digest("s"), now.exact) == now


async def test_hits_may_be_counted_for_anything(answers: Answers) -> None:
    await answers.put(entry_of())
    for entry_id in ("e_a", "e_a", "e_unknown"):
        await answers.count_hit(entry_id)

    assert await answers.get(digest("s"), digest("a")) == entry_of()


@pytest.mark.parametrize("message", [{"content": object()}, {"content": "\ud800"}, {"n": 2**70}])
async def test_what_json_cannot_hold_is_refused_and_leaves_nothing(
    answers: Answers, message: dict[str, object]
) -> None:
    with pytest.raises(CacheError):
        await answers.put(replace(entry_of(), completion=Completion((Choice(message, "stop"),))))

    assert await answers.get(digest("s"), digest("a")) is None
    await answers.put(entry_of())
    assert await answers.get(digest("s"), digest("a")) == entry_of()


async def test_many_puts_at_once_are_all_kept(answers: Answers) -> None:
    await asyncio.gather(*(answers.put(entry_of(f"{number}", text=f"{number}")) for number in range(300)))

    assert await answers.size() == 300
    found = await asyncio.gather(*(answers.get(digest("s"), digest(f"{number}")) for number in range(300)))
    assert [entry and entry.completion for entry in found] == [completion_of(f"{number}") for number in range(300)]


@pytest.mark.parametrize("seed", range(4))
async def test_random_operations_agree_with_a_dict(answers: Answers, clock: Clock, seed: int) -> None:
    rng = random.Random(seed)
    truth: dict[tuple[bytes, bytes], Entry] = {}
    for step in range(400):
        scope, name = rng.choice("xyz"), rng.choice("abcdef")
        key = (digest(scope), digest(name))
        match rng.randrange(6):
            case 0 | 1:
                expires_s = rng.choice((None, clock() + rng.randrange(50)))
                entry = replace(entry_of(name, scope=scope, text=f"{step}"), expires_s=expires_s)
                await answers.put(entry)
                truth[key] = entry
            case 2:
                gone = await answers.remove(digest(scope), f"e_{name}")
                assert gone or key not in truth
                truth.pop(key, None)
            case 3:
                clock.now_s += rng.randrange(20)
                ended = [k for k, e in truth.items() if not e.is_fresh(clock() - KEEP_STALE_S)]
                for k in ended:
                    del truth[k]
            case _:
                await answers.count_hit(f"e_{name}")
        assert await answers.get(*key) == truth.get(key)
        assert await answers.by_id(digest(scope), f"e_{name}") == truth.get(key)


# -- selections ----------------------------------------------------------------------------------------------------

VARIED: dict[str, Entry] = {
    "plain": entry_of("plain"),
    "model": replace(entry_of("model"), model="other"),
    "namespace": replace(entry_of("namespace"), namespace="space"),
    "tenant": replace(entry_of("tenant"), tenant="ten"),
    "revision": replace(entry_of("revision"), revision="r2"),
    "schema": replace(entry_of("schema"), schema=7),
    "tag": replace(entry_of("tag"), tags=("red", 'it\'s "red"')),
    "embedder": replace(entry_of("embedder"), embedder="mini@1", vector=b"1234"),
    "old": entry_of("old", created_s=900_000.0),
    "scope": entry_of("scope", scope="t"),
    "text": entry_of("text", text='Der "Zug"\nkommt SPÄT'),
}
SELECTIONS: dict[str, Selection] = {
    "plain": Selection(scope=digest("s"), exact=digest("plain")),
    "model": Selection(model="other"),
    "namespace": Selection(namespace="space"),
    "tenant": Selection(tenant="ten"),
    "revision": Selection(revision="r2"),
    "schema": Selection(schema=7),
    "tag": Selection(tag='it\'s "red"'),
    "embedder": Selection(embedder="mini@1"),
    "old": Selection(before_s=900_000.0),
    "scope": Selection(scope=digest("t")),
    "text": Selection(text='"zug"\nkommt'),
}


async def ids_of(answers: Answers, selection: Selection) -> list[str]:
    return [row.id for row in await answers.select(selection, Page(100))]


@pytest.mark.parametrize("name", VARIED)
async def test_a_selection_means_its_own_and_removes_nothing_else(answers: Answers, name: str) -> None:
    for entry in VARIED.values():
        await answers.put(entry)
    selection, meant = SELECTIONS[name], VARIED[name]

    assert await ids_of(answers, selection) == [meant.id]
    assert await answers.count(selection) == 1
    assert await answers.remove_all(selection) == [Gone(meant.id, meant.scope, meant.compat)]
    for other, entry in VARIED.items():
        found = await answers.get(entry.scope, entry.exact)
        assert found == (None if other == name else entry)
    assert await answers.remove_all(selection) == []


async def test_criteria_hold_together_and_none_means_everything(answers: Answers) -> None:
    for entry in VARIED.values():
        await answers.put(entry)

    assert await ids_of(answers, Selection(model="other", namespace="space")) == []
    assert await answers.count(Selection()) == len(VARIED)
    assert len(await answers.remove_all(Selection())) == len(VARIED)
    assert await answers.size() == 0


async def test_pages_are_newest_first_and_leave_nothing_out(answers: Answers) -> None:
    for number in range(20):
        await answers.put(entry_of(f"{number}", created_s=1000.0 + number // 3))
    seen, page = [], Page(7)
    while rows := await answers.select(Selection(), page):
        seen += rows
        page = Page(7, rows[-1].place)

    assert len({row.id for row in seen}) == 20
    assert all(newer.created_s >= older.created_s for newer, older in pairwise(seen))


async def test_a_row_of_the_list_says_what_the_entry_is(answers: Answers) -> None:
    await answers.put(full_entry())
    (row,) = await answers.select(Selection(id="e_a"), Page())

    entry = full_entry()
    shared = ("id", "tenant", "namespace", "model", "revision", "question", "tags", "created_s", "expires_s")
    assert {name: getattr(row, name) for name in shared} == {name: getattr(entry, name) for name in shared}
    assert row.size_bytes > 1000


async def test_requests_of_a_scope_come_newest_first(answers: Answers) -> None:
    for number, name in enumerate("abc"):
        await answers.put(entry_of(name, created_s=1000.0 + number))
    await answers.put(entry_of("d", scope="other"))

    assert [entry_id for entry_id, _ in await answers.requests(digest("s"), 2)] == ["e_c", "e_b"]
    assert (await answers.requests(digest("s"), 1))[0][1] == entry_of("c").canonical


# -- what users say ------------------------------------------------------------------------------------------------


def said(source: str, *, is_good: bool = False, at_s: float = 1.0) -> Verdict:
    return Verdict(source, is_good, f"by {source}", at_s)


async def test_two_bad_verdicts_from_two_sources_end_an_entry(answers: Answers) -> None:
    entry = entry_of()
    await answers.put(entry)
    first = await answers.judge(entry, said("one"))
    again = await answers.judge(entry, said("one", at_s=2.0))
    assert first is not None
    assert again is not None
    assert (first.bad, again.bad, again.is_retired) == (1, 1, False)
    found = await answers.get(entry.scope, entry.exact)
    assert found is not None
    assert found.bad == 1

    last = await answers.judge(entry, said("two"))
    assert last is not None
    assert (last.bad, last.gone) == (2, (Gone(entry.id, entry.scope, entry.compat),))
    assert await answers.get(entry.scope, entry.exact) is None
    assert await answers.by_id(entry.scope, entry.id) is None
    assert await answers.judge(entry, said("three")) is None


async def test_good_verdicts_are_tallied_and_the_last_word_of_a_source_counts(answers: Answers) -> None:
    entry = entry_of()
    await answers.put(entry)
    await answers.judge(entry, said("one"))
    tally = await answers.judge(entry, said("one", is_good=True, at_s=3.0))
    await answers.judge(entry, said("two", is_good=True, at_s=2.0))

    assert tally is not None
    assert (tally.good, tally.bad) == (1, 0)
    assert [verdict.source for verdict in await answers.verdicts(entry.scope, entry.id)] == ["two", "one"]
    assert [row.good for row in await answers.select(Selection(), Page())] == [2]


async def test_old_verdicts_are_in_the_tally_alone(answers: Answers) -> None:
    entry = entry_of()
    await answers.put(entry)
    for number in range(MAX_VERDICTS + 5):
        tally = await answers.judge(entry, said(f"{number}", is_good=True, at_s=float(number)))

    assert tally is not None
    assert tally.good == MAX_VERDICTS + 5
    kept = await answers.verdicts(entry.scope, entry.id)
    assert [verdict.source for verdict in kept] == [f"{number}" for number in range(5, MAX_VERDICTS + 5)]


async def test_a_new_answer_begins_with_no_verdicts_and_the_same_one_keeps_them(answers: Answers) -> None:
    entry = entry_of()
    await answers.put(entry)
    await answers.judge(entry, said("one"))
    await answers.put(entry)
    found = await answers.get(entry.scope, entry.exact)
    assert found is not None
    assert found.bad == 1

    newer = replace(entry, created_s=entry.created_s + 1)
    await answers.put(newer)
    assert await answers.get(entry.scope, entry.exact) == newer
    assert await answers.verdicts(entry.scope, entry.id) == []
    assert await answers.judge(entry, said("two")) is None  # that answer is gone
    tally = await answers.judge(newer, said("two"))
    assert tally is not None
    assert tally.bad == 1


async def test_an_entry_is_its_tenants_own(answers: Answers) -> None:
    mine = replace(entry_of(), tenant="mine")
    await answers.put(mine)

    assert await answers.owned("mine", "e_a") == mine
    assert await answers.owned("theirs", "e_a") is None
    assert await answers.owned("mine", "e_b") is None


# -- other names of an answer --------------------------------------------------------------------------------------


def alias_of(entry: Entry, name: str) -> Entry:
    return replace(entry, id=f"e_{name}", exact=digest(name), canonical=name.encode(), question=name, alias_of=entry.id)


async def test_an_alias_goes_with_its_entry(answers: Answers) -> None:
    entry, alias = entry_of(), alias_of(entry_of(), "b")
    await answers.put(entry)
    await answers.put(alias)
    assert await answers.get(entry.scope, alias.exact) == alias

    await answers.remove(entry.scope, entry.id)
    assert await answers.get(entry.scope, alias.exact) is None
    await answers.put(alias)  # of what is gone
    assert await answers.get(entry.scope, alias.exact) is None


async def test_an_alias_may_go_alone(answers: Answers) -> None:
    entry, alias = entry_of(), alias_of(entry_of(), "b")
    await answers.put(entry)
    await answers.put(alias)
    await answers.remove(entry.scope, alias.id)

    assert await answers.get(entry.scope, entry.exact) == entry


@pytest.mark.parametrize("how", ["retired", "answered anew", "selected"])
async def test_no_alias_keeps_an_answer_that_is_gone(answers: Answers, how: str) -> None:
    entry, alias = entry_of(), alias_of(entry_of(), "b")
    await answers.put(entry)
    await answers.put(alias)
    if how == "retired":
        await answers.judge(entry, said("one"))
        tally = await answers.judge(entry, said("two"))
        assert tally is not None
        assert {one.id for one in tally.gone} == {"e_a", "e_b"}
    elif how == "selected":
        assert len(await answers.remove_all(Selection(id="e_a"))) == 2
    else:
        await answers.put(replace(entry, created_s=entry.created_s + 1))

    assert await answers.get(entry.scope, alias.exact) is None


# -- looking, and lives that move ----------------------------------------------------------------------------------


async def test_a_look_sees_what_a_read_sees(answers: Answers, clock: Clock) -> None:
    await answers.put(replace(full_entry(), expires_s=clock() + 10))
    assert await answers.peek(digest("s"), digest("a")) == await answers.get(digest("s"), digest("a"))
    assert await answers.peek(digest("s"), digest("b")) is None
    clock.now_s += 10 + KEEP_STALE_S

    assert await answers.peek(digest("s"), digest("a")) is None


async def test_an_end_can_be_moved(answers: Answers, clock: Clock) -> None:
    await answers.put(replace(entry_of(), expires_s=clock() + 10))
    await answers.prolong(digest("s"), "e_a", clock() + 1000)
    await answers.prolong(digest("s"), "e_unknown", clock() + 1000)

    row = await answers.select(Selection(), Page())  # written behind
    for _ in range(60):
        if row[0].expires_s == clock() + 1000:
            break
        await asyncio.sleep(0.05)
        row = await answers.select(Selection(), Page())
    assert row[0].expires_s == clock() + 1000
