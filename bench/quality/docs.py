"""Tables into a page between their marks, so that they are never older than the code that made them.

<!-- quality:NAME -->
...
<!-- /quality:NAME -->
"""

from collections.abc import Mapping
from pathlib import Path

from bench.datasets import DataError


def put(page: Path, tables: Mapping[str, str]) -> None:
    """Write every table where its marks are. Raises `DataError` when they are not there."""
    text = page.read_text("utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- quality:{name} -->", f"<!-- /quality:{name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise DataError(f"{page.name} has no place for {name}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    page.write_text(text, "utf-8")
