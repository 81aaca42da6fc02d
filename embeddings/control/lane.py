"""A lane: what one tenant or route may be served, and what it has learned about that.

    neighbours -> guards -> verifier -> support -> belief -> calibration -> ledger -> serve | shadow | pass
    equal bare form -> what came of others (`band`)                      -> ledger -> serve | shadow | pass

`belief` is the lane's own model of "its answer serves this question", over what the verifier says and what neighbours
agree on, beginning from what is known of other traffic (`prior`); `calibration` corrects it by outcomes; the strict
`band` is believed beforehand. `ledger` has the target and says how doubtful the next hit may be.

Invariants. Nothing is served whose chance of being wrong has no room in the ledger. A share of would-be hits is
generated all the same (`shadow`), so that the estimate stays alive. Labels alone, in their order, restore everything
but what the ledger has of hits, so it begins strict again. No clock, no I/O, and no chance but a keyed hash. Driven by
one thread.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from hashlib import blake2b

import numpy as np

from embeddings.base import Reading
from embeddings.control.band import LONG_BELIEVED, LONG_WRONG, Band, is_long, is_strict
from embeddings.control.belief import Belief
from embeddings.control.calibration import Calibration
from embeddings.control.kinship import Kinship
from embeddings.control.prior import Prior, prior_of
from embeddings.control.risk import Ledger, clopper_pearson
from embeddings.control.support import FEATURES, support
from embeddings.control.types import OUTDONE, Action, Compares, Label, LaneReport, Looked, Neighbour, Verdict
from embeddings.guards import first_refusal
from embeddings.steps import finished

MOST_BAD = 2  # so many negatives retire an entry
TRIED = 3  # first hits that are not sampled: somebody tries whether it works
WORTH_LABELLING = 0.5  # similarity from which a comparison with the fresh answer teaches something
OF_THE_OTHERS = 0.1  # weight of a label of a neighbour that was not chosen: what is chosen is what must be right
SURELY = 0.9  # belief from which what came of a long text says what long texts that look sure are worth
LIKELY = 0.5  # probability from which what came of a chosen neighbour is on its family's record
_MOST_CLUE = 4.0
_LABELS_REPORTED = 10_000
_REASONS: dict[Action, str] = {"serve": "served", "shadow": "shadow", "pass": "below_threshold"}


class Lane:
    """Decides, learns, reports."""

    def __init__(
        self,
        verifier: Compares,
        *,
        target: float = 0.01,
        confidence: float = 0.95,
        shadow_rate: float = 0.05,
        seed: bytes = b"",
        refuse: Callable[[str, str], str | None] = first_refusal,
        prior: Prior | None = None,
        is_brief: bool = False,
    ) -> None:
        """Without a `prior` it is the one of the verifier's family. `is_brief`: where one is served, guards are asked
        no further, and a verdict tells no more of the others than that they are outdone."""
        self._verifier = verifier
        self._refuse = refuse
        self._confidence = confidence
        self._shadow_rate = shadow_rate
        self._is_brief = is_brief
        self._seed = seed
        self._prior = prior_of(verifier.family) if prior is None else prior
        self._belief = self._unlearned(0)
        self._calibration = Calibration()
        self._kinship = Kinship()
        self._wording, self._strict, self._long = Band(), Band(), Band(LONG_BELIEVED, LONG_WRONG)
        self._target = target
        self._ledger = Ledger(target)
        self._labels: Counter[str] = Counter()
        self._outcomes: deque[bool] = deque(maxlen=_LABELS_REPORTED)  # of hits, as the threshold of their time had it
        self._served = self._shadowed = 0

    @property
    def threshold(self) -> float:
        """The probability from which the next hit is served."""
        return 1.0 - self._ledger.room

    def decide(
        self,
        question: Reading,
        neighbours: Sequence[Neighbour],
        *,
        min_similarity: float = 0.0,
        is_shadow_only: bool = False,
    ) -> Verdict:
        """What to do with `question`, given a handful of stored ones; `is_shadow_only`: what would be served."""
        return finished(
            self.deciding(question, neighbours, min_similarity=min_similarity, is_shadow_only=is_shadow_only)
        )

    def deciding(
        self,
        question: Reading,
        neighbours: Sequence[Neighbour],
        *,
        min_similarity: float = 0.0,
        is_shadow_only: bool = False,
    ) -> Generator[None, None, Verdict]:
        """As `decide`, in steps: whoever has others to serve does so between them."""
        refusals = _barred(neighbours, min_similarity)
        judged = yield from self._judging(
            question, neighbours, [n for n in range(len(neighbours)) if n not in refusals]
        )
        threshold, best = self.threshold, None
        for n in judged:
            yield
            if self._passes(n, question, neighbours, refusals):
                best = n
                break
        if best is None:
            looked = _looked(neighbours, judged, refusals)
            reason = looked[0].refusal if looked and looked[0].refusal else "no_candidates"
            return Verdict("pass", None, None, threshold, reason, looked)
        chosen, probability = neighbours[best], judged[best][0]
        if probability < threshold:
            action: Action = "pass"
        else:
            action = self._action(question.text, chosen.id, 1.0 - probability, is_shadow_only)
        rest = [n for n in judged if n not in refusals]
        if self._is_brief and action == "serve":
            refusals |= dict.fromkeys(rest, OUTDONE)
        else:
            for n in rest:
                yield
                self._passes(n, question, neighbours, refusals)
        looked = _looked(neighbours, judged, refusals)
        if action == "pass":
            worth = chosen if chosen.similarity >= WORTH_LABELLING else None
            return Verdict("pass", worth, probability, threshold, "below_threshold", looked)
        return Verdict(action, chosen, probability, threshold, _REASONS[action], looked)

    def _passes(
        self, n: int, question: Reading, neighbours: Sequence[Neighbour], refusals: dict[int, str | None]
    ) -> bool:
        """Whether no guard refuses the `n`th; what they say is noted."""
        guard = self._refuse(question.text, neighbours[n].reading.text)
        refusals[n] = None if guard is None else f"guard_{guard}"
        return guard is None

    @property
    def serves_wording(self) -> bool:
        """Whether a hit by bare form has room; one that fails more often than the target says has none."""
        return self._wording.chance_wrong <= min(self._ledger.room, self._target)

    def decide_wording(self, question: str, entry: str, *, is_shadow_only: bool = False) -> Verdict:
        """What to do with `question`, whose bare form is that of the stored question `entry`."""
        chance, threshold = self._wording.chance_wrong, self.threshold
        is_allowed = self.serves_wording
        action = self._action(question, entry, chance, is_shadow_only) if is_allowed else "pass"
        looked = (Looked(entry, 1.0, None, 1.0 - chance),)
        return Verdict(action, None, 1.0 - chance, threshold, _REASONS[action], looked, entry)

    def learn(self, label: Label) -> None:
        """Take in what is known now. The order counts."""
        self._labels[label.source] += 1
        if label.source == "feedback":  # of what was served: the account knows the outcome now
            if label.corrects:
                self._ledger.revise(is_right=label.is_right)
            else:
                self._ledger.correct(1.0 - label.probability, is_right=label.is_right)
        elif label.was_eligible:
            self._ledger.saw(1.0 - label.probability, is_right=label.is_right)
        if label.is_wording:
            self._wording.learn(label.is_right, corrects=label.corrects)
        if label.is_right and label.source != "feedback":
            self._kinship.link(label.question, label.stored)
        if label.was_eligible and label.features and label.probability >= LIKELY:
            self._kinship.note(label.stored, label.is_right, corrects=label.corrects)
        if label.was_hit:
            self._note(label)
        if len(label.features) > len(FEATURES):
            *features, believed = label.features
            if label.was_eligible:
                self._calibration.learn(believed, label.is_right, corrects=label.corrects)
                if not is_long(label.question, label.stored):
                    if is_strict(features):
                        self._strict.learn(label.is_right, corrects=label.corrects)
                elif believed >= SURELY:
                    self._long.learn(label.is_right, corrects=label.corrects)
            self._sized(len(features)).learn(features, label.is_right, 1.0 if label.was_eligible else OF_THE_OTHERS)

    def report(self) -> LaneReport:
        known, wrong = len(self._outcomes), self._outcomes.count(False)
        upper = clopper_pearson(wrong, known, self._confidence)[1]
        rate = wrong / known if known else None
        labels = dict(self._labels)
        return LaneReport(self.threshold, rate, upper, labels, self._served, self._shadowed, known, wrong)

    def _note(self, label: Label) -> None:
        if label.corrects and (not label.is_right) in self._outcomes:
            self._outcomes.remove(not label.is_right)
        self._outcomes.append(label.is_right)

    def _action(self, question: str, entry: str, chance_wrong: float, is_shadow_only: bool) -> Action:
        """Of a hit that has room; who only looks leaves no trace."""
        if is_shadow_only:
            return "shadow"
        if self._is_drawn(question, entry):
            self._shadowed += 1
            return "shadow"
        self._served += 1
        self._ledger.serve(chance_wrong)
        return "serve"

    def _judging(
        self, question: Reading, neighbours: Sequence[Neighbour], places: Sequence[int]
    ) -> Generator[None, None, dict[int, tuple[float, tuple[float, ...]]]]:
        """The probability and the features of those at `places`, the surest first."""
        if not places:
            return {}
        readings = []
        for n in places:
            readings.append(neighbours[n].reading)
            yield
        compared = yield from self._verifier.comparing(question, readings)
        yield
        probabilities = [0.0] * len(neighbours)
        for n, one in zip(places, compared, strict=True):
            probabilities[n] = one.probability
        texts = [neighbour.reading.text for neighbour in neighbours]
        supported = support(
            [neighbour.similarity for neighbour in neighbours],
            self._kinship.families(texts, [neighbour.answer for neighbour in neighbours]),
            self._records(neighbours, texts),
            probabilities,
            [max(len(question.text), len(text)) for text in texts],
        )
        clues = np.array([one.features for one in compared], np.float64)
        clues = np.minimum(np.maximum(clues, -_MOST_CLUE), _MOST_CLUE)
        rows = np.concatenate([[supported[n] for n in places], clues], axis=1)
        believed = self._sized(rows.shape[1]).probabilities(rows)
        chances_wrong = self._calibration.chances_wrong(believed)
        found: dict[int, tuple[float, tuple[float, ...]]] = {}
        for n, features, belief, chance_wrong in zip(places, rows.tolist(), believed, chances_wrong, strict=True):
            if is_long(question.text, texts[n]):
                chance_wrong = max(chance_wrong, self._long.chance_wrong)
            elif is_strict(features):
                chance_wrong = min(chance_wrong, self._strict.chance_wrong)
            found[n] = 1.0 - chance_wrong, (*features, belief)
        return {n: found[n] for _, n in sorted([(-found[n][0], n) for n in places])}

    def _records(self, neighbours: Sequence[Neighbour], texts: Sequence[str]) -> list[float]:
        """What was said of their families and of themselves, as log odds of being right."""
        known = zip(neighbours, self._kinship.records(texts), strict=True)
        return [math.log((one.good + right + 1.0) / (one.bad + wrong + 1.0)) for one, (right, wrong) in known]

    def _sized(self, count: int) -> Belief:
        """The belief about so many weights; a verifier with other features makes the lane forget about its own."""
        if len(self._belief) != count:
            self._belief = self._unlearned(count - len(FEATURES))
        return self._belief

    def _unlearned(self, clues: int) -> Belief:
        prior = self._prior
        return Belief([*prior.mean, *[0.0] * clues], [*prior.deviation, *[prior.clue_deviation] * clues])

    def _is_drawn(self, question: str, entry: str) -> bool:
        if self._served < TRIED and self._shadow_rate < 1.0:
            return False
        drawn = blake2b(digest_size=8, key=self._seed[:64])
        for part in (question.encode("utf-8", "surrogatepass"), entry.encode(), str(self._labels.total()).encode()):
            drawn.update(len(part).to_bytes(8, "little") + part)
        return int.from_bytes(drawn.digest(), "little") < self._shadow_rate * 2**64


def _barred(neighbours: Sequence[Neighbour], min_similarity: float) -> dict[int, str | None]:
    """Who is not even looked at, and why."""
    found: dict[int, str | None] = {}
    for n, neighbour in enumerate(neighbours):
        if neighbour.similarity < min_similarity:
            found[n] = "below_min_similarity"
        elif neighbour.bad >= MOST_BAD:
            found[n] = "retired"
    return found


def _looked(
    neighbours: Sequence[Neighbour],
    judged: Mapping[int, tuple[float, tuple[float, ...]]],
    refusals: Mapping[int, str | None],
) -> tuple[Looked, ...]:
    """What was made of each, in their order."""
    found: list[Looked] = []
    for n, one in enumerate(neighbours):
        refusal = refusals[n]
        if refusal is None:
            found.append(Looked(one.id, one.similarity, None, *judged[n]))
        else:
            found.append(Looked(one.id, one.similarity, refusal, None))
    return tuple(found)
