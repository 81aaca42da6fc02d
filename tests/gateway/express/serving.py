"""A gateway on a socket of this loop, asked in bytes: so a test says which road a request may take."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uvicorn.server import ServerState

from embeddings.base import Embedder
from gateway.app import ERRORS, create_app
from gateway.body import Curfew
from gateway.edge.connections import watch
from gateway.edge.server import config_of
from gateway.services import Services, build
from gateway.settings import load_settings
from tests.upstream import RunningUpstream

OF_EACH = ("date", "x-request-id", "x-twicetold-overhead-ms")  # headers that are another response's by right
_NAME = re.compile(rb"(chatcmpl-|cmpl-|msg_)[0-9a-f]{32}")
_MADE = re.compile(rb'"created":\d+')


@dataclass
class Said:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def tier(self) -> str:
        return self.headers.get("x-twicetold-tier", "")

    @property
    def name(self) -> str:
        """Of the response."""
        return _NAME.search(self.body)[0].decode()  # type: ignore[index]

    @property
    def told(self) -> tuple[int, dict[str, str], bytes]:
        """Without what another response has otherwise by right; the names and times within a body are one."""
        headers = {name: value for name, value in self.headers.items() if name not in (*OF_EACH, "age")}
        names = set(_NAME.findall(self.body)), {found[0] for found in _NAME.finditer(self.body)}
        assert len(names[1]) <= 1, "one response has two names"
        return self.status, headers, _MADE.sub(b'"created":0', _NAME.sub(rb"\1id", self.body))


@dataclass
class Caller:
    """A keep-alive connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes, *, at: int = 0) -> Said:
        """Send it, in two pieces if `at` says where to cut it."""
        for piece in (request[:at], request[at:]) if at else (request,):
            self.writer.write(piece)
            await asyncio.sleep(0.002 if at else 0)
        return await self.read()

    async def read(self) -> Said:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        if "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        return Said(int(head[0].split(" ")[1]), headers, body)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@dataclass
class Town:
    """The gateway, and connections to it."""

    services: Services
    curfew: Curfew
    port: int
    stack: AsyncExitStack
    callers: list[Caller] = field(default_factory=list)

    async def connect(self) -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port))
        self.stack.push_async_callback(caller.close)
        return caller

    def tenant(self, key: str) -> str:
        """Of whoever shows this key."""
        return self.services.keys.tenant(key)

    @property
    def given(self) -> int:
        """Answers of the express road so far."""
        assert self.services.express is not None
        return self.services.express.given


def request_of(body: Any, key: str = "sk-one", path: str = "/v1/chat/completions", **headers: str) -> bytes:
    """A request as a client has it on the wire; `x_request_id` is the header of that name."""
    said = json.dumps({"model": "test-model", **body} if isinstance(body, dict) else body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(said)}"]
    return "\r\n".join([*lines, "", ""]).encode() + said


def asking(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


@asynccontextmanager
async def town(
    folder: Path,
    upstream: RunningUpstream,
    *,
    look_s: float = 10.0,
    load: Callable[[], Embedder] | None = None,
    **flags: Any,
) -> AsyncIterator[Town]:
    """Serve on a free port. `flags` are settings; connections are looked at every `look_s`; `load` gives another
    embedder."""
    cache = {"semantic": False, **flags.pop("cache", {})}
    services = build(
        load_settings({"upstream": upstream.base_url, "data_dir": folder, "cache": cache, **flags}, environ={}),
        load,
    )
    curfew = Curfew()
    app = create_app(services, services.opened, curfew)
    config = config_of(app, services.edge.rules, services.edge.counts, ERRORS, 0.0, None, services.express)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(services.opened())
        server = await loop.create_server(
            lambda: config.http_protocol_class(config, state, {}, loop), "127.0.0.1", 0
        )  # fmt: skip
        stack.callback(server.close)
        looking = asyncio.create_task(watch(state.connections, look_s))
        stack.callback(looking.cancel)
        yield Town(services, curfew, server.sockets[0].getsockname()[1], stack)
