"""Does one text deny what the other says?"""

import re
from functools import lru_cache

from embeddings.text import CARRIES_NO_MEANING, han, latin_words, spoken, stem, word_set

_STRONG = word_set(
    "not no never without nobody nothing nowhere none nor neither except excluding excluded exclude unable besides"
    " absence non"
)
# They deny softly: "my card is not working" and "my card was declined" ask the same.
_WEAK = word_set(
    "fail fails failed failing broken break lack lacks lacking missing avoid avoids avoiding prevent stop"
    " stopped refuse refused decline declined reject rejected block blocked wrong stuck unsuccessful impossible"
    " rather instead only problem problems trouble unrecognized unrecognised"
    " unclear uncertain unsure absent lack optional unknown unauthorized denied deny"
)
# Asking politely or saying what one does not know denies nothing.
_IDIOM = re.compile(
    r"\b(?:why (?:do|does) not (?:you|we)|(?:could|can|would|will|do) (?:not you|you not)|whether or not|or not|"
    r"if not|no problem|no matter|no idea|not only|not sure|i (?:do|did) not (?:know|understand|get)|no one else|"
    r"(?:or|um|uh|er|uhm) no|am i not|is not it|not to mention|"
    r"^(?:yes|no)(?= (?!\w+$))|why not|no later than|no more than|no less than|it does not matter)\b|\bno(?= \d)"
)
# "Winters, no, actually summers": the speaker corrects himself, nothing is denied.
_INTERJECTION = re.compile(
    r"\bno (?=(?:actually|wait|sorry|make|i|rather|the|an?|what|how|which|who|when|where|why|in|on|of|to|"
    r"for|at|by|from|it|is|let|scratch|that|thanks|thank|tell|instead|not)\b)"
)
_HAN_NOT = re.compile("[不没无未勿]|别(?![人的墅名])|除了|除去|以外|除外|禁止")
_HAN_IDIOM = re.compile(
    "(.)[不没]\\1|有没有|是不是|能不能|可不可以|不过|不错|不仅|不但|不只|不光|差不多|不管|不论|不好意思|要不|不如|不客气|没问题|没关系|没事|"
    "不见不散|不知道?|不太?清楚|不太?懂|不太?明白|不同|无论|无锡|无线|无人机|无数|无限|特别|区别|分别|级别|性别|类别|识别|个别|告别|别墅|"
    "未来|非常|对不起|来不及|不得不|不一样|了不起|不少|不久|不断|不超过|不少于|不低于|不高于|除了"
)


def same_polarity(a: str, b: str) -> bool:
    """Refuse when one text is negated and the other is not: not, without, except, instead of; 不, 没, 无, 别, 未."""
    if not (_agree(_english(a), _english(b)) or _is_told_otherwise(a, b)):
        return False
    return _chinese(a) == _chinese(b)


# What somebody complains of can be told without a denial, in other words: "I can't find my card", "where is my card".
_COMPLAINT = re.compile(
    r"\bi (?:still )?(?:can|could|do|did|have|am|was|will|would) not\b|\b(?:it|they|that|he|she) (?:still )?"
    r"(?:is|was|does|did|has|have|are|were|will|would|can|could) not\b"
    r"|\b(?:my|the|this) (?:\w+ ){1,3}(?:is|was|does|did|has|have|are|were|will|would|can|could) not\b"
)
_ALIKE = 0.5


def _is_told_otherwise(a: str, b: str) -> bool:
    """Whether one text denies in a complaint alone, and the other says it in words of its own."""
    said_a, said_b = (" ".join(latin_words(text)) for text in (a, b))
    without = [set(_COMPLAINT.sub(" ", _IDIOM.sub(" ", said)).split()) & _STRONG for said in (said_a, said_b)]
    if any(without):
        return False
    one, other = ({stem(word) for word in said.split()} - CARRIES_NO_MEANING - _STRONG for said in (said_a, said_b))
    return len(one & other) < _ALIKE * len(one | other)


def denial(text: str) -> tuple[bool, bool]:
    """Whether a text denies, and whether it denies softly."""
    strong, weak = _english(text)
    return strong or _chinese(text), weak


_TELLING = _STRONG | _WEAK | word_set("other place lieu")
_INSTEAD = re.compile(r"\b(?:instead of|rather than|other than|in (?:place|lieu) of)\b")


@lru_cache(maxsize=1024)
def _english(text: str) -> tuple[bool, bool]:
    """Whether a text denies, and whether it denies softly."""
    if _TELLING.isdisjoint(latin_words(text)):
        return False, False
    said = _INSTEAD.sub("except", spoken(text))
    kept = set(_INTERJECTION.sub(" ", _IDIOM.sub(" ", said)).split())
    return bool(kept & _STRONG), bool(kept & _WEAK)


def _agree(a: tuple[bool, bool], b: tuple[bool, bool]) -> bool:
    if a[0] == b[0]:
        return True
    denied, other = (a, b) if a[0] else (b, a)
    return other[1] and not denied[1]


@lru_cache(maxsize=1024)
def _chinese(text: str) -> bool:
    said = han(text)
    if not said:
        return False
    except_some = "除了" in said and not re.search("除了.*[还也都]", said)
    return except_some or bool(_HAN_NOT.search(_HAN_IDIOM.sub("，", said)))
