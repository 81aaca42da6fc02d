"""A thousand to a hundred thousand rows: under a minute."""

from bench.lookup.cells import run_cells
from bench.rows import Row, Scale


def run(scale: Scale) -> list[Row]:
    """In one partition and in a thousand."""
    return run_cells((1_000, 10_000) if scale.quick else (1_000, 10_000, 100_000), scale)
