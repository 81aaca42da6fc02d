"""Who acts and who is acted on, told by small words: my data shared with you, your data shared with me; what eats cats.

Only said of two texts with the same words of content: whoever says it in other words may turn the sentence round.
"""

import re
from functools import lru_cache

from embeddings.text import CARRIES_NO_MEANING, latin_words, spoken, stem

_PERSONS = {
    word: row.split()[0]
    for row in (
        "i me my mine myself",
        "you your yours yourself",
        "he him his himself",
        "she her hers herself",
        "we us our ours ourselves",
        "they them their theirs themselves",
    )
    for word in row.split()
}
_NO_CONTENT = CARRIES_NO_MEANING.union(_PERSONS)
# "Can you tell me how I ..." has two persons too many.
_WRAPPED = re.compile(
    r"\b(?:(?:can|could|would|will|do) you (?:please )?"
    r"(?:tell|show|explain|help|give|teach|send|let|know|recommend|suggest)(?: to)?(?: me| us)?"
    r"|(?:tell|show|give|teach|help|let) (?:me|us)|i (?:want|need|would like) (?:you )?to"
    r"|i (?:wonder|am wondering|was wondering)|do you know|can i|could i"
    r"|how (?:do|can|would|should|to)(?: i| you| one)?)\b"
)
_OBJECT = re.compile(
    r"^(?:who|whom|what|which(?: \w+)?) (?:do|does|did|(?:is|are|was|were) (?:i|you|he|she|we|they)\b.*)\b"
)
_PASSIVE = re.compile(
    r"^(?:who|what|which(?: \w+)?) (?:is|are|was|were|gets?|got) (?:\w{3,}ed|\w+en|made|sold|built)\b"
)
_AUXILIARY = "is|are|was|were|do|does|did|can|could|will|would|should|has|have|had|may|might|must"
_SUBJECT = re.compile(
    r"^(?:who|what|which(?: \w+)?) (?:is|are|was|were) \w+ing\b"
    rf"|^who (?!(?:{_AUXILIARY})\b)|^(?:what|which) (?!(?:{_AUXILIARY})\b)\w+ (?!(?:{_AUXILIARY})\b)\w"
)


def same_roles(a: str, b: str) -> bool:
    """Refuse when two texts of the same words differ in who does it to whom, told by pronouns or by the question."""
    row_a, row_b = _row(a), _row(b)
    if not row_a or set(row_a) != set(row_b):
        return True
    (persons_a, asks_a), (persons_b, asks_b) = _read(a), _read(b)
    if len(set(persons_a)) > 1 and persons_a != persons_b and sorted(persons_a) == sorted(persons_b):
        return False
    if {asks_a, asks_b} == {"subject", "passive"}:
        return False
    return row_a == row_b or "" in (asks_a, asks_b) or "passive" in (asks_a, asks_b) or asks_a == asks_b


@lru_cache(maxsize=1024)
def _row(text: str) -> list[str]:
    """Words of content in order."""
    return [stem(word) for word in latin_words(text) if word not in _NO_CONTENT]


@lru_cache(maxsize=1024)
def _read(text: str) -> tuple[list[str], str]:
    """Persons in order; whether it is asked for the subject or the object."""
    said = spoken(text)
    persons = [_PERSONS[word] for word in _WRAPPED.sub(" ", said).split() if word in _PERSONS]
    asks = (
        "passive"
        if _PASSIVE.match(said)
        else "object"
        if _OBJECT.match(said)
        else "subject"
        if _SUBJECT.match(said)
        else ""
    )
    return persons, asks
