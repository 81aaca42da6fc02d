"""A band: hits of one kind, of which something is believed from the start, until outcomes say otherwise.

    bare form   the same question but for words that mean nothing, and no guard minds
    strict      so near, without a rival, and so well judged by the verifier, that little else is asked
    long        texts so long that a vector says little of the one word that changed: doubted, however sure they look

One kind of hits, so one count: what came of those whose outcome is known, beside what is believed of all of them
beforehand. Over the pair files and streams at hand equal bare forms were wrong 1 time in 647, and 3 in 3 where the data
holds doubles. Of neighbours in streams that are strict, with the verifier fitted on other sources, 1 of 856 was wrong
(and 15 of 400 in GPTCache's replay, all of them doubles). Where a rival was nearer than 0.1 of cosine, 86 of 645 were:
twins that near are told apart by more than anybody sees. A lane begins between, so that one at 1 % serves them from the
start; one wrong outcome stops the kind until enough right ones came. Of long ones (word problems whose premise changed)
16 of 88 were wrong that a lane at 5 % had believed.
"""

from collections.abc import Sequence

from embeddings.control.support import FEATURES, LEAD, cosine_feature, verifier_feature

BELIEVED = 100.0  # outcomes that the belief counts as: one wrong one stops a young lane at 1 % until 30 right ones came
BELIEVED_WRONG = 0.003  # of them
LONG_BELIEVED = 25.0
LONG_WRONG = 0.12

STRICT = (  # similarity, the margin to the next of another answer, and the probability of the verifier alone
    (0.96, LEAD, 0.9),
    (0.95, 2 * LEAD, 0.9),
)
_STRICT = tuple((cosine_feature(near), alone, verifier_feature(judged)) for near, alone, judged in STRICT)
_NEAREST = min(near for near, _, _ in _STRICT)  # most are not even as near as this
LONG_CHARS = 150

_COSINE, _MARGIN, _VERIFIER = (FEATURES.index(name) for name in ("cosine", "margin", "verifier"))


class Band:
    """The account of one kind of hits in one lane."""

    def __init__(self, believed: float = BELIEVED, wrong: float = BELIEVED_WRONG) -> None:
        self._believed, self._believed_wrong = believed, wrong * believed
        self._seen = self._wrong = 0

    @property
    def chance_wrong(self) -> float:
        return (self._wrong + self._believed_wrong) / (self._seen + self._believed)

    def learn(self, is_right: bool, *, corrects: bool = False) -> None:
        """Count an outcome; `corrects`: it was counted as the opposite before."""
        if corrects and (self._seen - self._wrong if not is_right else self._wrong):
            self._seen -= 1
            self._wrong -= is_right
        self._seen += 1
        self._wrong += not is_right


def is_long(question: str, stored: str) -> bool:
    """Whether one of them is a long text."""
    return len(question) > LONG_CHARS or len(stored) > LONG_CHARS


def is_strict(features: Sequence[float]) -> bool:
    """Whether a neighbour with these features of `support`, which is not long, is in the strict band: near, alone,
    judged well."""
    if len(features) < len(FEATURES) or features[_COSINE] < _NEAREST:
        return False
    cosine, margin, verifier = features[_COSINE], features[_MARGIN], features[_VERIFIER]
    return any(cosine >= near and margin >= alone and verifier >= judged for near, alone, judged in _STRICT)
