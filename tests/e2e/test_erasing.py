"""Erasure, proved: the words of whoever is erased are in no file and in no value of Redis; everybody else's are."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.answers.selection import Selection
from gateway.app import create_app
from gateway.body import Curfew
from gateway.services import Services, build
from gateway.settings import load_settings
from kvtier.keys import owner_mark
from tests.kvtier.tiers.places import small_form
from tests.kvtier.tiers.servers import RedisServer, needs_redis, serving
from tests.upstream import RunningUpstream

ALL = Selection()
MINE, YOURS = "Quetzalfeather", "Xylograph"  # words that nobody else says
ME, YOU = "sk-me", "sk-you"


@dataclass(frozen=True)
class Gateway:
    """One gateway of this process."""

    services: Services
    client: httpx.AsyncClient

    async def chat(self, text: str, key: str = ME, *, system: str = "", **more: Any) -> httpx.Response:
        messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]
        body = {"model": self.model, "messages": messages, "max_tokens": 4, **more}
        return await self.post("/v1/chat/completions", key, body)

    async def post(self, path: str, key: str, body: Any) -> httpx.Response:
        said = await self.client.post(path, json=body, headers={"authorization": f"Bearer {key}"})
        assert said.status_code == 200, said.text
        return said

    async def admin(self, path: str, body: Any = None) -> Any:
        said = await self.client.request("GET" if body is None else "POST", f"/admin/api/{path}", json=body)
        assert said.is_success, said.text
        return said.json()

    @property
    def model(self) -> str:
        return self.services.settings.local_model or "m"

    def tenant(self, key: str) -> str:
        return self.services.keys.tenant(key)


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


@asynccontextmanager
async def gateway_in(folder: Path, **flags: Any) -> AsyncIterator[Gateway]:
    services = build(load_settings({"data_dir": folder, **flags}, environ={}))
    app = create_app(services, services.opened, Curfew())
    transport = httpx.ASGITransport(app=app)
    async with (
        services.opened(),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8420", timeout=60) as client,
    ):
        if services.settings.local_model:  # on a busy machine it takes its time
            await until(lambda: is_ready(client))
        yield Gateway(services, client)


async def until(is_so: Callable[[], Any], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not (await found if asyncio.iscoroutine(found := is_so()) else found):  # noqa: ASYNC110 - of other threads
            await asyncio.sleep(0.02)


def places_of(word: str, folder: Path, server: RedisServer | None = None) -> list[str]:
    """Files and keys of Redis that hold a word, as it is or as JSON has it."""
    said = word.encode()
    found = [path.name for path in folder.rglob("*") if path.is_file() and said in path.read_bytes()]
    if server is None:
        return found
    client = server.client
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
        b"stream": lambda name: client.xrange(name, "-", "+"),
    }
    for name in client.scan_iter():
        kind = client.type(name)
        value = readers[kind](name) if kind in readers else b""
        if said in repr(value).encode() or (isinstance(value, bytes) and said in inflated(value)):
            found.append(repr(name))
    return found


def inflated(value: bytes) -> bytes:
    """What a value holds that is compressed, wherever in it that begins."""
    at, parts = -1, list[bytes]()
    while (at := value.find(b"x\x01", at + 1)) >= 0:
        with suppress(zlib.error):
            parts.append(zlib.decompressobj().decompress(value[at:]))
    return b"".join(parts)


def segments(folder: Path, tenant: str, secret: bytes) -> int:
    """Segments of prefixes on disk that are a tenant's."""
    form, mark, found = small_form(secret=secret), owner_mark(secret, tenant), 0
    for path in folder.glob("kv/*/*.seg"):
        with suppress(FileNotFoundError):  # a longer one has taken its place
            found += form.read_owner(path.read_bytes()) == mark
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    yield from serving(tmp_path_factory.mktemp("redis"))


@needs_redis
async def test_nothing_is_left_of_a_tenant_and_nothing_of_another_is_missing(
    tmp_path: Path, server: RedisServer
) -> None:
    flags = {"cache": {"semantic": False}, "engine": {"kv_redis": server.url}, "prefixes": {"words": True}}
    async with gateway_in(tmp_path, model="demo", **flags) as gateway:
        me, you = gateway.tenant(ME), gateway.tenant(YOU)
        for key, word in ((ME, MINE), (YOU, YOURS)):
            system = f"You are the keeper of the {word}. " * 30
            for text in (f"Where does the {word} live?", f"Where does the {word} live?", f"where is the {word} living"):
                said = await gateway.chat(text, key, system=system, cache={"tags": ["pets"]})
            verdict = {"id": said.json()["id"], "verdict": "bad", "comment": f"the {word} is elsewhere"}
            await gateway.post("/v1/cache/feedback", key, verdict)
            first = await gateway.post("/v1/responses", key, {"model": "demo", "input": f"Tell me of the {word}"})
            again = {"model": "demo", "input": f"More of the {word}", "previous_response_id": first.json()["id"]}
            await gateway.post("/v1/responses", key, again)
        secret = gateway.services.secret
        await until(lambda: segments(tmp_path, me, secret) and segments(tmp_path, you, secret))
        await until(lambda: places_of(MINE, tmp_path))  # answers are written behind the caller's back

        dry = await gateway.admin("erase", {"tenant": me})
        done = await gateway.admin("erase", {"tenant": me, "dry_run": False})
        after = await gateway.admin("erase", {"tenant": me})

        assert dry["dry_run"]
        assert dry["counts"] == {name: done["counts"].get(name, 0) for name in dry["counts"]}
        assert {name for name, count in done["counts"].items() if count} >= {
            "answers", "conversations", "kv_blocks", "kv_disk_segments", "kv_redis_segments", "prompts",
            "requests", "responses",
        }  # fmt: skip
        assert done["is_whole"], done
        assert done["total"] == sum(done["counts"].values())
        assert after["total"] == 0
        assert places_of(MINE, tmp_path, server) == []
        assert segments(tmp_path, me, secret) == 0
        for path in ("requests", "prefixes", "kv?nodes=50", "entries", "stats"):
            shown = await gateway.client.get(f"/admin/api/{path}")
            assert shown.status_code == 200, path
            assert MINE not in shown.text, path

        assert places_of(YOURS, tmp_path)
        assert segments(tmp_path, you, secret)
        system = f"You are the keeper of the {YOURS}. " * 30
        assert (await gateway.chat(f"Where does the {YOURS} live?", YOU, system=system)).json()["usage"]
        mine = await gateway.chat(f"Where does the {MINE} live?", ME, system=f"You are the keeper of the {MINE}. " * 30)
        assert mine.headers["x-twicetold-tier"] == "full"
        assert mine.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def upstream_flags(upstream: RunningUpstream, **more: Any) -> dict[str, Any]:
    return {"upstream": upstream.base_url, "cache": {"semantic": False}, **more}


async def test_a_tag_takes_along_what_wears_none_of_whoever_used_it(tmp_path: Path, upstream: RunningUpstream) -> None:
    async with gateway_in(tmp_path, **upstream_flags(upstream)) as gateway:
        await gateway.chat(f"What eats a {MINE}?", ME, cache={"tags": ["user-7"]})
        await gateway.chat("What eats a mouse?", ME)
        await gateway.chat(f"What eats a {YOURS}?", YOU)
        await until(lambda: gateway.services.answers.count(ALL))

        done = await gateway.admin("erase", {"tag": "user-7", "dry_run": False})

        assert done["tenants"] == [gateway.tenant(ME)]
        assert done["counts"]["answers"] == 1
        assert done["counts"]["requests"] == 2  # which of them wore it nobody knows
        assert places_of(MINE, tmp_path) == []
        assert MINE not in (await gateway.client.get("/admin/api/requests")).text
        assert (await gateway.chat("What eats a mouse?", ME)).headers["x-twicetold-tier"] == "exact"
        assert places_of(YOURS, tmp_path)


@needs_redis
async def test_other_gateways_erase_too_also_one_that_was_away(
    tmp_path: Path, server: RedisServer, upstream: RunningUpstream
) -> None:
    flags = upstream_flags(upstream, redis=server.url)
    for name in ("a", "b", "away"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "secret").write_bytes(b"one secret for all the gateways.")
    corrupt = tmp_path / "away" / "answers.db.corrupt-1"
    async with gateway_in(tmp_path / "away", **flags) as away:
        await until(lambda: away.services.erasures is not None and (tmp_path / "away" / "erasures.seen").exists())
    corrupt.write_text(MINE)
    async with gateway_in(tmp_path / "a", **flags) as a, gateway_in(tmp_path / "b", **flags) as b:
        await a.chat(f"What eats a {MINE}?", ME)
        await b.chat(f"What else eats a {MINE}?", ME)
        assert MINE in (await b.client.get("/admin/api/requests")).text
        await until(lambda: len(places_of(MINE, tmp_path, server)) >= 3)
        await until(lambda: (tmp_path / "b" / "erasures.seen").exists())

        done = await a.admin("erase", {"tenant": a.tenant(ME), "dry_run": False})

        assert done["counts"]["answers"] == 2
        assert [one["counts"]["requests"] for one in done["replicas"]] == [1]
        assert done["total"] == sum(done["counts"].values()) + sum(sum(r["counts"].values()) for r in done["replicas"])
        assert MINE not in (await b.client.get("/admin/api/requests")).text
        assert places_of(MINE, tmp_path, server) == [corrupt.name]
        async with gateway_in(tmp_path / "away", **flags):
            await until(lambda: not corrupt.exists())


async def test_keys_end_with_their_tenant_when_that_is_asked(tmp_path: Path, upstream: RunningUpstream) -> None:
    async with gateway_in(tmp_path, **upstream_flags(upstream)) as gateway:
        made = await gateway.admin("keys", {"name": "app", "policy": {"limits": {"concurrent": 9}}})
        await gateway.chat("What eats a mouse?", made["key"])
        dry = await gateway.admin("erase", {"tenant": made["tenant"], "keys": True})
        done = await gateway.admin("erase", {"tenant": made["tenant"], "keys": True, "dry_run": False})
        ask = {"model": "m", "messages": [{"role": "user", "content": "What eats a mouse?"}]}
        bearer = {"authorization": f"Bearer {made['key']}"}
        refused = await gateway.client.post("/v1/chat/completions", json=ask, headers=bearer)

        assert [one["counts"][what] for one in (dry, done) for what in ("keys", "budgets")] == [1, 1, 1, 1]
        assert refused.status_code == 401


async def test_whom_to_erase_has_to_be_said(tmp_path: Path, upstream: RunningUpstream) -> None:
    async with gateway_in(tmp_path, **upstream_flags(upstream)) as gateway:
        for body in ({}, {"tag": "x", "keys": True}, {"tenant": ""}, {"tenant": "*"}, {"tag": "x", "all": True}):
            assert (await gateway.client.post("/admin/api/erase", json=body)).status_code in (400, 422)


async def test_what_a_tenant_shared_ends_with_it_or_with_the_tag_it_wore(
    tmp_path: Path, upstream: RunningUpstream
) -> None:
    cache = {"semantic": False, "routes": [{"share_tenants": 2}]}
    async with gateway_in(tmp_path, upstream=upstream.base_url, cache=cache, keys={"required": True}) as gateway:
        commons = Selection(tenant="commons")
        you, me = [await gateway.admin("keys", {"name": name}) for name in ("you", "me")]
        for tag, whom in (("a", {"tag": "a"}), ("b", {"tag": "b", "tenant": me["tenant"]}), ("c", {})):
            for key in (you["key"], me["key"]):  # the last one's answer is shared
                await gateway.chat(f"What eats the {MINE} of {tag}?", key, cache={"tags": [tag]})
            await until(lambda: gateway.services.answers.count(commons))

            done = await gateway.admin("erase", {**(whom or {"tenant": me["tenant"]}), "dry_run": False})

            assert done["is_whole"]
            assert await gateway.services.answers.count(commons) == 0


@dataclass
class HeldModel:
    """A server whose answers wait for a word from the test: before the first of theirs, or after it."""

    base_url: str = ""
    has_begun: bool = False  # the first word is out before it waits
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        await reader.readexactly(length)
        kind = b"text/event-stream" if length else b"text/plain"
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: " + kind + b"\r\n\r\n")
        if length:
            words = [chunk({"role": "assistant", "content": f"The {MINE} "}), chunk({"content": "is here."}, "stop")]
            if self.has_begun:
                writer.write(words.pop(0))
            self.asked.set()
            await self.may_end.wait()
            writer.write(b"".join(words) + b"data: [DONE]\n\n")
        await writer.drain()
        writer.close()


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


@asynccontextmanager
async def held_model() -> AsyncIterator[HeldModel]:
    model = HeldModel()
    server = await asyncio.start_server(model.answer, "127.0.0.1", 0)
    async with server:
        model.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield model
        model.may_end.set()


def response_id(stream: httpx.Response) -> str:
    """What a streamed response is called that came to its end."""
    events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: ")]
    assert events[-1]["type"] == "response.completed", stream.text
    return str(events[-1]["response"]["id"])


@pytest.mark.parametrize("by", ["tenant", "tag"])
@pytest.mark.parametrize("has_begun", [False, True], ids=["before the first word", "in the middle"])
async def test_what_began_before_an_erasure_is_not_remembered_when_it_ends(
    tmp_path: Path, by: str, has_begun: bool
) -> None:
    async with (
        held_model() as model,
        gateway_in(tmp_path, upstream=model.base_url, cache={"semantic": False}) as gateway,
    ):
        tenant = gateway.tenant(ME)
        whom = {by: tenant if by == "tenant" else "user-7"}
        turn = {"model": "m", "stream": True, "cache": {"tags": ["user-7"]}}
        model.may_end.set()
        first = await gateway.post("/v1/responses", ME, {**turn, "input": f"I keep a {MINE}."})
        await until(lambda: gateway.services.answers.count(ALL))
        model.may_end.clear()
        model.asked.clear()
        model.has_begun = has_begun

        going_on = {**turn, "input": f"What does my {MINE} eat?", "previous_response_id": response_id(first)}
        under_way = asyncio.create_task(gateway.post("/v1/responses", ME, going_on))
        await model.asked.wait()
        if has_begun:
            await until(lambda: gateway.services.served.count(tenant) == 2)
        done = await gateway.admin("erase", {**whom, "dry_run": False})
        model.may_end.set()
        second = await under_way

        assert done["is_whole"], done
        after = await gateway.admin("erase", {"tenant": tenant})
        assert after["total"] == 0, after
        bearer = {"authorization": f"Bearer {ME}"}
        for name in (response_id(first), response_id(second)):
            body = {**turn, "input": "And then?", "previous_response_id": name}
            refused = await gateway.client.post("/v1/responses", json=body, headers=bearer)
            assert refused.json()["error"]["code"] == "previous_response_not_found"
        assert MINE not in (await gateway.client.get("/admin/api/requests")).text
        assert places_of(MINE, tmp_path) == []

        later = await gateway.post("/v1/responses", ME, {**turn, "input": "Who are you?"})
        assert (await gateway.admin("erase", {"tenant": tenant}))["counts"]["conversations"] == 1
        await gateway.post("/v1/responses", ME, {**turn, "input": "Go on.", "previous_response_id": response_id(later)})


async def test_the_answer_to_what_came_before_an_erasure_is_not_kept_though_it_was_made_after_it(
    tmp_path: Path, upstream: RunningUpstream
) -> None:
    async with gateway_in(tmp_path, **upstream_flags(upstream)) as gateway:
        messages = [{"role": "user", "content": f"What eats a {MINE}?"}]
        body = json.dumps({"model": gateway.model, "messages": messages, "max_tokens": 4}).encode()
        has_come, is_erased = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield body[:20]
            has_come.set()
            await is_erased.wait()
            yield body[20:]

        headers = {"authorization": f"Bearer {ME}", "content-type": "application/json"}
        waits = asyncio.create_task(gateway.client.post("/v1/chat/completions", content=slowly(), headers=headers))
        await has_come.wait()
        await gateway.admin("erase", {"tenant": gateway.tenant(ME), "dry_run": False})
        is_erased.set()

        assert (await waits).status_code == 200
        tiers = [(await gateway.chat(f"What eats a {MINE}?")).headers["x-twicetold-tier"] for _ in range(2)]
        assert tiers == ["full", "exact"]


async def test_what_goes_on_under_way_is_remembered_when_another_tenant_is_erased(tmp_path: Path) -> None:
    async with (
        held_model() as model,
        gateway_in(tmp_path, upstream=model.base_url, cache={"semantic": False}) as gateway,
    ):
        turn = {"model": "m", "stream": True, "input": f"I keep a {MINE}."}
        under_way = asyncio.create_task(gateway.post("/v1/responses", ME, turn))
        await model.asked.wait()
        await gateway.admin("erase", {"tenant": gateway.tenant(YOU), "dry_run": False})
        model.may_end.set()
        await under_way

        dry = await gateway.admin("erase", {"tenant": gateway.tenant(ME)})
        assert [dry["counts"][name] for name in ("conversations", "requests", "responses")] == [1, 1, 1]


async def test_a_conversation_ends_with_its_first_words_however_often_it_is_gone_on_from(
    tmp_path: Path, upstream: RunningUpstream
) -> None:
    async with gateway_in(tmp_path, **upstream_flags(upstream), retention={"conversations_s": 0.5}) as gateway:
        bearer = {"authorization": f"Bearer {ME}"}
        said = await gateway.post("/v1/responses", ME, {"model": "m", "input": f"I keep a {MINE}."})
        async with asyncio.timeout(60):
            while said.status_code == 200:
                going_on = {"model": "m", "input": "And then?", "previous_response_id": said.json()["id"]}
                said = await gateway.client.post("/v1/responses", json=going_on, headers=bearer)

        assert said.json()["error"]["code"] == "previous_response_not_found"
