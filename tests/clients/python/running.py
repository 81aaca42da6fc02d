"""Programs that people are shown, run behind a client's checks: what both import is imported once."""

import io
import json
import traceback
import warnings
from collections.abc import Iterable
from contextlib import redirect_stdout


def run(programs: Iterable[dict[str, str]]) -> None:
    """Run each, and tell what came of it as a line: {"name": ..., "printed": ..., "error": null or what went wrong}."""
    warnings.simplefilter("ignore")  # programs end without closing their clients
    for program in programs:
        printed, error = io.StringIO(), None
        try:
            with redirect_stdout(printed):
                exec(compile(program["code"], program["name"], "exec"), {"__name__": "__main__"})  # noqa: S102
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"name": program["name"], "printed": printed.getvalue(), "error": error}), flush=True)
