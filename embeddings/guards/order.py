"""Do two texts say the same words in another order: dog bites man, man bites dog?

Only words that carry meaning count. A phrase that moved to the front ("In Python, how ...") is a rotation and harmless;
so are the two sides of an `and`. Everything else that changes places changes roles.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from embeddings.lexical import bare
from embeddings.text import CARRIES_NO_MEANING, han, plain, stem, word_set, words

# They carry no meaning of their own, and where they stand decides what the others say. "us" may be a country.
_PLACED = word_set("us before after than if minus over")
_DENIAL = word_set("not no never without")  # placed in one clause or the other; inside a clause it may move
_JOINS_CLAUSES = word_set("if but and or that because when while although")
_LEFT_OUT, _LEFT_OUT_OF_CLAUSES = CARRIES_NO_MEANING - _PLACED, CARRIES_NO_MEANING - _PLACED - _DENIAL
_SAME_BOTH_WAYS = word_set("and or vs versus nor")
_JOINING = _SAME_BOTH_WAYS | word_set("a an the my your both")
_DOUBLED = re.compile(r"([bdgmnprt])\1$")  # running, run
# Irregular verbs are one word in every tense, as the regular ones are by their stem.
_IRREGULAR = dict(
    pair.split("/")
    for pair in word_set(
        """
ate/eat eaten/eat began/begin begun/begin bit/bite bitten/bite bought/buy broke/break broken/break brought/bring
  built/build came/come caught/catch chose/choose chosen/choose did/do done/do drank/drink drunk/drink drove/drive
  driven/drive fed/feed fell/fall fallen/fall felt/feel fought/fight found/find flew/fly flown/fly forgot/forget
  forgotten/forget gave/give given/give got/get gotten/get grew/grow grown/grow heard/hear held/hold hid/hide
  hidden/hide kept/keep knew/know known/know led/lead left/leave lent/lend lost/lose made/make met/meet paid/pay
  ran/run rode/ride ridden/ride rose/rise risen/rise said/say sang/sing sung/sing sank/sink sat/sit saw/see seen/see
  sent/send shot/shoot showed/show shown/show slept/sleep sold/sell spent/spend spoke/speak spoken/speak stole/steal
  stolen/steal stood/stand struck/strike swam/swim swum/swim taught/teach threw/throw thrown/throw told/tell
  took/take taken/take thought/think understood/understand went/go gone/go woke/wake won/win wore/wear worn/wear
  wrote/write written/write
"""
    )
)
_PARTICIPLES = frozenset(_IRREGULAR) - word_set(
    "ate began bit broke came chose did drank drove fell flew forgot gave grew hid knew ran rode rose sang sank saw"
    " showed spoke stole swam threw took went woke wore wrote left"
)
_BE = word_set("is are was were be been being get gets got")
_DOERS = word_set("i he she we")
_BEGINS = _BE | word_set("do does did can could should will would may might must has have had")
_JUDGED = re.compile(r"\b(?:is|was|would|will) (?:it|be) (\w+) (?:for (?:\w+ ){1,3})?to \w")
_DIRECTING = word_set("to into in than minus over before after from as without")
_DIRECTED = re.compile(rf"(?<!\S)(\S{{1,40}}) ({'|'.join(sorted(_DIRECTING))}) (?:the |a |an )?(\S+)")
_LOOSE = word_set("in on at of for with using")
_LINKS = _LOOSE | word_set("to into than from by over before after against minus without under behind")
_ARTICLES = word_set("a an the my your")
_MONTHS = word_set("jan feb mar apr may jun jul aug sep oct nov dec")
_ENDING = word_set("to into onto from")
_TOWARDS = re.compile(rf"\b({'|'.join(sorted(_ENDING))}) (?:the |an? |my |your )?(\w+)")
_FROM_TO = re.compile("从(.{1,12}?)[到至去飞](.{1,12}?)(?=[的要需坐怎多有？?，,。]|$)")
_HAN_WITHOUT_MEANING = re.compile("[的了吗呢啊呀吧请问是什么怎样如何为什么多少]")


def same_order(a: str, b: str) -> bool:
    """Refuse when two texts differ only in who does what to whom, or in which direction."""
    if _is_mostly_han(a) and _is_mostly_han(b):
        return _same_han_order(a, b)
    if _turns(_ends(a), _ends(b)):
        return False
    if _directions(a) & {(right, link, left) for left, link, right in _directions(b)}:
        return False
    voiced_a, voiced_b = _voiced(a), _voiced(b)
    if (voiced_a is None) != (voiced_b is None):
        return _same_but_for_voice(a, voiced_a, b, voiced_b)
    if _agree(_content(a, _left_out(a)), _content(b, _left_out(b))) and _agree(_content(a), _content(b)):
        return True
    return _same_but_for_phrases(a, b) or _same_but_for_judgement(a, b)


@lru_cache(maxsize=1024)
def _left_out(text: str) -> frozenset[str]:
    return _LEFT_OUT if _JOINS_CLAUSES.isdisjoint(words(text)) else _LEFT_OUT_OF_CLAUSES


def _agree(a: Sequence[str], b: Sequence[str]) -> bool:
    if a == b or len(a) < 2 or sorted(a) != sorted(b):
        return True
    return _is_rotation(a, b)


@lru_cache(maxsize=1024)
def _is_mostly_han(text: str) -> bool:
    return not text.isascii() and len(han(text)) * 2 > len(plain(text).replace(" ", ""))


@lru_cache(maxsize=1024)
def _content(text: str, left_out: frozenset[str] = CARRIES_NO_MEANING) -> list[str]:
    """Stems of the words that carry meaning; the two sides of an `and` in alphabetical order."""
    said = words(text)
    row = [_cut(word) for word in said if word not in left_out]
    if _SAME_BOTH_WAYS.isdisjoint(said):
        return row
    places = [n for n, word in enumerate(said) if word not in left_out]
    for n in range(len(row) - 1):
        between = said[places[n] + 1 : places[n + 1]]
        if _SAME_BOTH_WAYS & set(between) and set(between) <= _JOINING and row[n] > row[n + 1]:
            row[n], row[n + 1] = row[n + 1], row[n]
    return row


def _same_but_for_voice(a: str, voiced_a: list[str] | None, b: str, voiced_b: list[str] | None) -> bool:
    """Whether one text says in the passive what the other says: Rome conquered Carthage, it was conquered by Rome."""
    row_a, row_b = voiced_a or _content(a), voiced_b or _content(b)
    if sorted(row_a) != sorted(row_b):
        return True
    if _names_doer(b if voiced_a is not None else a, row_a):
        return False
    is_by = "by" in words(a if voiced_a is not None else b)
    return row_a == row_b or (not is_by and len(row_a) > 2 and _is_rotation(row_a, row_b))


def _names_doer(text: str, row: Sequence[str]) -> bool:
    """Whether an active text tells who did it, "I stole a card"; "how do I sort" means anybody."""
    said = words(text)
    return any(
        said[n] in _DOERS and _cut(said[n + 1]) in row and (n == 0 or said[n - 1] not in _BEGINS)
        for n in range(len(said) - 1)
    )


@lru_cache(maxsize=1024)
def _voiced(text: str) -> list[str] | None:
    """The words of content of a passive in the order of the active: who does it, the verb, to whom; None otherwise."""
    said = words(text)
    verb = _participle(said)
    if verb is None:
        return None
    after = next((n for n in range(verb + 1, len(said)) if said[n] == "by"), None)
    end = len(said) if after is None else next((n for n in range(after + 1, len(said)) if said[n] in _LINKS), len(said))
    agent = said[after + 1 : end] if after is not None else ()
    rest = [*said[verb + 1 : after], *said[end:]] if after is not None else said[verb + 1 :]
    begin = next((n for n in range(verb) if said[n] in _BEGINS), 0)
    row = [*said[:begin], *agent, said[verb], *said[begin:verb], *rest]
    return [_cut(word) for word in row if word not in CARRIES_NO_MEANING]


def _participle(said: Sequence[str]) -> int | None:
    """Where the first participle stands that has a form of "be" before it."""
    if _BE.isdisjoint(said):
        return None
    has_be = False
    for n, word in enumerate(said):
        if has_be and (word in _PARTICIPLES or (word[-2:] == "ed" and len(word) > 4)):
            return n
        has_be = has_be or word in _BE
    return None


def _same_but_for_judgement(a: str, b: str) -> bool:
    """ "Is it legal to record a call?", "Is recording a call legal?": what is said of the deed may stand behind it."""
    judged = {_cut(found[1]) for text in (a, b) if (found := _JUDGED.search(" ".join(words(text))))}
    if len(judged) != 1:
        return False
    row_a, row_b = ([word for word in _content(text) if word not in judged] for text in (a, b))
    return row_a == row_b


@lru_cache(maxsize=8192)
def _cut(word: str) -> str:
    return _DOUBLED.sub(r"\1", stem(_IRREGULAR.get(word, word)))


def _same_but_for_phrases(a: str, b: str) -> bool:
    """Whether only phrases moved: a chat in Telegram, a Telegram chat; at noon on Monday, on Monday at noon."""
    if _DENIAL & {*words(a), *words(b)}:
        return False
    (core_a, ruled_a), (core_b, ruled_b) = _phrases(a), _phrases(b)
    only_a, only_b = ruled_a - ruled_b, ruled_b - ruled_a
    if any(link not in _LOOSE for link, _ in ruled_a | ruled_b):
        return False
    if {word for _, word in only_a} & set(core_a) or {word for _, word in only_b} & set(core_b):
        return False
    moved_a, moved_b = {word for _, word in only_b}, {word for _, word in only_a}
    core_a = [word for word in core_a if word not in moved_a]
    core_b = [word for word in core_b if word not in moved_b]
    if len(only_a) and len(only_b):
        return False  # father of the king, king of the father
    return core_a == core_b


@lru_cache(maxsize=1024)
def _phrases(text: str) -> tuple[list[str], set[tuple[str, str]]]:
    """The words that no preposition rules, and those that one does, up to the next word without meaning."""
    core: list[str] = []
    ruled: set[tuple[str, str]] = set()
    link = ""
    said = words(text)
    is_dated = not _MONTHS.isdisjoint(word[:3] for word in said)  # its numbers and months are read elsewhere
    for word in said:
        if word in _LINKS:
            link = word
        elif word in CARRIES_NO_MEANING:
            link = link if word in _ARTICLES else ""
        elif not (is_dated and (word.isdigit() or word[:3] in _MONTHS)):
            cut = _cut(word)
            if link:
                ruled.add((link, cut))
            else:
                core.append(cut)
    return core, ruled


def _is_rotation(a: Sequence[str], b: Sequence[str]) -> bool:
    return any(list(a[i:]) + list(a[:i]) == list(b) for i in range(1, len(a)))


@lru_cache(maxsize=1024)
def _directions(text: str) -> set[tuple[str, str, str]]:
    said = words(text)
    if _DIRECTING.isdisjoint(said):
        return set()
    return {
        (stem(left), link, stem(right))
        for left, link, right in _DIRECTED.findall(" ".join(said))
        if left not in CARRIES_NO_MEANING and right not in CARRIES_NO_MEANING and left != right
    }


@lru_cache(maxsize=1024)
def _ends(text: str) -> set[tuple[bool, str]]:
    """What is gone to (True), and what from (False)."""
    said = words(text)
    if _ENDING.isdisjoint(said):
        return set()
    return {
        (link != "from", stem(place))
        for link, place in _TOWARDS.findall(" ".join(said))
        if place not in CARRIES_NO_MEANING
    }


def _turns(a: set[tuple[bool, str]], b: set[tuple[bool, str]]) -> bool:
    return any((not is_to, place) in b - a for is_to, place in a - b)


def _same_han_order(a: str, b: str) -> bool:
    if {(x, y) for x, y in _FROM_TO.findall(a)} & {(y, x) for x, y in _FROM_TO.findall(b)}:
        return False
    first, second = (_HAN_WITHOUT_MEANING.sub("", "".join(words(text))) for text in (a, b))
    if first == second or len(first) < 3 or sorted(first) != sorted(second):
        return True
    if bare(a) == bare(b) != "":
        return True  # whose parts have one order in the bare form
    return second in first + first and not re.search("[到比给被把向]|对(?!不起)", first)
