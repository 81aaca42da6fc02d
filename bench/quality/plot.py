"""A plot of wrong hits over hits against the served share, as SVG text."""

from collections.abc import Mapping, Sequence
from html import escape
from math import sqrt

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 340, 240, 46, 40, 26
COLOURS = {"lane": "#c2410c", "vCache": "#1d4ed8", "cosine": "#78716c"}
MOST_WRONG = 0.25

Point = tuple[float, float]  # served share, wrong hits / hits


def svg(panels: Mapping[str, Mapping[str, Sequence[Point]]], columns: int = 3) -> str:
    """One panel per stream, one line per policy; up is worse. The scale of wrong hits is a square root's."""
    rows = -(-len(panels) // columns)
    drawn = [
        f'<g transform="translate({WIDTH * (n % columns)},{HEIGHT * (n // columns)})">{_panel(name, lines)}</g>'
        for n, (name, lines) in enumerate(panels.items())
    ]
    legend = "".join(
        f'<circle cx="{60 + 150 * n}" cy="{HEIGHT * rows + 14}" r="4" fill="{colour}"/>'
        f'<text x="{70 + 150 * n}" y="{HEIGHT * rows + 18}">{escape(name)}</text>'
        for n, (name, colour) in enumerate(COLOURS.items())
    )
    size = f'width="{WIDTH * columns}" height="{HEIGHT * rows + 30}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(drawn)}{legend}</svg>\n'
    )


def _panel(name: str, lines: Mapping[str, Sequence[Point]]) -> str:
    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(name)}</text>']
    for wrong in (0.0, 0.01, 0.05, 0.1, 0.25):
        y = _y(wrong)
        colour = "#fca5a5" if wrong == 0.01 else "#e7e5e4"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * wrong:g} %</text>')
    parts += [
        f'<text x="{_x(share):.1f}" y="{HEIGHT - 24}" text-anchor="middle">{100 * share:g} %</text>'
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    for policy, points in lines.items():
        places = [(_x(share), _y(wrong)) for share, wrong in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[policy]}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[policy]}"/>' for x, y in places]
    return "".join(parts)


def _x(share: float) -> float:
    return LEFT + (WIDTH - LEFT - 14) * min(max(share, 0.0), 1.0)


def _y(wrong: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * sqrt(min(max(wrong, 0.0), MOST_WRONG) / MOST_WRONG)
