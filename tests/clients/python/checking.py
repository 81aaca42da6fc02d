"""What the checks of every Python client share: who to ask, what to ask, and how what came of it is told.

A client's script lists its checks with `@check` and ends in `main()`. It runs in the clients' environment, in a process
of its own, against one running gateway, as a tenant of its own:

    GATEWAY_URL=http://127.0.0.1:8420 CLIENT_KEY=sk-x build/clients/bin/python -m tests.clients.python.openai_sdk

and prints one JSON line per check: {"name": ..., "error": null or what went wrong}. Programs that come as JSON on
standard input are run behind the checks. Nothing beyond this machine can be reached from it: a client that phones home
fails the check that it does so in.
"""

import asyncio
import inspect
import json
import os
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.clients.python.running import run

URL = os.environ["GATEWAY_URL"]
BASE_URL = f"{URL}/v1"
KEY = os.environ["CLIENT_KEY"]

QUESTION = "What is prefix caching?"  # both are in the corpus of the demo model
REWORDED = "Explain what prefix caching is."
ANSWER = (
    "Prefix caching keeps the KV blocks of a prompt and reuses them when another prompt begins with the same tokens."
)
COLD = ("full", "kv")  # generated; the system prompt may have been read before

CHECKS: list[Callable[[], Any]] = []


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    """This function is a check; they run in the order of the file."""
    CHECKS.append(function)
    return function


def said(text: str = QUESTION) -> Any:
    return [{"role": "user", "content": text}]


def learned(ask: Callable[[], Any]) -> Any:
    """Ask something new, and wait until it can be found in other words."""
    known = _vectors()
    answer = ask()
    deadline = time.monotonic() + 20
    while _vectors() == known:
        assert time.monotonic() < deadline, "the question was not learned"
        time.sleep(0.02)
    return answer


def expect(got: Any, wanted: Any) -> None:
    assert got == wanted, f"got {got!r}, not {wanted!r}"


def main() -> None:
    sys.addaudithook(_stay_here)
    for function in CHECKS:
        print(json.dumps({"name": function.__name__, "error": _outcome(function)}), flush=True)
    run([] if sys.stdin.isatty() else json.loads(sys.stdin.read() or "[]"))


def _outcome(function: Callable[[], Any]) -> str | None:
    try:
        if inspect.iscoroutinefunction(function):
            asyncio.run(function())
        else:
            function()
    except Exception as error:
        return "".join(traceback.format_exception(error, limit=-4, chain=False))
    return None


def _vectors() -> int:
    with urllib.request.urlopen(f"{URL}/admin/api/stats") as response:  # noqa: S310 - our own gateway
        vectors: int = json.load(response)["vectors"]
    return vectors


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: no client may talk to anybody but this machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in {"127.0.0.1", "localhost", "::1", None}:
        raise ConnectionRefusedError(f"{event}: a client calls {host}")
