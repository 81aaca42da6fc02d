"""Which texts of a request are looked at, and what becomes of the request.

For the key alone: the backend is sent what came. The key says where something was taken out and by which rule, so a
request that had nothing there is another one, whatever it spells. For the backend too: the key is of what is sent,
so two requests are one only where the model cannot tell them apart either.

Whatever the rules find, the rest of the prompt has a say (`caution.py`): an id that stands elsewhere, too, stays, and
so does a clock that the rest of the prompt may need.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from backends.chat import ChatRequest, Fields
from gateway.metrics import Sample
from gateway.normalise.caution import (
    CLOCKS,
    Rest,
    is_to_the_second,
    may_ask_time,
    names_hours,
    speaks_of_hours,
    strings,
)
from gateway.normalise.clock import clock_rules
from gateway.normalise.route import NormaliseRoute
from gateway.normalise.rules import Finds, Span
from gateway.normalise.text import Cut, take_out

MARKS = "x-twicetold-normalised"  # the field of a canonical request that says where something was taken out
MAX_CHARS = 1 << 18  # of all texts that are looked at; a request with more is left as it is
MAX_ROUNDS = 4  # of putting ids back because others were
INSTRUCT = ("system", "developer", "user")  # roles whose words tell a model when something holds
TOLD = ("tools", "functions", "response_format")  # fields of a request that a model reads, beside its messages
LAST_QUESTIONS = 3  # of a user: what one of them asked of the clock may still be talked about


@dataclass(frozen=True, slots=True)
class Removal:
    """Something taken out of one message; `part` is of a content that is a list."""

    message: int
    role: str
    part: int | None
    cut: Cut


@dataclass(frozen=True, slots=True)
class Normalised:
    """A request for its key, and the one to send."""

    keyed: ChatRequest
    sent: ChatRequest
    removals: tuple[Removal, ...] = ()
    is_sent: bool = False  # without what was taken out
    rested: str | None = None  # why rules about the clock were not asked

    @property
    def is_key_apart(self) -> bool:
        """Whether the key is of another text than the backend reads: not every answer may be shared under it."""
        return bool(self.removals) and not self.is_sent

    @property
    def cuts(self) -> tuple[Cut, ...]:
        return tuple(removal.cut for removal in self.removals)


class Normaliser:
    """Takes volatile text out of requests, and counts."""

    def __init__(self, routes: Sequence[NormaliseRoute] = ()) -> None:
        self._routes = tuple(routes)
        self._removed: Counter[tuple[str, str]] = Counter()
        self._rested: Counter[str] = Counter()

    def of(self, request: ChatRequest, tenant: str, namespace: str) -> Normalised:
        """The request as the first route that matches has it; untouched where none does."""
        route = next((one for one in self._routes if one.matches(tenant, request.model, namespace)), None)
        return Normalised(request, request) if route is None else self._normalised(request, route)

    def samples(self) -> Iterator[Sample]:
        """What was taken out, for Prometheus."""
        for (rule, place), count in self._removed.items():
            labels = (("rule", rule), ("place", place))
            yield Sample("twicetold_normalised", "Volatile texts taken out of prompts", count, labels, is_total=True)
        for reason, count in self._rested.items():
            help_ = "Requests whose clock stayed finer than was asked for, as it may matter to the answer"
            yield Sample("twicetold_normalise_rested", help_, count, (("reason", reason),), is_total=True)

    def count(self, found: Normalised) -> None:
        """Count a request that is really asked."""
        place = "prompt" if found.is_sent else "key"
        for removal in found.removals:
            self._removed[removal.cut.rule, place] += 1
        if found.rested is not None:
            self._rested[found.rested] += 1

    def _normalised(self, request: ChatRequest, route: NormaliseRoute) -> Normalised:
        texts = list(_texts(request.messages, route.roles))
        if not texts or sum(len(text) for *_, text in texts) > MAX_CHARS:
            return Normalised(request, request)
        rested = None
        for rules, is_asked in _stages(route):
            found = _nonces_out(request, texts, rules.values())
            if not any(removal.cut.rule in CLOCKS for _, some in found for removal in some):
                break
            reason = _reason(request, texts, [left for left, _ in found], is_asked=is_asked)
            rested = rested or reason
            if reason is None:
                break
        removals = tuple(removal for _, some in found for removal in some)
        if not removals:
            return Normalised(request, request, rested=rested)
        without = _messages(request.messages, texts, [left for left, _ in found], keeps_empty=not route.is_sent)
        if route.is_sent:
            sent = replace(request, messages=without)
            return Normalised(sent, sent, removals, is_sent=True, rested=rested)
        marks = [[one.message, one.part, one.cut.at, one.cut.rule] for one in removals]
        keyed = replace(request, messages=without, params={**request.params, MARKS: marks})
        return Normalised(keyed, request, removals, rested=rested)


Place = tuple[int, str, int | None, str]  # message, its role, the part of its content, the text there


def _texts(messages: Sequence[Fields], roles: frozenset[str]) -> Iterator[Place]:
    """The texts that may be looked at: of these roles, and never of the user's last message."""
    asking = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    for at, message in enumerate(messages):
        role = message.get("role")
        if role not in roles or at == asking:
            continue
        content = message.get("content")
        if isinstance(content, str):
            yield at, role, None, content
        elif isinstance(content, list | tuple):
            for number, part in enumerate(content):
                if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
                    yield at, role, number, part["text"]


def _stages(route: NormaliseRoute) -> Iterator[tuple[Mapping[str, Finds], bool]]:
    """The rules; where the prompt may need what they take out, the clock to the minute; where it needs that, none.

    With each, whether the prompt has to be shown to do without: to the minute it need not be.
    """
    clocks = {name: rule for name, rule in route.rules.items() if name in CLOCKS}
    others = {name: rule for name, rule in route.rules.items() if name not in CLOCKS}
    if route.clock_to != "minute" or "dates" in clocks:
        yield route.rules, True
        clocks = {name: rule for name, rule in clock_rules("minute").items() if name in clocks and name != "dates"}
    yield others | clocks, False
    yield others, False


def _nonces_out(
    request: ChatRequest, texts: Sequence[Place], rules: Collection[Finds]
) -> list[tuple[str, list[Removal]]]:
    """What the rules take out of the texts, but for what the rest of the prompt speaks of."""
    kept = set[str]()
    for _ in range(MAX_ROUNDS):
        found = _without(texts, rules, kept)
        cuts = {removal.cut for _, some in found for removal in some if removal.cut.rule not in CLOCKS}
        if not cuts:
            return found
        without = _messages(request.messages, texts, [left for left, _ in found], keeps_empty=True)
        rest = Rest(strings([without, [request.params.get(name) for name in TOLD]]))
        spoken = {cut.text for cut in cuts if rest.speaks_of(cut)}
        if not spoken:
            return found
        kept |= spoken
    return _without(texts, (), kept)


def _without(
    texts: Sequence[Place], rules: Collection[Finds], kept: Collection[str]
) -> list[tuple[str, list[Removal]]]:
    found = []
    for at, role, part, text in texts:
        left, cuts = take_out(text, [partial(_but_for, rule=rule, kept=kept) for rule in rules] if kept else rules)
        found.append((left, [Removal(at, role, part, cut) for cut in cuts]))
    return found


def _but_for(text: str, rule: Finds, kept: Collection[str]) -> Iterator[Span]:
    return (span for span in rule(text) if text[span.start : span.end] not in kept)


def _messages(
    messages: Sequence[Fields], texts: Sequence[Place], left: Sequence[str], *, keeps_empty: bool
) -> tuple[Fields, ...]:
    """The messages with what is left of their texts. What is sent holds no message or part that is empty now."""
    new: dict[int, Fields | None] = {}
    parts: dict[int, dict[int, str]] = {}
    for (at, _, part, text), rest in zip(texts, left, strict=True):
        if rest != text and part is None:
            is_empty = not rest.strip() and not keeps_empty and at < len(messages) - 1
            new[at] = None if is_empty else {**messages[at], "content": rest}
        elif rest != text and part is not None:
            parts.setdefault(at, {})[part] = rest
    for at, changed in parts.items():
        content = [
            {**part, "text": changed[number]} if number in changed else part
            for number, part in enumerate(messages[at]["content"])
            if number not in changed or keeps_empty or changed[number].strip()
        ]
        if content or at < len(messages) - 1:
            new[at] = {**messages[at], "content": content} if content else None
    return tuple(kept for at, message in enumerate(messages) if (kept := new.get(at, message)) is not None)


def _reason(request: ChatRequest, texts: Sequence[Place], left: Sequence[str], *, is_asked: bool) -> str | None:
    """Why the clock stays: without it a model could not tell what it is asked, or an answer would be another one."""
    without = _messages(request.messages, texts, left, keeps_empty=True)
    told = list(strings([request.params.get(name) for name in TOLD]))
    if not is_asked:
        return "names_seconds" if any(map(is_to_the_second, [*strings(without), *told])) else None
    asked = [_said(message) for message in without if message.get("role") == "user"]
    if any(map(may_ask_time, asked[-LAST_QUESTIONS:])):
        return "may_ask_time"
    ours = [_said(message) for message in without if message.get("role") in INSTRUCT]
    others = strings([message for message in without if message.get("role") not in INSTRUCT])
    is_named = any(map(names_hours, ours)) or any(map(speaks_of_hours, [*others, *told]))
    return "names_hours" if is_named else None


def _said(message: Fields) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
