"""A picture of an area as SVG text: how many times as good as what was beside it, and how far beyond its goal.

Every bar grows from one (as good as the reference; just met) on a logarithmic scale, to the right where it is better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from bench.engine.goals import Verdict
from bench.rows import Row, figure

WIDTH, LABEL, BAR, LINE = 1120, 330, 340, 20
BETTER, WORSE = "#15803d", "#c2410c"
INK, FAINT = "#1c1917", "#d6d3d1"
MOST, LEAST = 1000.0, 0.01


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a picture."""

    what: str
    times: float  # as good as the reference
    note: str


def bar_of(row: Row) -> Bar | None:
    """None where there is nothing to compare with."""
    if not row.ratio or row.ratio <= 0 or row.beside_what.startswith("its own"):
        return None
    times = row.ratio if row.is_more_better else 1 / row.ratio
    return Bar(row.what, times, f"{figure(row.value)} {row.unit}, beside {figure(row.beside)}: {row.beside_what}")


def bar_of_goal(verdict: Verdict) -> Bar:
    """A goal of nothing at most is met by nothing: drawn as just met, or as far missed."""
    goal = verdict.goal
    times = (
        1.0 if verdict.reached == goal.bound
        else verdict.reached / goal.bound if goal.sense == "at least" and goal.bound
        else goal.bound / verdict.reached if verdict.reached else MOST
    )  # fmt: skip
    word = "met" if verdict.is_met else "missed"
    return Bar(goal.what, times, f"{word}: {figure(verdict.reached)}, {goal.sense} {goal.bound:g} {goal.unit}".strip())


def svg(title: str, rows: Sequence[Row], verdicts: Sequence[Verdict]) -> str:
    """The picture of an area."""
    beside = [bar for row in rows if (bar := bar_of(row)) is not None]
    goals = [bar_of_goal(verdict) for verdict in verdicts]
    parts, y = [_text(14, 24, title, size=16, weight="bold")], 36
    for heading, bars in (("times as good as what is beside it", beside), ("goals: right of the line is met", goals)):
        if bars:
            drawn, y = _panel(heading, bars, y)
            parts += drawn
    size = f'width="{WIDTH}" height="{y + 8}" viewBox="0 0 {WIDTH} {y + 8}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _panel(heading: str, bars: Sequence[Bar], top: int) -> tuple[list[str], int]:
    low = floor(log10(min(1.0, *(_held(bar.times) for bar in bars), 0.5)))
    high = ceil(log10(max(1.0, *(_held(bar.times) for bar in bars), 2.0)))
    bottom = top + 34 + LINE * len(bars)
    parts = [_text(14, top + 14, heading, weight="bold")]
    for power in range(low, high + 1):
        x = _x(10.0**power, low, high)
        colour = INK if power == 0 else FAINT
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 26}" y2="{bottom - 4}" stroke="{colour}"/>')
        parts.append(_text(x, top + 20, f"{10.0**power:g}", anchor="middle"))
    for number, bar in enumerate(bars):
        parts += _bar(bar, top + 30 + LINE * number, low, high)
    return parts, bottom


def _bar(bar: Bar, y: int, low: int, high: int) -> list[str]:
    start, end = sorted((_x(1.0, low, high), _x(_held(bar.times), low, high)))
    colour = BETTER if bar.times >= 1 else WORSE
    return [
        _text(LABEL - 10, y + 11, bar.what, anchor="end"),
        f'<rect x="{start:.1f}" y="{y + 2}" width="{max(end - start, 2):.1f}" height="{LINE - 8}" fill="{colour}"/>',
        _text(LABEL + BAR + 62, y + 11, f"{_short(bar.times)} x", anchor="end", weight="bold"),
        _text(LABEL + BAR + 72, y + 11, bar.note),
    ]


def _short(times: float) -> str:
    return f"{times:,.0f}" if times >= 100 else f"{times:.1f}" if times >= 10 else f"{times:.2f}"


def _held(times: float) -> float:
    return min(max(times, LEAST), MOST)


def _x(times: float, low: int, high: int) -> float:
    return LABEL + BAR * (log10(times) - low) / (high - low)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{INK}">{escape(text)}</text>'
    )
