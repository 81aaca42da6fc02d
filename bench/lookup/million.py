"""A million rows: minutes the first time, when lists are trained, and some 5 GiB."""

from bench.lookup.cells import run_cells
from bench.rows import Row, Scale


def run(scale: Scale) -> list[Row]:
    """In one partition and in a thousand; `--quick` has a tenth of it."""
    return run_cells((scale.of(1_000_000, 100_000),), scale)
