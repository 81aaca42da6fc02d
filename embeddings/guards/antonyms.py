"""Does one text say the opposite of a word of the other?

`SIDES` (`opposites`) are contrasts, each side a set of words that mean about the same here. A text is refused when it
holds only the one side and the other text only the other. What no table lists is often told by its shape: prefixes and
endings that turn a word round (decrement, payee, hypothermia, careless).
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from embeddings.guards.opposites import HAN_NEUTRAL, HAN_SIDES, SIDES
from embeddings.text import han, has_any, latin_words, plain, spoken, stem, word_set

_PARTICLE = re.compile(
    r"\b(turn|turns|turned|turning|switch|switched|switching|power|powered|toggle|log|logging|sign|signing|slow|speed)\b"
    r"((?:\s+(?!on\b|off\b|in\b|out\b|up\b|down\b)[\w+#]+){0,5}?)\s+(on|off|in|out|up|down)\b"
)
_TURNED_BY = ("turn", "switch", "power", "toggl", "log", "sign", "slow", "speed")
_PARTICLE_STEM = {"switch": "turn", "power": "turn", "toggle": "turn", "logg": "log"}
# "Higher, no, lower": both words are there, and the last one counts.
_TAKES_BACK = re.compile(
    r"\b(?:or rather|i mean|no actually|actually no|no wait|no sorry|or no|um|uh|er|scratch that|make that)\b"
)
_TAKING = word_set("rather mean no um uh er scratch make")
_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "de", "mis", "anti", "counter", "a")
_LEAST_ROOT = {"a": 6}  # typical, atypical; but around, round
# Where one text has the one and the other text the other, before or behind the same root.
_TURNS = tuple(
    tuple(pair.split("/"))
    for pair in word_set(
        "in/de in/ex im/ex im/de hyper/hypo macro/micro inter/intra endo/exo pre/post over/under up/down sub/super"
        " homo/hetero intro/extro ante/post in/out uni/multi mono/poly pro/anti en/de pre/suf max/min e/im"
    )
)
_ENDS = (("er", "ee"), ("or", "ee"), ("ful", "less"))


def _table(rows: str) -> dict[str, list[tuple[int, int]]]:
    """Word -> the rows and sides it stands on."""
    where: dict[str, list[tuple[int, int]]] = {}
    for row, line in enumerate(rows.strip().splitlines()):
        for side, names in enumerate(line.split("|")):
            for word in names.split():
                where.setdefault(word if "_" in word else stem(word), []).append((row, side))
    return where


_WHERE = _table(SIDES)
_PHRASE = re.compile(
    rf"\b(?:{'|'.join(sorted((name.replace('_', ' ') for name in _WHERE if '_' in name), key=len, reverse=True))})\b"
)
_PHRASE_BEGINS = frozenset(name.split("_")[0] for name in _WHERE if "_" in name)
_HAN_WHERE = _table(HAN_SIDES)
_HAN_WORD = re.compile("|".join(sorted(_HAN_WHERE, key=len, reverse=True)))
_HAN_NEUTRAL = re.compile(HAN_NEUTRAL)


def no_opposites(a: str, b: str) -> bool:
    """Refuse when one text says `enable` and the other `disable`."""
    disagree = _contradicts if _takes_back(a) or _takes_back(b) else _clash
    if disagree(_english_sides(a), _english_sides(b)) or _clash(_han_sides(a), _han_sides(b)):
        return False
    links_a, links_b = _links(a), _links(b)
    if any(links_a[pair] != links_b[pair] for pair in links_a.keys() & links_b.keys()):
        return False
    return not _prefixed(set(latin_words(a)), set(latin_words(b)))


_LINKED = re.compile(r"(?=\b([a-z]+) (and|or) (?:the |an? |my |your )?([a-z]+))")


@lru_cache(maxsize=1024)
def _links(text: str) -> dict[frozenset[str], str]:
    """Two words, and whether it is both or one of them: username or email, username and email."""
    lowered = plain(text).lower()
    if not has_any(lowered, (" and ", " or ")):
        return {}
    return {frozenset((left, right)): link for left, link, right in _LINKED.findall(lowered)}


def num_contrasts(a: frozenset[tuple[int, int]], b: frozenset[tuple[int, int]]) -> int:
    """Rows of the tables that two texts, given by their `sides`, stand on different sides of, touched by both."""
    if a == b:
        return 0
    rows = {row for row, _ in a} & {row for row, _ in b}
    return len({row for row, _ in a ^ b if row in rows}) if rows else 0


def sides(text: str) -> frozenset[tuple[int, int]]:
    """The rows and sides that a text stands on; those of Chinese words are negative."""
    return frozenset(_english_sides(text) | {(~row, side) for row, side in _han_sides(text)})


def _clash(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> bool:
    """Whether a row is on one side only in `a`, and on the other side only in `b`."""
    only_a, only_b = a - b, b - a
    return any((row, 1 - side) in only_b and (row, 1 - side) not in a and (row, side) not in b for row, side in only_a)


def _contradicts(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> bool:
    """Whether both texts touch a row, on different sides. For texts that take a word back: "higher, no, lower"."""
    rows = {row for row, _ in a} & {row for row, _ in b}
    return any(row in rows for row, _ in a ^ b)


@lru_cache(maxsize=1024)
def _takes_back(text: str) -> bool:
    return not _TAKING.isdisjoint(latin_words(text)) and _TAKES_BACK.search(spoken(text)) is not None


@lru_cache(maxsize=1024)
def _english_sides(text: str) -> set[tuple[int, int]]:
    said, kept, phrases = spoken(text), list(latin_words(text)), set[str]()
    if has_any(said, _TURNED_BY):
        phrases = {f"{_PARTICLE_STEM.get(stem(m[1]), stem(m[1]))}_{m[3]}" for m in _PARTICLE.finditer(said)}
        kept = _PARTICLE.sub(r" \2 ", said).split()
    if not _PHRASE_BEGINS.isdisjoint(latin_words(text)):
        phrases |= {phrase.replace(" ", "_") for phrase in _PHRASE.findall(said)}
    return {place for word in (*map(stem, kept), *phrases) if word in _WHERE for place in _WHERE[word]}


@lru_cache(maxsize=1024)
def _han_sides(text: str) -> set[tuple[int, int]]:
    said = han(text)
    if not said:
        return set()
    return {place for word in _HAN_WORD.findall(_HAN_NEUTRAL.sub("，", said)) for place in _HAN_WHERE[word]}


def _prefixed(a: set[str], b: set[str]) -> bool:
    """Whether a word of one text is one of the other turned round: supported, unsupported; payer, payee."""
    only_a, only_b = a - b, b - a
    for words, others in ((only_a, only_b), (only_b, only_a)):
        for word in words:
            if len(word) > 4 and not others.isdisjoint(_turned(word)):
                return True
    return False


@lru_cache(maxsize=8192)
def _turned(word: str) -> frozenset[str]:
    return frozenset(_turns(word))


def _turns(word: str) -> Iterator[str]:
    for prefix in _PREFIXES:
        if word.startswith(prefix) and len(word) - len(prefix) >= _LEAST_ROOT.get(prefix, 4):
            yield word[len(prefix) :]
    for pair in _TURNS:
        for one, other in (pair, pair[::-1]):
            if word.startswith(one) and len(word) - len(one) >= 3:
                yield other + word[len(one) :]
    for end, turned in _ENDS:
        if word.endswith(end) and len(word) - len(end) >= 3:
            yield word.removesuffix(end) + turned
