"""A request whose bytes are known is answered as the whole road would answer it, or by the whole road."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import pytest_asyncio
from uvicorn.server import ServerState

from backends.fake import ScriptedBackend
from gateway.answers.selection import Selection
from gateway.app import ERRORS, create_app
from gateway.curation.erase import Whom
from gateway.edge.server import config_of
from gateway.services.answers import answers_of
from tests.gateway.express.serving import Caller, Said, Town, asking, request_of, town
from tests.upstream import RunningUpstream, running_upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = asking("What is a block table?")
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", asking("And what is \u5757?", n=2)),
    ("/v1/messages", {**asking("Hello?"), "max_tokens": 64}),
    ("/v1/messages", {**asking("Hello?"), "max_tokens": 64, "stream": True}),
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningUpstream]:
    with running_upstream() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory, upstream: RunningUpstream) -> AsyncIterator[Town]:
    async with town(tmp_path_factory.mktemp("data"), upstream) as there:
        yield there


async def known(caller: Caller, request: bytes) -> Said:
    """Ask until the bytes are known; the last answer was the whole road's."""
    await caller.ask(request)
    return await caller.ask(request)


@pytest.mark.parametrize(("path", "body"), BODIES)
async def test_both_roads_say_the_same(place: Town, path: str, body: dict[str, Any]) -> None:
    caller, before = await place.connect(), place.given
    request = request_of(body, f"sk-{BODIES.index((path, body))}", path)
    whole = await known(caller, request)
    assert place.given == before

    express = await caller.ask(request)

    assert place.given == before + 1
    assert express.told == whole.told
    assert express.name != whole.name
    assert set(express.headers) == set(whole.headers)
    assert re.fullmatch(r"req_[0-9a-f]{24}", express.headers["x-request-id"])


async def test_a_request_in_pieces_and_with_an_id_of_its_own_is_known_too(place: Town) -> None:
    caller, request = await place.connect(), request_of(CHAT, "sk-pieces")
    await known(caller, request)
    before = place.given

    for at in (request.index(b"{"), request.index(b"{") + 9):
        assert (await caller.ask(request, at=at)).tier == "exact"
    named = await caller.ask(request_of(CHAT, "sk-pieces", x_request_id="my-7", traceparent="00-ab-cd-01"))

    assert place.given == before + 3
    assert named.headers["x-request-id"] == "my-7"


async def test_what_differs_in_a_byte_takes_the_whole_road(place: Town) -> None:
    caller, key = await place.connect(), "sk-bytes"
    await known(caller, request_of(CHAT, key))
    before = place.given

    others = [
        request_of(CHAT, key="sk-bytes2"),
        request_of(CHAT, key, cache_control="no-cache"),
        request_of(CHAT, key, cookie="a=b"),
        request_of(CHAT, key).replace(b"block", b"Block"),
        request_of(CHAT, key).replace(b"Host", b"host"),
    ]
    for other in others:
        assert (await caller.ask(other)).status == 200

    assert place.given == before


async def test_pipelined_requests_are_answered_in_their_order(place: Town) -> None:
    caller, first, second = await place.connect(), request_of(CHAT), request_of(asking("Another one?"))
    await known(caller, first)
    await known(caller, second)

    caller.writer.write(first + second + first)
    said = [await caller.read() for _ in range(3)]
    again = await caller.ask(second)

    assert said[0].told == said[2].told != said[1].told == again.told


async def test_what_hits_owe_is_paid_before_anybody_asks(place: Town) -> None:
    caller, request, services = await place.connect(), request_of(CHAT, "sk-owing"), place.services
    await known(caller, request)
    requests, given = services.ledger.totals.requests, place.given

    names = [(await caller.ask(request)).name for _ in range(5)]
    await caller.ask(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    assert (place.given, services.ledger.totals.requests) == (given + 5, requests + 5)
    served = [services.served.find(name, place.tenant("sk-owing")) for name in names]
    assert all(one is not None and one.outcome.reason == "same_request" for one in served)
    assert [row["id"] for row in services.recent.rows(5)] == names[::-1]


async def test_a_response_is_known_to_who_asks_on_a_connection_without_the_road(place: Town) -> None:
    caller, asker, request = await place.connect(), await place.connect(), request_of(CHAT, "sk-asker")
    await known(caller, request)
    requests = place.services.ledger.totals.requests
    opinion = b'{"id": "%b", "verdict": "good"}'
    head = b"POST /v1/cache/feedback HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-asker\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    asker.writer.write(head % (len(opinion) + 39))
    await asyncio.sleep(0.01)  # that request has begun when the response it will name is given

    asker.writer.write(opinion % (await caller.ask(request)).name.encode())

    assert (await asker.read()).status == 200
    await caller.ask(request)
    app = create_app(place.services, place.services.opened, place.curfew)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8420") as admin:
        assert (await admin.get("/admin/api/stats")).json()["requests"] == requests + 2


async def test_what_hits_owe_is_paid_soon_when_nobody_asks(place: Town) -> None:
    caller, request, totals = await place.connect(), request_of(CHAT, "sk-soon"), place.services.ledger.totals
    await known(caller, request)
    requests = totals.requests
    await caller.ask(request)

    async with asyncio.timeout(5):
        while totals.requests == requests:  # noqa: ASYNC110 - a timer of the loop
            await asyncio.sleep(0.01)


async def test_nothing_is_said_when_the_server_is_full_or_stops(place: Town, upstream: RunningUpstream) -> None:
    caller, request, counts = await place.connect(), request_of(CHAT, "sk-full"), place.services.edge.counts
    await known(caller, request)
    before, counts.requests = place.given, place.services.edge.rules.requests

    full = await caller.ask(request)
    counts.requests = 0
    place.curfew.is_near = True
    late = await caller.ask(request)
    place.curfew.is_near = False

    assert (full.status, late.tier, place.given) == (503, "exact", before)


async def test_who_is_slow_is_cut_off_as_ever(tmp_path: Path, upstream: RunningUpstream) -> None:
    async with town(tmp_path, upstream, look_s=0.02, edge={"body_s": 0.15, "idle_s": 0.3}) as place:
        slow, idle, request = await place.connect(), await place.connect(), request_of(CHAT)
        await known(idle, request)
        assert (await idle.ask(request)).tier == "exact"
        slow.writer.write(request[:-5])  # the beginning of one that is known

        said = await slow.read()

        assert (said.status, said.headers["connection"]) == (408, "close")
        async with asyncio.timeout(5):
            assert await idle.reader.read() == b""  # the server has closed it
        assert place.given == 1


class Broken:
    """A road with a hole."""

    def answer(self, raw: bytes, ours: Any) -> None:
        raise RuntimeError("a hole")


async def test_a_fault_of_the_express_road_is_answered_by_the_whole_one(
    place: Town, caplog: pytest.LogCaptureFixture
) -> None:
    services = place.services
    rules, counts, loop = services.edge.rules, services.edge.counts, asyncio.get_running_loop()
    config = config_of(create_app(services, services.opened, place.curfew), rules, counts, ERRORS, 0.0, None, Broken())
    config.load()
    server = await loop.create_server(
        lambda: config.http_protocol_class(config, ServerState(), {}, loop), "127.0.0.1", 0
    )
    async with server:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1]))
        assert [(await caller.ask(request_of(CHAT, "sk-hole"))).tier for _ in range(2)] == ["full", "exact"]
        await caller.close()

    assert caplog.text.count("RuntimeError: a hole") == 1


async def test_what_was_removed_is_let_go_of_at_the_next_sweep(place: Town) -> None:
    caller, request, tenant = await place.connect(), request_of(CHAT, "sk-sweep"), place.tenant("sk-sweep")
    await known(caller, request)
    express = place.services.express
    assert express is not None
    assert express.count(tenant) == 1

    await place.services.answers.remove_all(Selection(tenant=tenant))
    express.sweep()

    assert express.count(tenant) == 0


async def test_what_another_process_removes_from_the_store_is_not_told_any_more(place: Town) -> None:
    caller, request, tenant = await place.connect(), request_of(CHAT, "sk-elsewhere"), place.tenant("sk-elsewhere")
    await known(caller, request)
    before = place.given
    assert (await caller.ask(request)).tier == "exact"
    assert place.given == before + 1

    other = answers_of(place.services.settings, place.services.secret)
    await other.open()
    assert await other.remove_all(Selection(tenant=tenant))
    await other.close()

    assert (await caller.ask(request)).tier == "full"


async def test_the_access_log_has_a_line_of_each_and_hits_may_be_free(
    tmp_path: Path, upstream: RunningUpstream
) -> None:
    log = tmp_path / "access.log"
    cache = {"usage_on_hit": "zero"}
    async with town(tmp_path / "data", upstream, access_log={"path": str(log)}, cache=cache) as place:
        caller, request = await place.connect(), request_of(CHAT)
        whole = await known(caller, request)
        said = await caller.ask(request)
        assert place.given == 1
        assert said.told == whole.told
        assert b'"total_tokens":0' in said.body

    lines = [line for line in log.read_text().splitlines() if said.headers["x-request-id"] in line]
    assert len(lines) == 1
    assert said.name in lines[0]
    assert '"tier":"exact"' in lines[0]
    assert "block table" not in lines[0]


class Walk:
    """Random requests, and changes in between; after each the two roads are compared."""

    def __init__(self, place: Town, caller: Caller, admin: httpx.AsyncClient, draws: Random) -> None:
        self.place, self.caller, self.admin, self.draws = place, caller, admin, draws
        self.keys: list[tuple[str, str]] = []  # id, text
        self.compared = self.odd = 0

    async def step(self) -> None:
        change = self.draws.choice([self.ask] * 12 + [self.revoke, self.remove, self.rule, self.erase, self.reload])
        await change()

    async def ask(self) -> None:
        key = self.draws.choice(self.keys)[1] if self.keys and self.draws.random() < 0.9 else "sk-nobodys"
        path, body = self.draws.choice(BODIES)
        if self.draws.random() < 0.2:
            body = {**body, "cache": {"ttl": 0.03}}
        for _ in range(2):
            await self.caller.ask(request_of(body, key, path))
        self.odd += 1
        before = self.place.given
        whole = await self.caller.ask(request_of(body, key, path, x_odd=str(self.odd)))
        assert self.place.given == before, "nobody knows these bytes"
        express = await self.caller.ask(request_of(body, key, path))
        if whole.tier != "exact" or express.tier != "exact":  # an end that came in between
            assert whole.status == express.status
            return
        assert express.told == whole.told
        self.compared += self.place.given > before
        if self.draws.random() < 0.1:
            await asyncio.sleep(0.03)

    async def revoke(self) -> None:
        if self.keys and self.draws.random() < 0.5:
            number, text = self.keys.pop(self.draws.randrange(len(self.keys)))
            await self.place.services.keys.revoke(number)
            assert (await self.caller.ask(request_of(BODIES[0][1], text))).status == 401
            return
        made = (await self.admin.post("/admin/api/keys", json={"name": "a"})).json()
        self.keys.append((made["id"], made["key"]))

    async def remove(self) -> None:
        """An answer is removed, and made anew by another server's words."""
        place = self.place
        if not self.keys:
            return
        caller = place.services.keys.identify(self.draws.choice(self.keys)[1])
        await place.services.answers.remove_all(Selection(tenant=caller.tenant))

    async def rule(self) -> None:
        if not self.keys:
            return
        tenant = self.place.tenant(self.draws.choice(self.keys)[1])
        await self.place.services.policies.say(tenant, {"hit_details": self.draws.random() < 0.5})

    async def erase(self) -> None:
        if not self.keys:
            return
        tenant = self.place.tenant(self.draws.choice(self.keys)[1])
        await self.place.services.erasure.run(Whom(tenant=tenant))
        assert self.place.services.express is not None
        assert self.place.services.express.count(tenant) == 0
        assert self.place.services.served.count(tenant) == 0

    async def reload(self) -> None:
        """Another backend has the model for a while, in a revision of its own: what was stored is not its answer."""
        router, before = self.place.services.router, self.place.given
        other = ScriptedBackend(model_names=("test-model",), revision=str(self.draws.random()))
        await other.open()
        router.add(other)
        for key in [self.draws.choice(self.keys)[1]] if self.keys else []:
            said = await self.caller.ask(request_of(CHAT, key))
            assert said.tier == "full"
        router.remove(other)
        assert self.place.given == before


async def test_no_change_in_between_makes_the_roads_differ(place: Town) -> None:
    app = create_app(place.services, place.services.opened, place.curfew)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8420") as admin:
        walk = Walk(place, await place.connect(), admin, Random(8))
        for _ in range(4):
            await walk.revoke()
        for _ in range(150):
            await walk.step()

    assert walk.compared > 20
