"""Take the spans that rules find out of a text, until they find nothing more. Pure.

So what is left is stable: doing it again changes nothing. A text in which the rules come to no end, or find too much,
is left as it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.normalise.rules import Finds, Span

MAX_PASSES = 6
MAX_CUTS = 64  # a text with more is data, a log or a table, and none of it volatile


@dataclass(frozen=True, slots=True)
class Cut:
    """What was taken out of a text: where it stood in the text that is left, what it was, what is there now."""

    at: int
    text: str
    to: str
    rule: str


def take_out(text: str, rules: Iterable[Finds]) -> tuple[str, tuple[Cut, ...]]:
    """The text without what `rules` find in it, and what that was."""
    left, cuts = text, list[Cut]()
    for _ in range(MAX_PASSES):
        spans = _apart([span for rule in rules for span in rule(left) if left[span.start : span.end] != span.to])
        if not spans:
            return left, tuple(cuts)
        if len(cuts) + len(spans) > MAX_CUTS:
            break
        left, some = _without(left, spans)
        cuts += some
    return text, ()


def _apart(spans: Sequence[Span]) -> list[Span]:
    """No two over one place: the one that begins first stays, of these the longest; the rest wait for the next pass."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


def _without(text: str, spans: Sequence[Span]) -> tuple[str, list[Cut]]:
    pieces, cuts, end, size = [], [], 0, 0
    for span in spans:
        before = text[end : span.start]
        pieces += [before, span.to]
        cuts.append(Cut(size + len(before), text[span.start : span.end], span.to, span.rule))
        size += len(before) + len(span.to)
        end = span.end
    pieces.append(text[end:])
    return "".join(pieces), cuts
