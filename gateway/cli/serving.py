"""`twicetold serve` and `doctor`: the gateway on this machine, and what it needs."""

import argparse
import logging
from pathlib import Path
from typing import Any

from gateway.cli.client import add_json
from gateway.settings import Settings, load_settings

_SERVE_FLAGS = (
    "host", "port", "data_dir", "upstream", "api_key_env", "admin_key_env", "redis", "allow_no_keys", "log_level"
)  # fmt: skip


def add_serve(verbs: Any) -> None:
    serve = verbs.add_parser("serve", help="run the gateway")
    _add_settings(serve)
    serve.set_defaults(run=_serve)


def _add_settings(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--host", help="address to listen on (127.0.0.1)")
    verb.add_argument("--port", type=int, help="port to listen on (8420; 0 takes a free one)")
    verb.add_argument("--data-dir", type=Path, help="where answers and the secret are kept (.twicetold)")
    verb.add_argument(
        "--model",
        metavar="NAME",
        action="append",
        help="local model: demo, a directory, or ORG/NAME[@REVISION] on Hugging Face; several times for several models",
    )
    verb.add_argument(
        "--upstream", metavar="URL", help="an OpenAI-compatible server; every other model name goes there"
    )
    verb.add_argument("--api-key-env", metavar="NAME", help="variable that holds the upstream's API key")
    verb.add_argument("--admin-key-env", metavar="NAME", help="variable that holds the key of the admin API")
    verb.add_argument(
        "--redis", metavar="URL", help="Redis, or Redis Cluster, that keeps the answers of several gateways"
    )
    verb.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any of the settings")
    verb.add_argument("--allow-no-keys", action="store_true", default=None, help="serve beyond loopback without keys")
    verb.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="how much is said (info)")


def add_doctor(verbs: Any) -> None:
    doctor = verbs.add_parser("doctor", help="check versions, weights, store and port, and say how to mend each")
    _add_settings(doctor)
    add_json(doctor)
    doctor.set_defaults(run=_doctor)


def _settings(args: argparse.Namespace) -> Settings:
    first, *more = args.model or [None]
    flags = {name: getattr(args, name) for name in _SERVE_FLAGS}
    models = [{"source": source} for source in more] or None
    return load_settings({**flags, "model": first, "models": models}, args.config)


def _serve(args: argparse.Namespace) -> int:
    from gateway.serve import serve

    settings = _settings(args)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "httpcore"):  # a line for every request, with its URL
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells of every build it has not got as of an error
    return serve(settings)


def _doctor(args: argparse.Namespace) -> int:
    from gateway.cli.doctor import examine

    logging.basicConfig(level=logging.ERROR)  # what is wrong stands in the table
    return examine(_settings(args), as_json=args.json)
