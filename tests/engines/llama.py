"""A real llama.cpp server over the bundled demo model, where there is one.

Where: `LLAMA_SERVER` names the program, or it is on the PATH; `make test-engines` builds it. The model is written as
GGUF by `bench/peers/gguf_file.py`, which needs the package `gguf`. `LLAMA_TEMPLATES` names the folder of chat templates
in llama.cpp's tree: some of them bind even this model to a call of a tool.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx

from backends.local.demo import checkpoint_path
from tests.loopback import LOOPBACK

START_S = 60.0


def missing() -> str:
    """Why there is no server; empty when there is one."""
    if program() is None:
        return "no llama-server: LLAMA_SERVER names none and none is on the PATH (make test-engines)"
    return "" if find_spec("gguf") else "the package gguf is not installed (make test-engines)"


def program() -> str | None:
    """The server's program."""
    return shutil.which(os.environ.get("LLAMA_SERVER") or "llama-server")


def tool_template() -> Path:
    """A chat template under which llama.cpp can force a call of a tool; it may not be there."""
    return Path(os.environ.get("LLAMA_TEMPLATES", "")) / "CohereForAI-c4ai-command-r-plus-tool_use.jinja"


@contextmanager
def running_llama(folder: Path, template: Path | None = None) -> Iterator[str]:
    """Serve the demo model; its URL. Two slots of 2048 tokens."""
    from bench.peers.gguf_file import main as write_gguf

    found, checkpoint, model, log = program(), checkpoint_path(), folder / "demo.gguf", folder / "llama.log"
    assert found is not None
    write_gguf(checkpoint, model)
    command = [
        found, "--model", str(model), "--alias", "demo", "--port", "0", "--threads", "1", "--threads-batch", "1",
        "--parallel", "2", "--ctx-size", "4096", "--jinja", "--metrics",
        "--chat-template-file", str(template or checkpoint / "chat_template.jinja"),
    ]  # fmt: skip
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            yield _address(process, log)
        finally:
            process.terminate()


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Where it listens, once it can answer."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(rb"http://127\.0\.0\.1:\d+", log.read_bytes()):
            url = found[0].decode()
            if httpx.get(f"{url}/health", **LOOPBACK).status_code == 200:
                return url
        time.sleep(0.02)
    raise AssertionError(f"llama.cpp did not start: {log.read_text('utf-8', 'replace')[-500:]}")
