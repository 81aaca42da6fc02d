"""`python -m tests.upstream`: the test upstream as a process of its own, for benchmarks and demos."""

import argparse
import socket

import uvicorn

from tests.upstream import server_config
from tests.upstream.app import UpstreamApp


def main() -> None:
    """Serve until interrupted; prints the base URL once it is listening."""
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mode", default="normal")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
        uvicorn.Server(server_config(UpstreamApp(options.mode))).run(sockets=[listener])


if __name__ == "__main__":
    main()
