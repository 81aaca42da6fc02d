"""Do two texts ask for the same kind of thing: a person, a time, a place, a reason, a count?"""

import re
from functools import lru_cache

from embeddings.text import han, spoken, word_set

# The first word that fits counts; "what year" asks when. `what`, `which` and yes-or-no fit with anything.
_TOLD = r"\b(?:me|know|explain|exactly|about|and|or|make that|rather|mean|uh|um|no|actually|sorry)"
_MEASURED = "many|much|long|often|frequently|far|old|come|about"
_ENGLISH = (
    ("count", re.compile(r"\bhow many\b|\bnumber of\b|\bcount\b")),
    ("amount", re.compile(r"\bhow much\b")),
    ("duration", re.compile(r"\bhow long\b|\bwhat (?:is the )?duration\b")),
    ("frequency", re.compile(r"\bhow (?:often|frequently)\b")),
    ("distance", re.compile(r"\bhow far\b")),
    ("age", re.compile(r"\bhow old\b|\bwhat age\b")),
    ("why", re.compile(r"\bwhy\b|\bhow come\b|\bwhat (?:is|are|was|were) the (?:reason|cause)s?\b")),
    ("who", re.compile(rf"^(?:\w+ ){{0,2}}(?:who|whom|whose)\b|{_TOLD} who(?:se)?\b|\bwhich (?:person|man|woman)\b")),
    ("when", re.compile(rf"^(?:\w+ ){{0,2}}when\b|{_TOLD} when\b|\b(?:what|which) (?:year|date|day|month|century)\b")),
    ("where", re.compile(rf"^(?:\w+ ){{0,2}}where\b|{_TOLD} where\b|\b(?:what|which) (?:place|city|country)\b")),
    ("how", re.compile(rf"^(?:\w+ ){{0,2}}how (?!{_MEASURED})|\b(?:me|know|explain) how (?!{_MEASURED})")),
)  # fmt: skip
# Where none of these stands the pattern does not fit.
_CUES = {
    "count": ("how many", "number of", "count"),
    "amount": ("how much",),
    "duration": ("how long", "duration"),
    "frequency": ("often", "frequently"),
    "distance": ("how far",),
    "age": ("how old", "what age"),
    "why": ("why", "how come", "reason", "cause"),
    "who": ("who", "which"),
    "when": ("when", "what", "which"),
    "where": ("where", "what", "which"),
    "how": ("how ",),
}
_BY_CUE = tuple((cue, name, pattern) for name, pattern in _ENGLISH for cue in _CUES[name])
# "When a buyer pays late, who owes money?" does not ask when.
_CLAUSE_FIRST = re.compile(
    r"^\s*(?:when|where|if|after|before|while|once)\s+(?!(?:do|does|did|is|are|was|were|can|could|will|would|should|has|have)\b)"
    r"[^,?]{3,80},\s*(?=(?:who|what|how|which|why|do|does|did|is|are|can|should|will)\b)",
    re.IGNORECASE,
)
_CHINESE = (
    ("who", re.compile("谁|哪位|什么人")),
    ("when", re.compile("什么时候|何时|哪年|哪一年|几点|哪天|什么时间")),
    ("where", re.compile("哪里|哪儿|在哪|何处|什么地方")),
    ("why", re.compile("为什么|为何|什么原因|怎么会")),
    ("duration", re.compile("多久|多长时间")),
    ("count", re.compile("多少[个人家条种位只部款台件间次]|几[个人家条种位只部款台件间次]")),
    ("amount", re.compile("多少钱|价格|票价")),
    ("how", re.compile("怎么[样]?(?!会)|如何|怎样")),
)
# Pairs that may ask the same: "how long ago" is a time, "how do I find" is often a place.
_NEAR = frozenset(
    frozenset(pair.split("/"))
    for pair in word_set(
        "count/amount duration/when how/where duration/distance how/count how/amount duration/how duration/amount"
        " how/frequency count/frequency age/when age/count"
    )
)


def same_question(a: str, b: str) -> bool:
    """Refuse when one text asks who and the other when: each asks for something, and for nothing in common."""
    asked_a, asked_b = asked(a), asked(b)
    if not asked_a or not asked_b or asked_a & asked_b:
        return True
    return any(frozenset((one, other)) in _NEAR for one in asked_a for other in asked_b)


@lru_cache(maxsize=1024)
def asked(text: str) -> set[str]:
    """The kinds of thing that a text asks for."""
    said, chinese = spoken(_CLAUSE_FIRST.sub("", text) if "," in text else text), han(text)
    found = {name for cue, name, pattern in _BY_CUE if cue in said and pattern.search(said)}
    if chinese:
        found |= {name for name, pattern in _CHINESE if pattern.search(chinese)}
    return found
