"""The named rules: each finds the text of one kind that changes from request to request by itself. Pure.

Every rule first looks for a few literal characters, which takes no time in a prompt that has none of it, and then only
around them. No pattern can be read in two ways, repetitions are bounded or possessive: time is linear in the text.
Shapes are those seen on the wire: Claude Code (`x-anthropic-billing-header: ... cch=65abc;`), OpenHands, pi,
AnythingLLM and Open WebUI (times of day in system prompts), agent frameworks (request, session and trace ids).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

ID = "(id)"
MAX_SPOTS = 4096
MIN_ID_CHARS = 6  # shorter ones are numbers that mean something


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text, and what stands there instead."""

    start: int
    end: int
    to: str
    rule: str


Finds = Callable[[str], Iterator[Span]]

_BILLING = re.compile(
    r"x-anthropic-billing-header:(?:[ \t]*+[A-Za-z_]{1,32}+=[^;\s]{0,128}+(?:;|(?=\s)|\Z)){1,12}+[ \t]*+\n?"
)
_CCH = re.compile(r"cch=(?<![A-Za-z0-9_]cch=)[0-9A-Fa-f]{3,32}+(?![0-9A-Za-z_]);?")


def agent_nonces(text: str) -> Iterator[Span]:
    """The billing line of coding agents, and a `cch=` nonce in a field of its own: no part of what a model is told."""
    for found in _BILLING.finditer(text):
        yield Span(found.start(), found.end(), "", "agent_nonces")
    for found in _CCH.finditer(text):
        if _is_field(text, found.start(), found.end() - (found[0][-1] == ";")):
            yield Span(found.start(), found.end(), "", "agent_nonces")


# What stands between the name of an id and the id: `request_id: x`, `"requestId": "x"`, `<request-id>x`, `ID is x`.
_TIE = r"[\"'`*]{0,3}\s{0,3}(?:[:=>：]|is\s)"
_ID_TIES = (re.compile("d(?<=[iI]d)" + _TIE), re.compile("D(?<=[iI]D)" + _TIE))
_NONCE_TIES = (re.compile("nce" + _TIE), re.compile("NCE" + _TIE))
_BEFORE, _BEHIND = 40, 160  # characters around a tie in which the name begins and the id ends
_VALUE = r"[\"'`*]{0,3}\s{0,3}[\"'`*]{0,3}(?P<id>(?=[0-9A-Za-z_.:-]{0,63}[0-9])[0-9A-Za-z](?:[0-9A-Za-z_.:-]{4,126}+)?)"
_NAMED = r"(?<![A-Za-z])(?:x[_-])?(?:%s)[\s_-]?id" + _TIE + r"\s{0,3}" + _VALUE
# No message, event, transaction, order or customer: what these ids name, a prompt is about.
_REQUESTS = "request|req|trace|span|correlation|invocation"
_SESSIONS = "session|conversation|chat|thread|run"
_REQUEST_ID = re.compile(_NAMED % _REQUESTS, re.IGNORECASE)
_NONCE = re.compile(r"(?<![A-Za-z])nonce" + _TIE + r"\s{0,3}" + _VALUE, re.IGNORECASE)
_SESSION_ID = re.compile(_NAMED % _SESSIONS, re.IGNORECASE)
NAMES = frozenset(f"{_REQUESTS}|{_SESSIONS}|rq|tr|corr|inv|sess|conv|chatcmpl|id|nonce".split("|"))
_ID_WORD = re.compile(r"ids?(?![a-z])|nonces?(?![a-z])")
_IDS_OF = {
    rule: re.compile(
        rf"(?:(?<![a-z])(?:{names})[\s_-]?(?:uu|gu)?|(?<![a-z])(?:the|this|that|your|its)\s|[\u4e00-\u9fff]\s?)ids?\Z|(?<![a-z])ids\Z|nonces?\Z"
    )
    for rule, names in (("request_ids", _REQUESTS), ("session_ids", _SESSIONS), ("uuids", f"{_REQUESTS}|{_SESSIONS}"))
}
_TAKEN_OUT = re.compile(_TIE + rf"[\"'`*\s]{{0,9}}{re.escape(ID)}")


def speaks_of_ids(folded: str, rule: str) -> bool:
    """Whether a text, casefolded, says the name of such an id other than where one was taken out: "if it is even"."""
    return any(
        _TAKEN_OUT.match(folded, word.end()) is None
        and _IDS_OF[rule].search(folded[max(0, word.start() - _BEFORE) : word.end()]) is not None
        for word in _ID_WORD.finditer(folded)
    )


def request_ids(text: str) -> Iterator[Span]:
    """Ids of requests and traces, and nonces, by their names."""
    yield from _ids(text, "request_ids", _REQUEST_ID, _ID_TIES)
    yield from _ids(text, "request_ids", _NONCE, _NONCE_TIES)


def session_ids(text: str) -> Iterator[Span]:
    """Ids of sessions, conversations, threads and runs, by their names."""
    return _ids(text, "session_ids", _SESSION_ID, _ID_TIES)


def _ids(text: str, rule: str, named: re.Pattern[str], ties: tuple[re.Pattern[str], ...]) -> Iterator[Span]:
    for start, end in regions(text, ties, _BEFORE, _BEHIND):
        for found in named.finditer(text, start, end):
            last = found.end("id")
            while text[last - 1] in ".:-":  # the end of a sentence is no part of an id
                last -= 1
            if (
                last - found.start("id") >= MIN_ID_CHARS
                and _is_made_up(text[found.start("id") : last])
                and _is_field(text, found.start(), last)
            ):
                yield Span(found.start("id"), last, ID, rule)


_UUID_MIDDLE = re.compile(r"-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-")
_UUID = re.compile(r"(?<![0-9A-Za-z-])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z-])")
_UUID_NAME = re.compile(
    rf"(?<![A-Za-z])(?:(?:x[_-])?(?:{_REQUESTS}|{_SESSIONS})[\s_-]?(?:uu|gu)?id|nonce){_TIE}[\"'`*\s]{{0,6}}\Z",
    re.IGNORECASE,
)


def uuids(text: str) -> Iterator[Span]:
    """UUIDs under the name of a request, a trace or a session: any other may be a customer's."""
    for middle in _UUID_MIDDLE.finditer(text):
        if middle.start() >= 8 and (found := _UUID.match(text, middle.start() - 8)) is not None:
            named = _UUID_NAME.search(text[max(0, found.start() - _BEFORE) : found.start()])
            begins = 0 if named is None else found.start() - min(_BEFORE, found.start()) + named.start()
            if named is not None and _is_field(text, begins, found.end()):
                yield Span(found.start(), found.end(), ID, "uuids")


_FIELD_BEGINS = re.compile(r"(?:\A|[\n.;,|&?(){}\[\]<>\"'`*#–—-]|[:=][ \t]?[^\s:=]{1,128})[ \t]*\Z")
_NEXT_FIELD = r"[\"'`*]{0,2}[A-Za-z_-]{1,40}[\"'`*]{0,2}[:=]"
_FIELD_ENDS = re.compile(
    rf"[\"'`*]{{0,3}}[ \t]*(?:[.!;](?:\s|\Z)|[)}}\]<>]|[,;|&]?[ \t]*(?:\Z|[\n\r({{\[<]|{_NEXT_FIELD}))"
)


def _is_field(text: str, start: int, end: int) -> bool:
    """Whether a name and its value stand alone, on a line or between other fields: no words speak of them."""
    begins = _FIELD_BEGINS.search(text[max(0, start - 160) : start]) is not None
    return begins and _FIELD_ENDS.match(text[end : end + 80]) is not None


def _is_made_up(value: str) -> bool:
    """Whether a machine drew an id: every part has a digit or is hexadecimal, but for names of such ids; no counter."""
    parts = [part for part in re.split(r"[_.:-]+", value) if part.lower() not in NAMES]
    is_counter = re.fullmatch(r"[A-Za-z]*\d*", "".join(parts)) is not None  # TX100001 comes before TX100002, and is odd
    return not is_counter and all(re.search(r"\d|^[0-9A-Fa-f]{4,}$", part) for part in parts)


def regions(
    text: str, spots: Iterable[re.Pattern[str]], before: int, behind: int, most: int = MAX_SPOTS
) -> Iterator[tuple[int, int]]:
    """What lies around the places where `spots` match; no character is in two regions. More than `most`: nothing."""
    start = end = -1
    found = sorted(spot.span() for pattern in spots for spot in pattern.finditer(text))
    for left, right in found if len(found) <= most else ():
        if end < 0 or left - before > end:
            if end > 0:
                yield start, end
            start = max(0, left - before)
        end = max(end, min(len(text), right + behind))
    if end > 0:
        yield start, end
