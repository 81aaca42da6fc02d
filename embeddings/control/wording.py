"""Hits by words alone: how often the same question in its bare form was another one after all.

One class of hits, so one count: what came of those whose outcome is known, beside what is believed of all of them
beforehand. Over the pair files and streams at hand equal bare forms that no guard minds were wrong 1 time in 647, and 3
in 3 where the data holds doubles; a lane begins between the two, so that one at 1 % serves them from the start.
"""

BELIEVED = 100.0  # outcomes that the belief counts as: one wrong one stops a young lane at 1 % until 30 right ones came
BELIEVED_WRONG = 0.003  # of them


class Wording:
    """The account of one lane."""

    def __init__(self) -> None:
        self._seen = self._wrong = 0

    @property
    def chance_wrong(self) -> float:
        return (self._wrong + BELIEVED_WRONG * BELIEVED) / (self._seen + BELIEVED)

    def learn(self, is_right: bool, *, corrects: bool = False) -> None:
        """Count an outcome; `corrects`: it was counted as the opposite before."""
        if corrects and (self._seen - self._wrong if not is_right else self._wrong):
            self._seen -= 1
            self._wrong -= is_right
        self._seen += 1
        self._wrong += not is_right
