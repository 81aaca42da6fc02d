"""The command line: `twicetold VERB`. docs/cli.md is made from this parser.

What a command says goes to the standard output, as text or, with --json, as JSON; what a person may want to know beside
it (progress, warnings, what is wrong) goes to the error output. The exit statuses:

    0    done
    1    failed: no gateway answers, or it says no
    2    the command line, a setting or a file is wrong: nothing was done
    3    done in part: what could not be done is told, the rest is
    130  interrupted; where there was much to do, the same command goes on where it was
    141  whoever read what it says has closed the pipe
"""

import argparse
import os
import sys
from collections.abc import Sequence

from gateway import __version__
from gateway.cli.asking import add_explain, add_invalidate, add_prefixes
from gateway.cli.bench import add_bench
from gateway.cli.client import Failed
from gateway.cli.completion import add_completion
from gateway.cli.erasing import add_erase
from gateway.cli.exporting import add_export
from gateway.cli.importing import add_import
from gateway.cli.keys import add_keys
from gateway.cli.offline import add_backtest, add_calibrate, add_simulate
from gateway.cli.screen import complain
from gateway.cli.serving import add_doctor, add_serve
from gateway.cli.stats import add_stats
from gateway.cli.warming import add_warm
from gateway.settings import SettingsError

DONE, FAILED, WRONG, IN_PART, INTERRUPTED, CLOSED = 0, 1, 2, 3, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        return _run(argv)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for closed in (sys.stdout, sys.stderr):  # or what is buffered fails again at the end
            os.dup2(nowhere, closed.fileno())
        return CLOSED


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = make_parser().parse_args(argv)
        status: int = args.run(args)
        return status
    except SettingsError as error:
        complain(str(error))
        return WRONG
    except Failed as failed:
        complain(str(failed))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def make_parser() -> argparse.ArgumentParser:
    """Every command with its flags."""
    parser = argparse.ArgumentParser(prog="twicetold", description="A caching gateway for LLM chat.")
    parser.add_argument("--version", action="version", version=f"twicetold {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_serve, add_doctor, add_stats, add_explain, add_invalidate, add_erase, add_warm, add_export, add_import,
        add_keys, add_prefixes, add_backtest, add_calibrate, add_simulate, add_bench, add_completion,
    ):  # fmt: skip
        add(verbs)
    return parser
