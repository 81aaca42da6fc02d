"""A gateway with limits on a socket of this process, before a scripted upstream."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from gateway.app import create_app
from gateway.body import Curfew
from gateway.services import Services, build
from gateway.settings import load_settings
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream


@dataclass(frozen=True)
class Gateway:
    """A gateway that is listening."""

    url: str
    services: Services
    http: httpx.Client

    def chat(self, text: str, key: str = "sk-one", *, model: str = "m", **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", **more.pop("headers", {})}
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.post("/v1/chat/completions", body, **headers)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers=headers)

    def admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.http.request(method, f"/admin/api{path}", json=body)

    def tenant(self, key: str = "sk-one") -> str:
        """The name of whoever shows this key."""
        return self.services.keys.tenant(key)


@contextmanager
def limited_gateway(folder: Path, upstream: RunningUpstream, redis: str = "", **said: Any) -> Iterator[Gateway]:
    """Serve on a free port; `said` is what the configuration says of every tenant."""
    flags = {"upstream": upstream.base_url, "data_dir": folder, "redis": redis, "cache": {"semantic": False}}
    flags["tenants"] = [{"tenant": "*", **said}] if said else []
    services = build(load_settings(flags, environ={}))
    curfew = Curfew()
    app = create_app(services, services.opened, curfew)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, **LOOPBACK, timeout=60) as http:
                yield Gateway(url, services, http)
        finally:
            curfew.come()
            server.should_exit = True
            thread.join(timeout=10)
