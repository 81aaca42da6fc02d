"""A real Hugging Face hub on loopback, as much of it as `huggingface_hub.snapshot_download` asks for.

    with running_hub({"acme/tiny": folder}) as hub:
        run(..., env={"HF_ENDPOINT": hub.url, "HF_HOME": ...})
        assert hub.asked("GET", "model.safetensors")

A gated repository shows its listing and refuses its files, as the hub does. `hub.cut` ends a body in the middle.
"""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

API = "/api/models/"


@dataclass(slots=True)
class Cut:
    """Bodies of `name` end after `at` bytes, once; `then` is what asking again is met with."""

    name: str
    at: int
    then: str = "served"  # or "refused" with a 503, or "stalled": the body goes silent instead of ending
    was_made: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class Hub:
    """Repositories by ORG/NAME, and what was asked for."""

    url: str
    repos: Mapping[str, Path]
    gated: frozenset[str] = frozenset()
    cut: Cut | None = None
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    is_closing: threading.Event = field(default_factory=threading.Event)

    def asked(self, method: str, name: str) -> list[str]:
        """The ranges asked for of a file, in order; empty text for the whole."""
        return [span for how, path, span in self.requests if how == method and path.endswith(f"/{name}")]


def commit(folder: Path) -> str:
    """A commit id over names and sizes."""
    listing = sorted((file.name, file.stat().st_size) for file in folder.iterdir())
    return sha1(repr(listing).encode(), usedforsecurity=False).hexdigest()


def etag(content: bytes) -> str:
    """A file's id as git has it."""
    return sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # the client opens a connection per file at once
    hub: Hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.server.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        is_api = path.startswith(API)
        words = path.removeprefix(API).strip("/").split("/")
        repo, rest = "/".join(words[:2]), words[2:]
        folder = self.server.hub.repos.get(repo)
        if folder is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif is_api and rest[:1] in (["tree"], ["revision"]) and rest[1:2] not in (["main"], [commit(folder)]):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif is_api and rest[:1] == ["tree"]:
            self._json([_entry(file) for file in sorted(folder.iterdir())])
        elif is_api:
            siblings = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
            self._json({"id": repo, "sha": commit(folder), "siblings": siblings, "tags": [], "downloads": 0})
        elif repo in self.server.hub.gated:
            self._refuse(403, "GatedRepo", f"Access to model {repo} is restricted and you are not in the list.")
        elif len(rest) != 3 or not (folder / rest[2]).is_file():
            self._refuse(404, "EntryNotFound", "Entry not found")
        else:
            self._file(folder / rest[2], commit(folder))

    def _file(self, file: Path, revision: str) -> None:
        content = file.read_bytes()
        begin = _begin(self.headers.get("Range", ""))
        cut = self.server.hub.cut if self.server.hub.cut is not None and self.server.hub.cut.name == file.name else None
        if cut is not None and cut.was_made.is_set() and cut.then == "refused" and self.command == "GET":
            return self._refuse(503, "", "Service unavailable")
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{etag(content)}"')
        self.send_header("X-Repo-Commit", revision)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if cut is not None and not cut.was_made.is_set():
            return self._cut(cut, content)
        self.wfile.write(content[begin:])
        return None

    def _cut(self, cut: Cut, content: bytes) -> None:
        self.wfile.write(content[: cut.at])
        cut.was_made.set()
        if cut.then == "stalled":
            self.server.hub.is_closing.wait()
        self.close_connection = True

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {"type": "file", "path": file.name, "size": len(content), "oid": etag(content)}


def _begin(span: str) -> int:
    """Of `bytes=100-`, 100: the client resumes, it never asks for a middle."""
    return int(span.removeprefix("bytes=").partition("-")[0]) if span else 0


@contextmanager
def running_hub(
    repos: Mapping[str, Path], *, gated: frozenset[str] = frozenset(), cut: Cut | None = None
) -> Iterator[Hub]:
    """Serve folders as repositories on a free port, in a thread of this process."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        hub = server.hub = Hub(f"http://127.0.0.1:{server.server_port}", repos, gated, cut)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.is_closing.set()
            server.shutdown()
            thread.join(timeout=10)


@contextmanager
def silent_hub() -> Iterator[str]:
    """The address of a hub that takes connections and never answers, as behind a firewall that drops."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def free_address() -> str:
    """Where nobody listens: connections are refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
