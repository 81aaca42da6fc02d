"""What a verifier looks at: numbers about two readings, the same whichever comes first.

Three kinds: what the vectors say (cosine), what the states of the word pieces say when each looks for its partner in
the other text (contextual: "bank" by a river finds none at a till), and what the words say (overlap, order,
near-misses of the guards). `FEATURES` only ever grows at its end; a fitted file names the ones it knows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from embeddings.base import Reading
from embeddings.guards import NEAR_MISSES, near_misses
from embeddings.repairs import corrected
from embeddings.text import CARRIES_NO_MEANING, is_han, plain, stem, words

FEATURES = (
    "cosine",
    *NEAR_MISSES,
    "aligned_less",  # mean similarity of a piece to its best partner, by weight: the text that fares worse
    "aligned_more",  # and the one that fares better
    "lonely_less",  # weight of the pieces without a near partner: the text that has less of it
    "lonely_more",
    "loneliest_less",  # how far the worst content piece is from its partner
    "loneliest_more",
    "stems",  # stems in both, of all in either
    "stems_of_shorter",  # share of the shorter text's stems that the longer has
    "letters",  # likewise in runs of three letters, of all in either
    "letters_of_shorter",
    "in_order",  # longest common subsequence of stems, of the shorter text
    "at_ends",  # stems shared at the beginning and at the end, of the shorter text
    "at_end",  # at the end alone
    "pieces_less",  # logarithm of the number of pieces
    "pieces_more",
)
LONELY_BELOW = 0.55
REMEMBERED = 1024  # texts, some kilobytes each: nine are looked at for every question
_MOST_PIECES = 160  # alignment and order of more are not worth their square in time
_FUNCTION_WEIGHT = 0.15
_WORD_BEGINS = "\u2581\u0120"  # marks of SentencePiece and of byte-level vocabularies

Features = NDArray[np.float32]


def features_of(a: Reading, b: Reading) -> Features:
    """The numbers of a pair, in the order of `FEATURES`."""
    numbers = [
        float(a.vector @ b.vector),
        *near_misses(a.text, b.text),
        *_alignment(a, b),
        *_overlap(_said(a.text), _said(b.text)),
        *_less_more(np.log1p(len(a.pieces)), np.log1p(len(b.pieces))),
    ]
    return np.asarray(numbers, np.float32)


def _less_more(a: float, b: float) -> tuple[float, float]:
    return (float(a), float(b)) if a <= b else (float(b), float(a))


def weight(piece: str) -> float:
    """How much a piece says: names and things much, function words little, marks nothing."""
    said = piece.removeprefix("##").lstrip(_WORD_BEGINS).lower()
    if not any(char.isalnum() for char in said):
        return 0.0
    return _FUNCTION_WEIGHT if said in CARRIES_NO_MEANING else 1.0


@lru_cache(maxsize=REMEMBERED)
def _weights(pieces: tuple[str, ...]) -> NDArray[np.float32]:
    return np.array([weight(piece) for piece in pieces[:_MOST_PIECES]], np.float32)


def _alignment(a: Reading, b: Reading) -> list[float]:
    weights_a, weights_b = _weights(a.pieces), _weights(b.pieces)
    if not weights_a.sum() or not weights_b.sum():
        return [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    similar = _unit(a.states[:_MOST_PIECES]) @ _unit(b.states[:_MOST_PIECES]).T
    sides = (_side(similar.max(axis=1), weights_a), _side(similar.max(axis=0), weights_b))
    return [number for pair in zip(*sides, strict=True) for number in _less_more(*pair)]


def _side(best: NDArray[np.float32], weights: NDArray[np.float32]) -> tuple[float, float, float]:
    return (
        float(best @ weights / weights.sum()),
        float(np.log1p(weights @ np.clip((LONELY_BELOW - best) / LONELY_BELOW, 0.0, 1.0))),
        float(1.0 - best[weights >= weights.max()].min()),
    )


def _unit(states: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.sqrt(np.einsum("ij,ij->i", states, states))[:, None]
    found: NDArray[np.float32] = states / np.maximum(lengths, np.float32(1e-9))
    return found


@dataclass(frozen=True, slots=True)
class _Said:
    stems: tuple[str, ...]
    counts: Counter[str]
    letters: Counter[str]


@lru_cache(maxsize=REMEMBERED)
def _said(text: str) -> _Said:
    said = words(corrected(plain(text)))[:_MOST_PIECES]
    parts = [part for word in said for part in (word if is_han(word) else (stem(word),))]
    stems = tuple(parts[:_MOST_PIECES])
    run = " ".join(stems)
    return _Said(stems, Counter(stems), Counter(run[n : n + 3] for n in range(max(len(run) - 2, 1))))


def _overlap(a: _Said, b: _Said) -> list[float]:
    least = max(min(len(a.stems), len(b.stems)), 1)
    begin = _common_start(a.stems, b.stems)
    end = min(_common_start(a.stems[::-1], b.stems[::-1]), least - min(begin, least))
    return [
        *_shares(a.counts, b.counts),
        *_shares(a.letters, b.letters),
        _longest_common(a.stems, b.stems) / least,
        (begin + end) / least,
        end / least,
    ]


def _shares(a: Counter[str], b: Counter[str]) -> tuple[float, float]:
    shared = sum(min(count, b[one]) for one, count in a.items() if one in b)
    in_a, in_b = a.total(), b.total()
    return shared / max(in_a + in_b - shared, 1), shared / max(min(in_a, in_b), 1)


def _common_start(a: Sequence[str], b: Sequence[str]) -> int:
    return next((n for n, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bits (Hyyrö 2004): a row of the table is one integer."""
    places: dict[str, int] = {}
    for n, word in enumerate(b):
        places[word] = places.get(word, 0) | 1 << n
    row = (1 << len(b)) - 1
    for word in a:
        match = row & places.get(word, 0)
        row = (row + match) | (row - match)
    return len(b) - (row & (1 << len(b)) - 1).bit_count()
