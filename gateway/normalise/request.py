"""Which texts of a request are looked at, and what becomes of the request.

For the key alone: the backend is sent what came. The key says where something was taken out and by which rule, so a
request that had nothing there is another one, whatever it spells. For the backend too: the key is of what is sent,
so two requests are one only where the model cannot tell them apart either.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backends.chat import ChatRequest, Fields
from gateway.metrics import Sample
from gateway.normalise.caution import CLOCKS, leans_on_clock, needs_clock
from gateway.normalise.route import NormaliseRoute
from gateway.normalise.rules import Finds
from gateway.normalise.text import Cut, take_out

MARKS = "x-twicetold-normalised"  # the field of a canonical request that says where something was taken out
MAX_CHARS = 1 << 18  # of all texts that are looked at; a request with more is left as it is
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
            help_ = "Requests whose clock stayed in, as it may matter to the answer"
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
        found = _without(texts, route.rules.values())
        if any(removal.cut.rule in CLOCKS for _, removals in found for removal in removals):
            rested = _reason(request.messages, is_sent=route.is_sent)
            if rested is not None:
                found = _without(texts, [rule for name, rule in route.rules.items() if name not in CLOCKS])
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


def _without(texts: Sequence[Place], rules: Collection[Finds]) -> list[tuple[str, list[Removal]]]:
    found = []
    for at, role, part, text in texts:
        left, cuts = take_out(text, rules)
        found.append((left, [Removal(at, role, part, cut) for cut in cuts]))
    return found


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


def _reason(messages: Sequence[Fields], *, is_sent: bool) -> str | None:
    """Why the clock stays: the model needs it, or an answer that is shared would be of another hour."""
    asked = [_said(message) for message in messages if message.get("role") == "user"]
    is_needed = any(map(needs_clock, asked[-1:])) if is_sent else any(map(leans_on_clock, asked[-LAST_QUESTIONS:]))
    return "asks_about_time" if is_needed else None


def _said(message: Fields) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
