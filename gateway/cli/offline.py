"""`twicetold simulate`, `backtest` and `calibrate`: questions to a file, without a gateway."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.cli.client import add_json
from gateway.settings import SettingsError, load_settings
from gateway.settings.limits import KV_POLICIES


def add_simulate(verbs: Any) -> None:
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
    add_json(verb)
    verb.set_defaults(run=_simulate)


def add_backtest(verbs: Any) -> None:
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
    add_json(verb)
    verb.set_defaults(run=_backtest)


def add_calibrate(verbs: Any) -> None:
    verb = verbs.add_parser(
        "calibrate", help="fit the verifier to labelled pairs, or to the labels of a data directory"
    )
    verb.add_argument("pairs", type=Path, nargs="?", metavar="PAIRS", help="tab-separated: label, query_a, query_b")
    verb.add_argument("--data-dir", type=Path, help="whose labels are read, and where the verifier goes (.twicetold)")
    verb.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings of the embedder")
    add_json(verb)
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


def _simulate(args: argparse.Namespace) -> int:
    from gateway.offline.simulate import simulate

    return simulate(args.trace, args.blocks, args.policy or KV_POLICIES, as_json=args.json, knee_tokens=args.knee)


def _backtest(args: argparse.Namespace) -> int:
    cache = load_settings({}, args.config).cache
    with _semantic_extra():
        from embeddings.verifier import load_verifier
        from gateway.offline.backtest import backtest
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
        from gateway.offline.calibrate import calibrate
        from gateway.services.semantic import load_embedder

        return calibrate(args.pairs, settings.data_dir, lambda: load_embedder(settings.cache), as_json=args.json)


@contextmanager
def _semantic_extra() -> Iterator[None]:
    """What is missing is said in one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is not installed: pip install 'twicetold-server[semantic]'") from error
