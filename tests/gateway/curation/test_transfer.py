"""What is exported is imported whole, under keys of the gateway that takes it in, whatever else is in the file."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from backends.chat import ChatRequest, Delta
from backends.fake import say
from gateway.answers.base import Store
from gateway.answers.redis.connection import Link
from gateway.answers.redis.store import RedisAnswers
from gateway.answers.selection import Page, Selection
from gateway.controls import Controls
from gateway.curation.lines import cursor_of, home_of
from gateway.curation.portable import Movement
from gateway.curation.transfer import Clash, Transfer
from gateway.errors import InvalidRequest
from gateway.policy import Rules
from tests.gateway.house import SECRET, House, house, read
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving

TENANT, OTHER = "1" * 32, "2" * 32
QUESTIONS = ("What is the capital city of France?", "How tall is the Eiffel Tower?", "Who wrote Faust?")


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    yield from serving(tmp_path_factory.mktemp("redis"))


@asynccontextmanager
async def gateway(folder: Path, name: str, store: Store | None = None) -> AsyncIterator[tuple[House, Transfer]]:
    (folder / name).mkdir()
    async with house(folder / name, store=store) as opened:
        rules = Rules(shadow_rate=0.0)
        transfer = Transfer(opened.answers, opened.semantic, rules, opened.ledger, SECRET, page=32)
        yield opened, transfer
        await transfer.close()


async def filled(opened: House, tenant: str = TENANT, **wishes: Any) -> None:
    for question in QUESTIONS:
        await opened.chat(question, tenant=tenant, **wishes)
    await opened.pipeline.close()


async def exported(transfer: Transfer, selection: Selection | None = None, cursor: str | None = None) -> list[bytes]:
    parts = [part async for part in transfer.export(selection or Selection(), cursor)]
    return b"".join(parts).splitlines(keepends=True)


async def imported(
    transfer: Transfer,
    lines: list[bytes],
    *,
    movement: Movement | None = None,
    clash: Clash = "newer",
    dry: bool = False,
) -> dict[str, Any]:
    raw = [line.rstrip(b"\n") for line in lines]
    return await transfer.take_in(raw, first=1, movement=movement or Movement(), clash=clash, is_dry_run=dry)


def counts(account: dict[str, Any]) -> tuple[int, int, int, int]:
    return account["imported"], account["kept"], account["expired"], account["failed"]


def changed(line: bytes, **fields: Any) -> bytes:
    return orjson.dumps({**orjson.loads(line), **fields})


@pytest.mark.parametrize("kind", ["file", pytest.param("redis", marks=needs_redis)])
async def test_an_import_answers_what_was_exported_by_meaning_too(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    link = None
    if kind == "redis":
        link = Link(request.getfixturevalue("redis_server").url, SECRET, timeout_s=10)
    store = None if link is None else RedisAnswers(link, replica=b"r", budget_bytes=1 << 26)
    async with gateway(tmp_path, "from") as (there, out):
        await filled(there, controls=Controls(tags=("geo",), ttl_s=1000.0, namespace="n"))
        await there.chat(QUESTIONS[0], tenant=TENANT, controls=Controls(namespace="n"))
        await there.pipeline.close()
        await there.answers.close()  # hits are written
        await there.answers.open()
        lines = await exported(out)
        before = await there.answers.select(Selection(), Page())
    async with gateway(tmp_path, "to", store) as (here, into):
        account = await imported(into, lines)
        again = await imported(into, lines)
        await into.close()
        outcome, _ = await here.chat(QUESTIONS[0], tenant=TENANT, controls=Controls(namespace="n"))
        near, _ = await here.chat("What's the capital city of France?", tenant=TENANT, controls=Controls(namespace="n"))
        stranger, _ = await here.chat(QUESTIONS[0], tenant=OTHER, controls=Controls(namespace="n"))
        after = await here.answers.select(Selection(tenant=TENANT), Page())
    if link is not None:
        await link.close()

    assert (counts(account), counts(again)) == ((3, 0, 0, 0), (0, 3, 0, 0))
    assert (outcome.tier, near.tier, stranger.tier) == ("exact", "semantic", "full")
    assert [replace(row, place=(0, 0), hits=0, size_bytes=0) for row in after] == [
        replace(row, place=(0, 0), hits=0, size_bytes=0, origin="import") for row in before
    ]


async def test_hits_and_verdicts_go_along_once(tmp_path: Path) -> None:
    async with gateway(tmp_path, "from") as (there, out):
        await filled(there)
        lines = await exported(out)
    lines = [changed(line, hits=41, good=3) if b'"entry"' in line else line for line in lines]
    async with gateway(tmp_path, "to") as (here, into):
        await imported(into, lines)
        await imported(into, lines)
        await here.answers.close()
        await here.answers.open()
        rows = await here.answers.select(Selection(), Page())

    assert [(row.hits, row.good) for row in rows] == [(41, 3)] * 3


async def test_an_export_goes_on_after_the_last_whole_line(tmp_path: Path) -> None:
    async with gateway(tmp_path, "from") as (there, out):
        for number in range(150):
            await there.chat(f"Which of the numbers is {number}?")
        await there.pipeline.close()
        whole = await exported(out)
        cut = whole[:71]
        rest = await exported(out, cursor=orjson.loads(cut[-1])["cursor"])
        for wrong in ("nonsense", cursor_of((5, 1.0, 1.0, 1)), cursor_of((-1, 1.0, 1.0, 1))):
            with pytest.raises(InvalidRequest, match="cursor"):
                await exported(out, cursor=wrong)

    def ids(lines: list[bytes]) -> list[str]:
        return [line["id"] for raw in lines if (line := orjson.loads(raw))["kind"] == "entry"]

    assert len(ids(whole)) == 150
    assert ids(cut) + ids(rest) == ids(whole)
    assert orjson.loads(rest[-1])["kind"] == "end"


async def test_what_is_replaced_while_an_export_runs_is_in_it(tmp_path: Path) -> None:
    async with gateway(tmp_path, "from") as (there, out):
        for number in range(70):
            await there.chat(f"Which of the numbers is {number}?")
        await there.pipeline.close()
        lines = out.export(Selection())
        seen = [await anext(lines), await anext(lines)]
        await there.chat("Which of the numbers is 0?", controls=Controls(no_cache=True))
        await there.pipeline.close()
        seen += [part async for part in lines]

    told = [line for raw in b"".join(seen).splitlines() if (line := orjson.loads(raw))["kind"] == "entry"]
    assert len({line["question"] for line in told}) == 70


async def test_an_alias_comes_behind_what_it_is_an_alias_of_and_goes_along(tmp_path: Path) -> None:
    async with gateway(tmp_path, "from") as (there, out):
        first, _ = await there.chat(QUESTIONS[0])
        second, _ = await there.chat(QUESTIONS[1])
        await there.pipeline.close()
        original, alias = [await there.answers.owned("t", one.entry or "") for one in (first, second)]
        assert original is not None
        assert alias is not None
        named = replace(alias, alias_of=original.id, completion=original.completion, created_s=original.created_s)
        await there.answers.put(named)
        lines = [changed(line, tenant=TENANT) for line in await exported(out) if b'"entry"' in line]
    async with gateway(tmp_path, "to") as (here, into):
        orphan = await imported(into, lines[1:], movement=Movement(into=TENANT))
        whole = await imported(into, lines, movement=Movement(into=TENANT))
        outcome, completion = await here.chat(QUESTIONS[1], tenant=TENANT)

    assert (orphan["errors"][0]["code"], counts(whole)) == ("no_original", (2, 0, 0, 0))
    assert (outcome.reason, completion.text) == ("promoted", original.completion.text)


async def test_every_line_is_told_what_is_wrong_with_it_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with gateway(tmp_path, "from") as (there, out):
        await filled(there)
        lines = await exported(out)
    good, line = lines[1:3], lines[3]
    answer: dict[str, Any] = orjson.loads(line)["answer"]
    unfinished = {**answer, "choices": [{**answer["choices"][0], "finish_reason": "length"}]}
    broken = {
        "kind": changed(line, kind="other"),
        "model": changed(line, model=7),
        "answer.choices[0].surprise": changed(
            line, answer={**answer, "choices": [{**answer["choices"][0], "surprise": 1}]}
        ),
        "answer": changed(line, answer=unfinished),
        "question": changed(line, question="something else"),
        "request": changed(line, request={**orjson.loads(line)["request"], "temperature": 1.0, "seed": None}),
        "request.messages": changed(line, request={"messages": []}),
        "tenant": changed(line, tenant="somebody"),
        "schema": changed(line, schema=99),
        "created_s": changed(line, created_s=time.time() + 10**6),
        "version": b'{"kind":"header","format":"twicetold-answers","version":2}',
        "surprise": changed(line, surprise=1),
        None: line[:40],
    }
    async with gateway(tmp_path, "to") as (_, into):
        account = await imported(
            into, [good[0], *broken.values(), changed(line, expires_s=2e9, created_s=1e9), good[1]]
        )
        ended = await imported(into, [changed(line, created_s=1e9, expires_s=1.1e9)])

    assert [error["field"] for error in account["errors"]] == list(broken)
    assert [error["line"] for error in account["errors"]] == list(range(2, 2 + len(broken)))
    assert counts(account) == (3, 0, 0, len(broken))
    assert counts(ended) == (0, 0, 1, 0)


async def test_no_line_names_a_response_of_a_server(tmp_path: Path) -> None:
    async with gateway(tmp_path, "from") as (there, out):
        await filled(there)
        line = (await exported(out))[1]
    answer: dict[str, Any] = orjson.loads(line)["answer"]
    extra = {"id": "FORGED", "object": "zz", "response_event": {"type": "t", "response": {"id": "resp_of_another"}}}
    async with gateway(tmp_path, "to") as (here, into):
        account = await imported(into, [changed(line, answer={**answer, "extra": extra})])
        outcome, completion = await here.chat(orjson.loads(line)["question"], tenant=TENANT)

    assert (counts(account), outcome.tier, dict(completion.extra)) == ((1, 0, 0, 0), "exact", {})


async def test_an_answer_that_no_model_gives_is_refused_by_its_field(tmp_path: Path) -> None:
    async with gateway(tmp_path, "from") as (there, out):
        await filled(there)
        line = (await exported(out))[1]
    answer: dict[str, Any] = orjson.loads(line)["answer"]
    choice = answer["choices"][0]

    def saying(**message: Any) -> dict[str, Any]:
        return {"choices": [{**choice, "message": {**choice["message"], **message}}]}

    forged: list[tuple[str, dict[str, Any]]] = [
        ("answer.choices[0].message", saying(tool_calls="zz")),
        ("answer.choices[0].message", saying(tool_calls=[{"function": 5}])),
        ("answer.choices[0].message", saying(role="user")),
        ("answer.usage", {"usage": {**answer["usage"], "extra": {"prompt_tokens_details": 5}}}),
        ("answer", {"choices": [choice] * 3}),
        ("answer.choices[0].logprobs", {"choices": [{**choice, "logprobs": {"content": 5}}]}),
    ]
    async with gateway(tmp_path, "to") as (_, into):
        account = await imported(into, [changed(line, answer={**answer, **fields}) for _, fields in forged])
        whole = await imported(into, [line])

    assert [error["field"] for error in account["errors"]] == [field for field, _ in forged]
    assert counts(whole) == (1, 0, 0, 0)


SHAPES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "a picture by its bytes": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}],
        {},
    ),
    "a sound": ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}], {}),
    "tools": (
        [{"role": "user", "content": "call"}, {"role": "assistant", "content": None, "tool_calls": []}],
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": ["null"]}}}], "stop": "x"},
    ),
    "a cut continuation": ([{"role": "prompt", "content": "Once upon"}], {"max_tokens": 3}),
    "a prompt of tokens": ([{"role": "prompt", "content": [{"type": "tokens", "tokens": [1, 2]}]}], {}),
    "marks and numbers": ([{"role": "user", "content": "e\u0301 \U0001f600"}], {"temperature": 0.5, "seed": 7}),
}


async def test_what_was_asked_in_any_shape_is_found_again(tmp_path: Path) -> None:
    def end(request: ChatRequest) -> list[Delta]:
        return say("It is said.", finish_reason="length" if request.params.get("max_tokens") else "stop")

    async def ask(opened: House, name: str) -> str:
        messages, params = SHAPES[name]
        request = ChatRequest("scripted", tuple(messages), params)
        reply = await opened.pipeline.answer(request, TENANT, "", Controls())
        await read(reply)
        return reply.outcome.tier

    async with gateway(tmp_path, "from") as (there, out):
        there.backend.script = end
        for name in SHAPES:
            await ask(there, name)
        await there.pipeline.close()
        lines = await exported(out)
    async with gateway(tmp_path, "to") as (here, into):
        account = await imported(into, lines)
        tiers = {name: await ask(here, name) for name in SHAPES}

    assert (account["errors"], account["imported"]) == ([], len(SHAPES))
    assert tiers == dict.fromkeys(SHAPES, "exact")


async def test_a_tenant_of_another_deployment_has_to_be_named_anew(tmp_path: Path) -> None:
    async with gateway(tmp_path, "from") as (there, out):
        await filled(there)
        lines = await exported(out)
    own = home_of(SECRET).encode()
    foreign = [line.replace(own, home_of(b"another" * 8).encode()) for line in lines]
    async with gateway(tmp_path, "to") as (here, into):
        refused = await imported(into, foreign)
        moved = await imported(into, foreign, movement=Movement(tenants=((TENANT, OTHER),)))
        tiers = [(await here.chat(QUESTIONS[0], tenant=tenant))[0].tier for tenant in (OTHER, TENANT)]

    assert {error["field"] for error in refused["errors"]} == {"tenant"}
    assert counts(moved) == (3, 0, 0, 0)
    assert tiers == ["exact", "full"]


async def test_what_was_asked_under_a_salt_stays_behind_it(tmp_path: Path) -> None:
    async with gateway(tmp_path, "from") as (there, out):
        await filled(there, salt="pepper")
        lines = await exported(out)
    forged = [changed(line, salted={**orjson.loads(line)["salted"], "scope": "00" * 32}) for line in lines[1:2]]
    async with gateway(tmp_path, "to") as (here, into):
        moved = await imported(into, lines, movement=Movement(into=OTHER))
        planted = await imported(into, forged)
        account = await imported(into, lines)
        tiers = [(await here.chat(QUESTIONS[0], tenant=TENANT, salt=salt))[0].tier for salt in ("pepper", "")]

    assert {error["field"] for error in moved["errors"] + planted["errors"]} == {"salted"}
    assert counts(account) == (3, 0, 0, 0)
    assert tiers == ["exact", "full"]


async def test_the_newer_answer_stays_unless_told_and_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, "to") as (here, into):
        await filled(here)
        lines = [changed(line, created_s=1e9) for line in await exported(into) if b'"entry"' in line]
        kept = await imported(into, lines)
        dry = await imported(into, lines, clash="replace", dry=True)
        newest = (await here.answers.select(Selection(), Page()))[0].created_s
        replaced = await imported(into, lines, clash="replace")
        now = (await here.answers.select(Selection(), Page()))[0].created_s

    assert (counts(kept), counts(dry), counts(replaced)) == ((0, 3, 0, 0), (3, 0, 0, 0), (3, 0, 0, 0))
    assert newest > 1e9 == now
