"""The gateway fetches what its operator named and nothing else: no address of a request, no redirect of an upstream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI

from bench.inprocess import Answer, ask, started
from gateway.app import create_app
from gateway.body import Curfew
from gateway.services import build
from gateway.settings import CacheSettings, Settings

KEY = "sk-provider-0123456789"
RAW = ("anthropic", "/v1/completions")  # it has none
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")


@dataclass
class Listener:
    """A server that answers everything with one response, and keeps what it was sent."""

    answer: bytes
    url: str = ""
    heard: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heard.append(head)
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[Listener]:
    one = Listener(answer)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield one


def redirect(status: int, to: str) -> bytes:
    return f"HTTP/1.1 {status} Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()


@asynccontextmanager
async def gateway(folder: Path, upstream: str, flavour: str = "openai") -> AsyncIterator[FastAPI]:
    settings = Settings(
        data_dir=folder,
        upstream=upstream,
        upstream_flavour=flavour,
        upstream_key=KEY,
        cache=CacheSettings(semantic=False, memory_mb=1),
    )
    await asyncio.to_thread(folder.mkdir)
    services = build(settings)
    app = create_app(services, services.opened, Curfew())
    async with started(app):
        yield app


def asked(path: str, content: object) -> dict[str, object]:
    if path == "/v1/completions":
        return {"model": "m", "prompt": "hi", "max_tokens": 5}
    said = {"model": "m", "max_tokens": 5}
    turns = [{"role": "user", "content": content}]
    return {**said, "input": turns} if path == "/v1/responses" else {**said, "messages": turns}


@pytest.mark.parametrize("flavour", ["openai", "anthropic", "vllm"])
async def test_no_redirect_of_an_upstream_is_followed_and_no_key_goes_elsewhere(tmp_path: Path, flavour: str) -> None:
    async with AsyncExitStack() as stack:
        canary = await stack.enter_async_context(listening(redirect(200, "")))
        for status in (301, 302, 303, 307, 308) if flavour == "openai" else (307,):
            moved = await stack.enter_async_context(listening(redirect(status, f"{canary.url}/latest/meta-data/")))
            app = await stack.enter_async_context(gateway(tmp_path / f"{status}", moved.url, flavour))
            for path in PATHS if status == 307 else PATHS[:1]:
                for is_stream in (False, True):
                    said = await ask(app, "POST", path, {**asked(path, "hi"), "stream": is_stream})
                    assert said.status == (400 if (flavour, path) == RAW else 502), said
                    assert canary.url.encode() not in said.body, "where it leads is none of the caller's business"
            await ask(app, "POST", "/v1/embeddings", {"model": "m", "input": "hi"})
            await ask(app, "GET", "/v1/models")
            await ask(app, "GET", "/readyz")
            assert any(KEY.encode() in head for head in moved.heard)
        assert canary.heard == []


ADDRESSES = (
    "http://{canary}/x.png", "HTTP://{canary}/x.png", "http://user:pass@{canary}/", "//{canary}/x.png",
    "{canary}/x.png", "http://{canary}#@example.com/", "http://{canary}\\@example.com/", " http://{canary}/",
    "http:{canary}", "file:///etc/passwd", "file://localhost/etc/passwd", "FILE:/etc/passwd", "ftp://{canary}/",
    "gopher://{canary}/_GET", "dict://{canary}/", "data:text/html,<script>alert(1)</script>", "data:",
    "data:image/png;base64,%%%", "data:image/svg+xml;base64,PHN2Zy8+", "javascript:alert(1)", "http://2130706433/",
    "http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "@/etc/passwd", "../../secret",
    "\x00", "",
)  # fmt: skip


async def test_no_address_in_a_request_is_fetched_or_read(tmp_path: Path) -> None:
    """What a backend does with one is its own; the gateway passes on what its operator's backend may see."""
    page = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    async with listening(page) as canary, listening(page) as upstream, gateway(tmp_path / "g", upstream.url) as app:
        host = canary.url.removeprefix("http://")
        for address in ADDRESSES:
            told = address.replace("{canary}", host)
            for said in await _show(app, told):
                assert said.status in (400, 500, 502, 503), said
                assert b"root:" not in said.body
        assert canary.heard == []


async def _show(app: FastAPI, address: str) -> list[Answer]:
    """Have a picture, a sound and a file looked at, and said in whatever might be read as an address."""
    image = {"type": "image_url", "image_url": {"url": address}}
    part = {"type": "input_image", "image_url": address}
    block = {"type": "image", "source": {"type": "url", "url": address}}
    document = {"type": "document", "source": {"type": "file", "file_id": address}}
    bodies = [(PATHS[0], [image]), (PATHS[2], [part]), (PATHS[3], [block]), (PATHS[3], [document])]
    return [await ask(app, "POST", path, asked(path, content)) for path, content in bodies]
