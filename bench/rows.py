"""What a benchmark returns: figures, and beside each the figure it was measured against in the same run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `ratio` is `value` over `beside`: how many times the reference it takes, or yields."""

    suite: str
    what: str
    value: float | None  # None: not available, the note says why
    unit: str  # a MB is a million bytes, a KB a thousand
    beside: float | None = None
    beside_what: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.value is None or not self.beside else self.value / self.beside

    @property
    def is_more_better(self) -> bool:
        """Whether it is a rate; what is counted otherwise (time, memory, failures) should be small."""
        return self.unit.endswith(("/s", "times"))

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a suite may do: `quick` is a smoke test whose figures mean little."""

    quick: bool = False
    large: bool = False

    def of(self, full: int, quick: int) -> int:
        return quick if self.quick else full


def show(console: Console, rows: Sequence[Row], title: str = "Twicetold benchmarks") -> None:
    """Print rows as one table."""
    table = Table(title=title, title_justify="left")
    for heading in ("suite", "what"):
        table.add_column(heading)
    for heading in ("measured", "unit", "beside it", "ratio"):
        table.add_column(heading, justify="right" if heading != "unit" else "left")
    table.add_column("the reference; notes")
    suite = ""
    for row in rows:
        if suite and row.suite != suite:
            table.add_section()
        notes = "; ".join(part for part in (row.beside_what, row.note) if part)
        table.add_row(
            row.suite if row.suite != suite else "", row.what, figure(row.value), row.unit, figure(row.beside),
            "" if row.ratio is None else f"{row.ratio:.2f}", notes,
        )  # fmt: skip
        suite = row.suite
    console.print(table)


def figure(value: float | None) -> str:
    """A number with about three digits that matter."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
