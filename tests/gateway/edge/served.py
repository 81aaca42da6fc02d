"""A server with bounds of its own around a small application, and sockets to it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from gateway.app import ERRORS
from gateway.body import Curfew
from gateway.edge.rules import EdgeCounts, EdgeRules
from gateway.edge.server import Server, config_of

LOOK_S = 0.02


@dataclass
class App:
    """Says what it was asked, after the whole of it; `/endless` says more and more; `/hang` waits for its caller."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    left: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        self.asked.append(scope["path"])
        size = 0
        while (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
        self.headers = dict(scope["headers"])
        if scope["path"] == "/hang":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()
            return
        if scope["path"] == "/endless":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b"x" * 2**16, "more_body": True})
            self.left.set()
            return
        said = b"%d" % size
        headers = [(b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})


@dataclass
class Served:
    """The server, seen from a caller."""

    port: int
    app: App
    counts: EdgeCounts

    def connect(self, first: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client.sendall(first)
        return client

    def ask(self, request: bytes) -> bytes:
        """Everything that comes back until the server closes."""
        with self.connect(request) as client:
            return all_of(client)


def all_of(client: socket.socket) -> bytes:
    said = b""
    try:
        while piece := client.recv(2**16):
            said += piece
    except ConnectionResetError:
        pass
    return said


@contextmanager
def served(rules: EdgeRules) -> Iterator[Served]:
    app, counts, curfew = App(), EdgeCounts(), Curfew()
    server = Server(config_of(app, rules, counts, ERRORS, drain_s=0), curfew, drain_s=0, look_every_s=LOOK_S)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        yield Served(port, app, counts)
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()
