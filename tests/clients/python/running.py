"""Programs that are read from standard input, run one after another in one process: what they share is imported once.

[{"name": "stream.py", "code": "..."}, ...]    ->    {"check": "stream.py", "printed": "...", "error": null}, ...
"""

import io
import json
import sys
import traceback
import warnings
from contextlib import redirect_stdout


def main() -> None:
    warnings.simplefilter("ignore")  # programs end without closing their clients
    for program in json.load(sys.stdin):
        printed, error = io.StringIO(), None
        try:
            with redirect_stdout(printed):
                exec(compile(program["code"], program["name"], "exec"), {"__name__": "__main__"})  # noqa: S102
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"check": program["name"], "printed": printed.getvalue(), "error": error}), flush=True)


main()
