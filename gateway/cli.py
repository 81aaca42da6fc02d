"""The command line: `twicetold serve | stats | doctor | simulate | explain | invalidate`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.settings import KV_POLICIES, Settings, SettingsError, load_settings, read_key
from gateway.verbs import add_explain, add_invalidate

_SERVE_FLAGS = ("host", "port", "data_dir", "upstream", "api_key_env", "admin_key_env", "allow_no_keys", "log_level")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except SettingsError as error:
        print(f"twicetold: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="twicetold", description="A caching gateway for LLM chat.")
    parser.add_argument("--version", action="version", version=f"twicetold {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(verbs)
    _add_stats(verbs)
    _add_doctor(verbs)
    _add_simulate(verbs)
    add_explain(verbs)
    add_invalidate(verbs)
    return parser


def _add_serve(verbs: Any) -> None:
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
        help="local model: demo, a directory, or ORG/NAME on Hugging Face; several times for several models",
    )
    verb.add_argument(
        "--upstream", metavar="URL", help="an OpenAI-compatible server; every other model name goes there"
    )
    verb.add_argument("--api-key-env", metavar="NAME", help="variable that holds the upstream's API key")
    verb.add_argument("--admin-key-env", metavar="NAME", help="variable that holds the key of the admin API")
    verb.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any of the settings")
    verb.add_argument("--allow-no-keys", action="store_true", default=None, help="serve beyond loopback without keys")
    verb.add_argument("--log-level", choices=("debug", "info", "warning", "error"))


def _add_stats(verbs: Any) -> None:
    stats = verbs.add_parser("stats", help="a live table of hit rates and savings")
    stats.add_argument("--url", default="http://127.0.0.1:8420", help="a running gateway (http://127.0.0.1:8420)")
    stats.add_argument("--once", action="store_true", help="print one table and stop")
    stats.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="time between two looks (1)")
    stats.add_argument("--admin-key-env", metavar="NAME", help="variable that holds the gateway's admin key")
    stats.set_defaults(run=_stats)


def _add_doctor(verbs: Any) -> None:
    doctor = verbs.add_parser("doctor", help="check versions, weights, store and port, and say how to mend each")
    _add_settings(doctor)
    doctor.set_defaults(run=_doctor)


def _add_simulate(verbs: Any) -> None:
    verb = verbs.add_parser("simulate", help="hit rates of every eviction policy on a trace of requests")
    verb.add_argument("--trace", type=Path, required=True, metavar="FILE", help="JSON lines, gzipped or not")
    verb.add_argument(
        "--blocks", type=_counts, default=(1000, 3000, 10_000, 30_000, 100_000), metavar="N,N", help="sizes of the pool"
    )
    verb.add_argument(
        "--policy", action="append", choices=KV_POLICIES, help="one of them; several times for several (all)"
    )
    verb.add_argument(
        "--knee",
        type=_positive,
        default=3900.0,
        metavar="TOKENS",
        help="prefix at which attention doubles the cost of a token (3900, as for 135M parameters)",
    )
    verb.add_argument("--json", action="store_true", help="print JSON")
    verb.set_defaults(run=_simulate)


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(part) for part in text.split(","))
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be whole numbers from 1")
    return counts


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be a number above 0")
    return number


def _settings(args: argparse.Namespace) -> Settings:
    first, *more = args.model or [None]
    flags = {name: getattr(args, name) for name in _SERVE_FLAGS}
    models = [{"source": source} for source in more] or None
    return load_settings({**flags, "model": first, "models": models}, args.config)


def _serve(args: argparse.Namespace) -> int:
    from gateway.serve import serve

    settings = _settings(args)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return serve(settings)


def _stats(args: argparse.Namespace) -> int:
    from gateway.stats import show

    key = read_key("--admin-key-env", args.admin_key_env or "")
    return show(args.url, once=args.once, interval_s=args.interval, key=key)


def _simulate(args: argparse.Namespace) -> int:
    from gateway.simulate import simulate

    return simulate(args.trace, args.blocks, args.policy or KV_POLICIES, as_json=args.json, knee_tokens=args.knee)


def _doctor(args: argparse.Namespace) -> int:
    from gateway.doctor import examine

    return examine(_settings(args))


if __name__ == "__main__":
    sys.exit(main())
