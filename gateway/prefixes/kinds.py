"""What stands where prompts part, by the rules that could take it out. Pure."""

import re
from dataclasses import dataclass
from operator import attrgetter

from gateway.normalise.route import every_rule
from gateway.prefixes.prompt import TOOLS, WALL

# The first that knows it. `dates` stands last: a clock behind a date is a clock.
RULES = {
    name: rule
    for name in ("agent_nonces", "clock", "request_ids", "session_ids", "uuids", "timestamps", "dates")
    for rule in (every_rule()[name],)
}
AROUND = 400  # characters before a difference that a rule may need
SHOWN = 40
MOST = 4  # kinds at one difference

NAMED = ("request_ids", "session_ids", "uuids")

_NAME = re.compile(r"[A-Za-z][\w-]{0,40}\W{0,8}\Z")
_WORD_START = re.compile(r"\S{0,64}\Z")
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:-_.+"


@dataclass(frozen=True, slots=True)
class Spot:
    """What stands at a difference: where it begins in its message, and which rule takes it out."""

    at: int  # characters
    at_byte: int
    kind: str  # a rule; "tools", "code" (a word with digits in it) or "words"
    name: str  # what stands before it, without what changes by itself: the same in every prompt
    words: tuple[str, str, str] | None = None  # before it, here, and in the earlier prompt, where it is not the first


def spots_of(message: bytes, start: int, end: int, role: str, earlier: str) -> list[Spot]:
    """What the bytes from `start` to `end` of a message are, where an earlier prompt has `earlier`.

    First what stands at the start, whatever it is; then what rules know behind it, and what is not the same there.
    """
    before = message[:start].decode("utf-8", "ignore")
    text = before[-AROUND:] + message[start : end + AROUND].decode("utf-8", "ignore")
    at, ahead = min(len(before), AROUND), before[:-AROUND]
    last = at + max(1, len(message[start:end].decode("utf-8", "ignore")))
    spans = [span for rule in RULES.values() for span in rule(text) if span.start < last and span.end > at]
    first = next((span for span in spans if span.start <= at), None)
    if first is not None:
        begins, done, kind = first.start, first.end, first.rule
    else:
        begins, done = at - len(_last_word(text[:at])), at + 1
        word = text[begins : begins + 64].split(maxsplit=1)[:1]
        is_code = bool(word) and re.search(r"\d", word[0]) is not None
        kind = "tools" if role == TOOLS else "code" if is_code else "words"
    found = [_spot(ahead, text, begins, kind, _name(text[:begins], kind))]
    same = earlier + message[end : end + AROUND].decode("utf-8", "ignore")  # what the earlier prompt has here
    for span in sorted(spans, key=attrgetter("start")):
        here = text[span.start : span.end]
        if span.start >= done and here not in earlier and len(found) < MOST:
            name = _name(text[:at] + _of_both(text[at : span.start], same), span.rule)
            others = (same[one.start : one.end] for one in RULES[span.rule](same))
            there = next((other for other in others if other != here), "")
            words = (text[: span.start][-SHOWN:], here[:SHOWN], there[:SHOWN])
            found.append(_spot(ahead, text, span.start, span.rule, name, words))
            done = span.end
    return found


def _of_both(text: str, other: str) -> str:
    """A text without the words that another does not have."""
    return re.sub(r"\S+", lambda word: word[0] if word[0] in other else "#", text)


def _name(before: str, kind: str) -> str:
    """What tells a difference from others of its kind: an id's name, else the words before it but those with digits."""
    if kind in NAMED and (found := _NAME.search(before)) is not None:
        return found[0]
    return re.sub(r"(?:\S*\d\S*|#)(?:\s+(?:\S*\d\S*|#))*", "#", before)[-24:]


def words_at(prompt: bytes, start: int, end: int) -> tuple[str, str]:
    """A few words before a difference, and what stands there, in whole words."""
    before = prompt[max(WALL, start - AROUND) : start].decode("utf-8", "ignore")
    word = _last_word(before)
    behind = prompt[end : end + AROUND].decode("utf-8", "ignore")
    here = word + prompt[start:end].decode("utf-8", "ignore") + behind[: len(behind) - len(behind.lstrip(_LETTERS))]
    return before[: len(before) - len(word)][-SHOWN:], here[:SHOWN]


def _last_word(text: str) -> str:
    found = _WORD_START.search(text)
    return "" if found is None else found[0]


def _spot(ahead: str, text: str, at: int, kind: str, name: str, words: tuple[str, str, str] | None = None) -> Spot:
    at_byte = len(ahead.encode("utf-8", "surrogatepass")) + len(text[:at].encode("utf-8", "surrogatepass"))
    return Spot(len(ahead) + at, at_byte, kind, name, words)
