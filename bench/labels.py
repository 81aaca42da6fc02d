"""Were the hits right? Judged from the classes of a labelled stream. Pure.

Two prompts of one class may share an answer. A hit is wrong when the class of the prompt that made the answering
entry differs; a hit on an entry this run did not make cannot be judged and is counted apart. A class counts as seen
for every prompt after its first answered one, in stream order. Inserts make entries and are no prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.figures import Share

HITS = ("exact", "semantic")


@dataclass(frozen=True, slots=True)
class Judged:
    """One answered prompt of a labelled stream."""

    prompt: str
    class_id: str
    tier: str
    reason: str
    entry: str | None
    similarity: float | None = None
    is_insert: bool = False


@dataclass(frozen=True, slots=True)
class WrongHit:
    """A prompt that got the answer to another question."""

    prompt: str
    class_id: str
    answered_by: str
    answered_class: str
    tier: str
    similarity: float | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What the labels say about one run."""

    true_hits: Share  # of the prompts whose class was seen
    true_semantic: Share  # of the same prompts
    wrong_of_semantic: Share  # wrong semantic hits of the judged semantic hits
    wrong_of_prompts: Share  # wrong semantic hits of all prompts
    wrong_exact: Share  # of the judged exact hits: one text, two classes in the data
    unjudged: int
    wrong: tuple[WrongHit, ...]

    def as_json(self) -> dict[str, Any]:
        shares = ("true_hits", "true_semantic", "wrong_of_semantic", "wrong_of_prompts", "wrong_exact")
        wrong = [{name: getattr(hit, name) for name in WrongHit.__slots__} for hit in self.wrong]
        return {**{name: getattr(self, name).as_json() for name in shares}, "unjudged": self.unjudged, "wrong": wrong}


def judge(answered: Sequence[Judged]) -> Accuracy:
    """Hold every hit against the class of the entry that answered. `answered` is in stream order."""
    first_makers = _first_makers(answered)
    makers: dict[str, Judged] = {}
    seen: set[str] = set()
    num_prompts = num_seen = unjudged = 0
    right = dict.fromkeys(HITS, 0)
    wrong: list[WrongHit] = []
    for item in answered:
        num_prompts += not item.is_insert
        num_seen += not item.is_insert and item.class_id in seen
        if item.tier not in HITS:
            makers[item.entry or ""] = item  # who asks the same anew replaces the entry
        else:
            name = item.entry or ""
            maker = makers.get(name) or first_makers.get(name)  # side by side, a hit may stand before its maker
            if maker is None:
                unjudged += 1
            elif maker.class_id == item.class_id:
                right[item.tier] += 1
            else:
                wrong.append(_wrong(item, maker))
        seen.add(item.class_id)
    wrong_semantic = sum(hit.tier == "semantic" for hit in wrong)
    wrong_exact = len(wrong) - wrong_semantic
    return Accuracy(
        true_hits=Share(right["exact"] + right["semantic"], num_seen),
        true_semantic=Share(right["semantic"], num_seen),
        wrong_of_semantic=Share(wrong_semantic, wrong_semantic + right["semantic"]),
        wrong_of_prompts=Share(wrong_semantic, num_prompts),
        wrong_exact=Share(wrong_exact, wrong_exact + right["exact"]),
        unjudged=unjudged,
        wrong=tuple(wrong),
    )


def _first_makers(answered: Sequence[Judged]) -> dict[str, Judged]:
    """The prompt that made each entry: the first one that was answered by a backend under that name."""
    makers: dict[str, Judged] = {}
    for item in answered:
        if item.tier not in HITS and item.entry is not None:
            makers.setdefault(item.entry, item)
    return makers


def _wrong(item: Judged, maker: Judged) -> WrongHit:
    return WrongHit(item.prompt, item.class_id, maker.prompt, maker.class_id, item.tier, item.similarity)
