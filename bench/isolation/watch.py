"""What every answer is held against: the mark of who asked, and what others were ever told."""

import re
from collections import Counter
from dataclasses import dataclass, field

from bench.inprocess import Answer
from bench.isolation.askers import MARK, Asker
from bench.isolation.asking import PATHS, Question, has_own_vectors, said_in
from bench.isolation.marking import digest_of

_MARKS = re.compile(MARK)
_ENTRY, _TIER = "x-twicetold-entry", "x-twicetold-tier"
MAX_TOLD = 20


@dataclass(slots=True)
class Watch:
    """Findings, and counts of what was looked at, so that a property that saw nothing is seen to have seen nothing."""

    leaks: list[str] = field(default_factory=list)  # the first few
    num_leaks: int = 0
    tiers: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (difference, shape, tier and reason)
    refused: Counter[tuple[str, int]] = field(default_factory=Counter)
    owners: dict[str, str] = field(default_factory=dict)  # an entry or a response -> the mark of whom it was told

    def leaked(self, what: str, asker: Asker, answer: Answer) -> None:
        self.num_leaks += 1
        if len(self.leaks) < MAX_TOLD:
            self.leaks.append(f"{what}: {asker} got {answer.status} {dict(answer.headers)} {answer.body[:600]!r}")

    def look(self, answer: Answer, asker: Asker, *, own: frozenset[str] = frozenset()) -> None:
        """Hold any answer at all, an error too, against what is others'. `own`: marks the request itself spelled."""
        told = said_in(answer) + answer.body.decode("latin-1") + str(dict(answer.headers))
        others = {mark.decode() for mark in _MARKS.findall(told.encode())} - {asker.mark} - own
        if others:
            self.leaked(f"marks of others {sorted(others)}", asker, answer)
        entry = answer.headers.get(_ENTRY)
        if entry and self.owners.setdefault(entry, asker.mark) != asker.mark:
            self.leaked(f"the name of another's entry {entry}", asker, answer)

    def answered(self, answer: Answer, asker: Asker, question: Question, difference: str) -> str | None:
        """Hold the answer to a question against who asked, and what; its response id."""
        self.look(answer, asker)
        if answer.status != 200 or not answer.is_whole:
            self.refused[f"{question.shape}: {answer.body[:160]!r}", answer.status] += 1
            return None
        tier, reason = answer.headers.get(_TIER, "?"), answer.headers.get("x-twicetold-reason", "?")
        self.tiers[difference, question.shape, f"{tier} {reason}"] += 1
        if question.shape == "embeddings":
            if not has_own_vectors(answer, asker, question):
                self.leaked("vectors of others", asker, answer)
            return None
        said = said_in(answer)
        if asker.mark not in said:
            self.leaked("an answer without its asker's mark", asker, answer)
        is_same = tier == "full" or reason == "same_request"
        if is_same and f"q{digest_of(question.text)}" not in said:
            self.leaked("the answer to another question", asker, answer)
        return self._id(answer, asker)

    def _id(self, answer: Answer, asker: Asker) -> str | None:
        found = re.search(rb'"id": ?"((?:chatcmpl-|cmpl-|resp_|msg_)[^"]+)"', answer.body)
        if found is None:
            return None
        if self.owners.setdefault(found[1].decode(), asker.mark) != asker.mark:
            self.leaked("the id of another's response", asker, answer)
        return found[1].decode()

    def served(self, difference: str) -> dict[str, int]:
        """How many answers of each tier went to askers that differ so from whoever asked before."""
        found: Counter[str] = Counter()
        for (other, _, tier), count in self.tiers.items():
            if other == difference:
                found[tier] += count
        return dict(found)

    @property
    def shapes(self) -> set[str]:
        return {shape for _, shape, _ in self.tiers} & set(PATHS)
