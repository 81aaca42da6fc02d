"""The command line: `twicetold serve | stats | doctor | simulate | explain | invalidate | prefixes | ...`."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.limits import KV_POLICIES
from gateway.settings import Settings, SettingsError, load_settings, read_key
from gateway.verbs import add_explain, add_invalidate, add_prefixes

_SERVE_FLAGS = (
    "host", "port", "data_dir", "upstream", "api_key_env", "admin_key_env", "redis", "allow_no_keys", "log_level"
)  # fmt: skip


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
    add_prefixes(verbs)
    _add_backtest(verbs)
    _add_calibrate(verbs)
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
    verb.add_argument(
        "--redis", metavar="URL", help="Redis, or Redis Cluster, that keeps the answers of several gateways"
    )
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


def _add_backtest(verbs: Any) -> None:
    verb = verbs.add_parser("backtest", help="what other targets would have served of a log, and got wrong")
    verb.add_argument("log", type=Path, metavar="LOG", help="JSON lines of prompts, or a data directory with labels")
    verb.add_argument(
        "--target", type=_rate, action="append", metavar="RATE", help="max_wrong_hit_rate; several times for several"
    )
    verb.add_argument(
        "--shadow-rate", type=_share, metavar="RATE", help="of would-be hits, as cache.shadow_rate (0.05)"
    )
    verb.add_argument("--limit", type=_whole, metavar="N", help="the first N prompts only")
    verb.add_argument("--fit", action="store_true", help="fit verifiers on the way, as the server does; takes longer")
    verb.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings of the embedder")
    verb.add_argument("--json", action="store_true", help="print JSON")
    verb.set_defaults(run=_backtest)


def _add_calibrate(verbs: Any) -> None:
    verb = verbs.add_parser(
        "calibrate", help="fit the verifier to labelled pairs, or to the labels of a data directory"
    )
    verb.add_argument("pairs", type=Path, nargs="?", metavar="PAIRS", help="tab-separated: label, query_a, query_b")
    verb.add_argument("--data-dir", type=Path, help="whose labels are read, and where the verifier goes (.twicetold)")
    verb.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings of the embedder")
    verb.set_defaults(run=_calibrate)


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} must be a number from 0 to 1")
    return number


def _rate(text: str) -> float:
    number = float(text)
    if not 0.0001 <= number <= 0.5:
        raise argparse.ArgumentTypeError(f"{text} must be a number from 0.0001 to 0.5")
    return number


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a whole number from 1")
    return number


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
    for name in ("httpx", "httpcore"):  # a line for every request, with its URL
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells of every build it has not got as of an error
    return serve(settings)


def _stats(args: argparse.Namespace) -> int:
    from gateway.stats import show

    key = read_key("--admin-key-env", args.admin_key_env or "")
    return show(args.url, once=args.once, interval_s=args.interval, key=key)


def _simulate(args: argparse.Namespace) -> int:
    from gateway.simulate import simulate

    return simulate(args.trace, args.blocks, args.policy or KV_POLICIES, as_json=args.json, knee_tokens=args.knee)


def _backtest(args: argparse.Namespace) -> int:
    cache = load_settings({}, args.config).cache
    with _semantic_extra():
        from embeddings.verifier import load_verifier
        from gateway.backtest import backtest
        from gateway.policy import Rules
        from gateway.services.semantic import load_embedder

        def load() -> tuple[Any, Any]:
            embedder = load_embedder(cache)
            return embedder, load_verifier(embedder.fingerprint)

        return backtest(
            args.log,
            args.target or [0.005, 0.01, 0.02, 0.05],
            load,
            shadow_rate=cache.shadow_rate if args.shadow_rate is None else args.shadow_rate,
            rules=Rules(),
            limit=args.limit,
            fits=args.fit,
            as_json=args.json,
        )


def _calibrate(args: argparse.Namespace) -> int:
    settings = load_settings({"data_dir": args.data_dir}, args.config)
    with _semantic_extra():
        from gateway.calibrate import calibrate
        from gateway.services.semantic import load_embedder

        return calibrate(args.pairs, settings.data_dir, lambda: load_embedder(settings.cache))


@contextmanager
def _semantic_extra() -> Iterator[None]:
    """What is missing is said in one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is not installed: pip install 'twicetold-server[semantic]'") from error


def _doctor(args: argparse.Namespace) -> int:
    from gateway.doctor import examine

    logging.basicConfig(level=logging.ERROR)  # what is wrong stands in the table
    return examine(_settings(args))


if __name__ == "__main__":
    sys.exit(main())
