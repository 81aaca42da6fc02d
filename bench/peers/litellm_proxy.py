"""LiteLLM's proxy with its in-memory cache, one worker, from its own environment (`make peers`)."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.engine.serving import NotAvailable
from bench.peers.starting import pin_all, started
from bench.processes import ROOT, Server

BINARY = ROOT / "build" / "peers" / "litellm" / "bin" / "litellm"
START_S = 120.0
# no look at its price list, no telemetry: nothing leaves this machine, and the start does not wait for it
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "DISABLE_ADMIN_UI": "True"}
CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "{upstream}", api_key: none}}
litellm_settings:
  telemetry: false
  cache: {is_caching}
  cache_params: {{type: local}}
general_settings: {{dangerously_permit_weak_or_unset_master_key: true}}
"""


@contextmanager
def litellm_proxy(upstream: str, model: str, *, is_caching: bool, cpu: int | None) -> Iterator[Server]:
    """The proxy in front of `upstream`, once it is ready. Raises `NotAvailable` where it is not installed."""
    if not BINARY.exists():
        raise NotAvailable("LiteLLM is not installed; `make peers`")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="twicetold-bench-") as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(CONFIG.format(model=model, upstream=upstream, is_caching=str(is_caching).lower()), "utf-8")
        # one worker, and its log no louder than ours: warnings
        command = [str(BINARY), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--num_workers", "1"]
        url, more = f"http://127.0.0.1:{port}", {**QUIET, "LITELLM_LOG": "ERROR"}
        with started(
            "LiteLLM's proxy", command, url, "/health/liveliness", folder=Path(folder), more=more, within_s=START_S
        ) as server:
            pin_all(server.pid, cpu)
            yield server
