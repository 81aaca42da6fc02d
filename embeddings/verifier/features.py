"""What a verifier looks at: numbers about two readings, the same whichever comes first.

Three kinds: what the vectors say (cosine), what the states of the word pieces say when each looks for its partner in
the other text (contextual: "bank" by a river finds none at a till), and what the words say (overlap, order,
near-misses of the guards). `FEATURES` only ever grows at its end; a fitted file names the ones it knows.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import orjson
from numpy.typing import NDArray

from embeddings.base import Reading
from embeddings.guards import NEAR_MISSES
from embeddings.guards.nearness import Told, differences, longest_common, tell, told
from embeddings.guards.nearness import facts_of as as_facts
from embeddings.known import Known
from embeddings.repairs import corrected
from embeddings.steps import finished
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
_SHORT = 20_000  # letters of one text times those of another
_MOST_WEIGHTS = 32_768
_FUNCTION_WEIGHT = 0.15
_ALIGNED = FEATURES.index("aligned_less")
_SIDES = 6  # numbers of an alignment
_NOTHING_TO_ALIGN = (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
_WORD_BEGINS = "\u2581\u0120"  # marks of SentencePiece and of byte-level vocabularies


Features = NDArray[np.float32]


def features_of(a: Reading, b: Reading) -> Features:
    """The numbers of a pair, in the order of `FEATURES`."""
    if b.text < a.text:
        a, b = b, a  # the last digit of a product may depend on which comes first
    (row,) = finished(_by_words(a, [b]))
    row[_ALIGNED : _ALIGNED + _SIDES] = _alignment(a, b)
    return np.asarray(row, np.float32)


def features_beside(question: Reading, others: Sequence[Reading]) -> Generator[None, None, Features]:
    """A row for each of `others` beside one question, in steps: the numbers of `features_of`, but for their last
    digit."""
    by_words = yield from _by_words(question, others)
    found = np.array(by_words, np.float32)
    found[:, _ALIGNED : _ALIGNED + _SIDES] = _alignments(question, others)
    return found


def _by_words(question: Reading, others: Sequence[Reading]) -> Generator[None, None, list[list[float]]]:
    """A row for each of `others`, with room for the alignment; a step is one of them."""
    one, pieces = _SAID.of(question.text), math.log1p(len(question.pieces))
    cosines = np.vecdot(np.array([other.vector for other in others]), question.vector).tolist()
    threes, num_threes, num_stems = _threes(one.run), len(one.run) - 2, len(one.stems)
    rows: list[list[float]] = []
    for reading, cosine in zip(others, cosines, strict=True):
        other, its_pieces = _SAID.of(reading.text), math.log1p(len(reading.pieces))
        rows.append(
            [
                cosine,
                *differences(one.told, other.told),
                *_NOTHING_TO_ALIGN,
                *_shares(len(one.bag & other.bag), num_stems, len(other.stems)),
                *_shares(_num_shared(threes, other.run), num_threes, len(other.run) - 2),
                *_in_order(one.stems, other.stems),
                *((pieces, its_pieces) if pieces <= its_pieces else (its_pieces, pieces)),
            ]
        )
        yield
    return rows


def _less_more(a: float, b: float) -> tuple[float, float]:
    return (a, b) if a <= b else (b, a)


def weight(piece: str) -> float:
    """How much a piece says: names and things much, function words little, marks nothing."""
    said = piece.removeprefix("##").lstrip(_WORD_BEGINS).lower()
    if not any(char.isalnum() for char in said):
        return 0.0
    return _FUNCTION_WEIGHT if said in CARRIES_NO_MEANING else 1.0


class _Weights(dict[str, float]):
    """Weights by piece, which are the vocabulary's and come again and again."""

    def __missing__(self, piece: str) -> float:
        if len(self) >= _MOST_WEIGHTS:
            self.clear()
        self[piece] = found = weight(piece)
        return found


_WEIGHTS = _Weights()


def _weights(reading: Reading) -> list[float]:
    return [_WEIGHTS[piece] for piece in reading.pieces[:_MOST_PIECES]]


def _alignment(a: Reading, b: Reading) -> list[float]:
    weights_a, weights_b = np.array(_weights(a), np.float32), np.array(_weights(b), np.float32)
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
    found = np.empty((len(others), _SIDES), np.float32)
    found[:] = _NOTHING_TO_ALIGN
    own = np.array(_weights(question), np.float32)
    weights = [_weights(other) for other in others]
    at = [n for n, one in enumerate(weights) if any(one)]
    if not at or not own.any():
        return found
    heavy = np.array([one for n in at for one in weights[n]], np.float32)
    lengths = [len(weights[n]) for n in at]
    starts = list(accumulate(lengths[:-1], initial=0))
    states = np.concatenate([others[n].states[:_MOST_PIECES] for n in at])
    similar = _unit(question.states[:_MOST_PIECES]) @ states.T
    similar /= np.maximum(np.sqrt(np.einsum("ij,ij->i", states, states)), np.float32(1e-9))
    ours, theirs = np.maximum.reduceat(similar, starts, axis=1), np.maximum.reduce(similar, axis=0)
    heaviest = np.repeat(np.maximum.reduceat(heavy, starts), lengths)
    pairs = np.array(
        [
            (own @ ours / np.add.reduce(own), np.add.reduceat(theirs * heavy, starts) / np.add.reduceat(heavy, starts)),
            (np.log1p(own @ _lonely(ours)), np.log1p(np.add.reduceat(_lonely(theirs) * heavy, starts))),
            (
                1.0 - np.minimum.reduce(ours[own >= np.maximum.reduce(own)], axis=0),
                1.0 - np.minimum.reduceat(np.where(heavy >= heaviest, theirs, np.float32(2.0)), starts),
            ),
        ]
    )
    found[at, 0::2] = np.minimum.reduce(pairs, axis=1).T
    found[at, 1::2] = np.maximum.reduce(pairs, axis=1).T
    return found


def _lonely(best: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.minimum(np.maximum((LONELY_BELOW - best) / LONELY_BELOW, 0.0), 1.0)
    return found


def _unit(states: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.sqrt(np.einsum("ij,ij->i", states, states))[:, None]
    found: NDArray[np.float32] = states / np.maximum(lengths, np.float32(1e-9))
    return found


@dataclass(slots=True)
class _Said:
    """What is read of a text before it is compared; never changed."""

    run: str  # its stems, with one space between them: three letters or more
    stems: tuple[str, ...]
    bag: frozenset[tuple[str, int] | str]
    told: Told


def _read(text: str) -> _Said:
    said = words(corrected(plain(text)))[:_MOST_PIECES]
    parts = [part for word in said for part in (word if is_han(word) else (stem(word),))]
    return _said_of(parts[:_MOST_PIECES], told(text))


def _said_of(stems: Sequence[str], one: Told) -> _Said:
    return _Said(" ".join(stems).ljust(3, "\0"), tuple(stems), counted(stems), one)


_SAID = Known(_read, REMEMBERED)


def facts_of(text: str) -> bytes:
    """What is read of a text before it is compared: `remember` takes it back in a tenth of the time. Empty for a text
    that JSON cannot hold."""
    one = _SAID.of(text)
    try:
        return orjson.dumps([one.stems, as_facts(one.told, text)])
    except TypeError:
        return b""


def remember(text: str, facts: bytes) -> None:
    """Let what was read of a text be known again. Facts that are none are left: the text is read then."""
    if text in _SAID:
        return
    try:
        stems, parts = orjson.loads(facts)
        _SAID.put(text, _said_of(stems, tell(text, parts)))
    except (ValueError, TypeError):
        return


def _in_order(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[float, float, float]:
    """Stems in the same order, and those that are shared at both ends, and at the end; of the shorter text."""
    least = min(len(a), len(b))
    begin = end = 0
    while begin < least and a[begin] == b[begin]:
        begin += 1
    while end < least - begin and a[-1 - end] == b[-1 - end]:
        end += 1
    all_of_it = max(least, 1)
    return longest_common(b, a) / all_of_it, (begin + end) / all_of_it, end / all_of_it


def _shares(shared: int, in_a: int, in_b: int) -> tuple[float, float]:
    """Of all that is in either, and of the text that has fewer."""
    return shared / ((in_a + in_b - shared) or 1), shared / ((in_a if in_a < in_b else in_b) or 1)


def _threes(run: str) -> dict[str, int]:
    """The runs of three letters, and how often each is there."""
    found: dict[str, int] = {}
    for n in range(len(run) - 2):
        three = run[n : n + 3]
        found[three] = found[three] + 1 if three in found else 1
    return found


def _num_shared(threes: dict[str, int], run: str) -> int:
    """How many runs of three letters a text shares with the one they are of, as often as both have them. They are
    looked up where they stand: to cut a stored text into its own costs three times as much, where it is short."""
    if len(threes) * len(run) > _SHORT:
        its = _threes(run)
        return sum(min(times, its[three]) for three, times in threes.items() if three in its)
    shared = 0
    for three, times in threes.items():
        if three in run:
            shared += 1 if times == 1 else min(times, _num_found(three, run))
    return shared


def _num_found(three: str, run: str) -> int:
    """How often it is there, overlapping itself too: "aaa" twice in "aaaa"."""
    count, at = 0, run.find(three)
    while at >= 0:
        count, at = count + 1, run.find(three, at + 1)
    return count
