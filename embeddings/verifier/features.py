"""What a verifier looks at: numbers about two readings, the same whichever comes first.

Three kinds: what the vectors say (cosine), what the states of the word pieces say when each looks for its partner in
the other text (contextual: "bank" by a river finds none at a till), and what the words say (overlap, order,
near-misses of the guards). `FEATURES` only ever grows at its end; a fitted file names the ones it knows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import orjson
from numpy.typing import NDArray

from embeddings.base import Reading
from embeddings.guards import NEAR_MISSES, near_misses
from embeddings.guards.nearness import longest_common, tell, told
from embeddings.known import Known
from embeddings.repairs import corrected
from embeddings.text import CARRIES_NO_MEANING, counted, is_han, plain, stem, words

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
_ALIGNED = FEATURES.index("aligned_less")
_SIDES = 6  # numbers of an alignment
_NOTHING_TO_ALIGN = (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
_WORD_BEGINS = "\u2581\u0120"  # marks of SentencePiece and of byte-level vocabularies

Features = NDArray[np.float32]
Bag = frozenset[tuple[str, int] | str]


def features_of(a: Reading, b: Reading) -> Features:
    """The numbers of a pair, in the order of `FEATURES`."""
    row = _by_words(a, b)
    return np.asarray([*row[:_ALIGNED], *_alignment(a, b), *row[_ALIGNED:]], np.float32)


def features_beside(question: Reading, others: Sequence[Reading]) -> Features:
    """A row for each of `others` beside one question: the numbers of `features_of`, but for their last digit."""
    found = np.empty((len(others), len(FEATURES)), np.float32)
    rows = [_by_words(question, other) for other in others]
    found[:, :_ALIGNED] = [row[:_ALIGNED] for row in rows]
    found[:, _ALIGNED : _ALIGNED + _SIDES] = _alignments(question, others)
    found[:, _ALIGNED + _SIDES :] = [row[_ALIGNED:] for row in rows]
    return found


def _by_words(a: Reading, b: Reading) -> list[float]:
    """All but the alignment, in order."""
    return [
        float(a.vector @ b.vector),
        *near_misses(a.text, b.text),
        *_overlap(_SAID.of(a.text), _SAID.of(b.text)),
        *_less_more(math.log1p(len(a.pieces)), math.log1p(len(b.pieces))),
    ]


def _less_more(a: float, b: float) -> tuple[float, float]:
    return (a, b) if a <= b else (b, a)


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
        return list(_NOTHING_TO_ALIGN)
    similar = _unit(a.states[:_MOST_PIECES]) @ _unit(b.states[:_MOST_PIECES]).T
    sides = (_side(similar.max(axis=1), weights_a), _side(similar.max(axis=0), weights_b))
    return [number for pair in zip(*sides, strict=True) for number in _less_more(*pair)]


def _side(best: NDArray[np.float32], weights: NDArray[np.float32]) -> tuple[float, float, float]:
    return (
        float(best @ weights / weights.sum()),
        float(np.log1p(weights @ np.clip((LONELY_BELOW - best) / LONELY_BELOW, 0.0, 1.0))),
        float(1.0 - best[weights >= weights.max()].min()),
    )


def _alignments(question: Reading, others: Sequence[Reading]) -> NDArray[np.float32]:
    """A row of `_alignment` for each: one product for all of them, their pieces end to end."""
    found = np.tile(np.asarray(_NOTHING_TO_ALIGN, np.float32), (len(others), 1))
    own = _weights(question.pieces)
    weights = [_weights(other.pieces) for other in others]
    at = [n for n, one in enumerate(weights) if one.any()]
    if not at or not own.any():
        return found
    heavy = np.concatenate([weights[n] for n in at])
    starts = np.cumsum([0] + [len(weights[n]) for n in at[:-1]])
    states = np.concatenate([others[n].states[:_MOST_PIECES] for n in at])
    similar = _unit(question.states[:_MOST_PIECES]) @ states.T
    similar /= np.maximum(np.sqrt(np.einsum("ij,ij->i", states, states)), np.float32(1e-9))
    ours, theirs = np.maximum.reduceat(similar, starts, axis=1), similar.max(axis=0)
    lightest = np.repeat(np.maximum.reduceat(heavy, starts), [len(weights[n]) for n in at])
    pairs = (
        (own @ ours / own.sum(), np.add.reduceat(theirs * heavy, starts) / np.add.reduceat(heavy, starts)),
        (np.log1p(own @ _lonely(ours)), np.log1p(np.add.reduceat(_lonely(theirs) * heavy, starts))),
        (
            1.0 - ours[own >= own.max()].min(axis=0),
            1.0 - np.minimum.reduceat(np.where(heavy >= lightest, theirs, np.float32(2.0)), starts),
        ),
    )
    found[at] = np.stack([end(*pair) for pair in pairs for end in (np.minimum, np.maximum)], axis=1)
    return found


def _lonely(best: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.minimum(np.maximum((LONELY_BELOW - best) / LONELY_BELOW, 0.0), 1.0)
    return found


def _unit(states: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.sqrt(np.einsum("ij,ij->i", states, states))[:, None]
    found: NDArray[np.float32] = states / np.maximum(lengths, np.float32(1e-9))
    return found


@dataclass(frozen=True, slots=True)
class _Said:
    stems: tuple[str, ...]
    bag: Bag
    letters: Bag  # runs of three


def _read(text: str) -> _Said:
    said = words(corrected(plain(text)))[:_MOST_PIECES]
    parts = [part for word in said for part in (word if is_han(word) else (stem(word),))]
    return _said_of(tuple(parts[:_MOST_PIECES]))


def _said_of(stems: tuple[str, ...]) -> _Said:
    run = " ".join(stems)
    return _Said(stems, counted(stems), counted([run[n : n + 3] for n in range(max(len(run) - 2, 1))]))


_SAID = Known(_read, REMEMBERED)


def facts_of(text: str) -> bytes:
    """What is read of a text before it is compared: `remember` takes it back in a tenth of the time. Empty for a text
    that JSON cannot hold."""
    try:
        return orjson.dumps([_SAID.of(text).stems, told(text)])
    except TypeError:
        return b""


def remember(text: str, facts: bytes) -> None:
    """Let what was read of a text be known again. Facts that are none are left: the text is read then."""
    if text in _SAID:
        return
    try:
        stems, parts = orjson.loads(facts)
        tell(text, parts)
        _SAID.put(text, _said_of(tuple(stems)))
    except (ValueError, TypeError):
        return


def _overlap(a: _Said, b: _Said) -> list[float]:
    least = max(min(len(a.stems), len(b.stems)), 1)
    begin = _common_start(a.stems, b.stems)
    end = min(_common_start(a.stems[::-1], b.stems[::-1]), least - min(begin, least))
    return [
        *_shares(a.bag, b.bag),
        *_shares(a.letters, b.letters),
        longest_common(a.stems, b.stems) / least,
        (begin + end) / least,
        end / least,
    ]


def _shares(a: Bag, b: Bag) -> tuple[float, float]:
    shared, in_a, in_b = len(a & b), len(a), len(b)
    return shared / max(in_a + in_b - shared, 1), shared / max(min(in_a, in_b), 1)


def _common_start(a: Sequence[str], b: Sequence[str]) -> int:
    count = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        count += 1
    return count
