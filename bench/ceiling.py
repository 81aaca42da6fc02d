"""What uvicorn alone can do: a bare ASGI application that reads a body and sends prepared bytes.

`python -m bench.ceiling FILE` serves on a free port. FILE is JSON: `headers` as pairs, `body` as text.
"""

import json
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
KEPT = ("content-type", "content-length", "cache-status", "age")  # and x-...: what the application itself says


@dataclass(frozen=True, slots=True)
class Prepared:
    """The same response for every request."""

    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def __call__(
        self,
        _: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def save(path: Path, headers: dict[str, str], body: bytes) -> None:
    """Write a response that was seen in the form `python -m bench.ceiling` reads."""
    kept = [(name, value) for name, value in headers.items() if name in KEPT or name.startswith("x-")]
    path.write_text(json.dumps({"headers": kept, "body": body.decode()}), "utf-8")


def main() -> None:
    prepared = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    headers = [(name.encode(), value.encode()) for name, value in prepared["headers"]]
    app = Prepared(headers, prepared["body"].encode())
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
