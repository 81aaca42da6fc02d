"""When the parent is told of tokens: of each request in its turn, never of all at a time.

A tiny model makes 5,000 tokens a second, and each telling costs the parent wake-ups, an event and a write, which a
caller of something else may be waiting for. So tokens wait for more of their request, no longer than eyes can see:

    # one request    the first token at once, then what has come every 4 ms
    # eight of them  one of them every 2 ms, the one that has waited longest: each every 16 ms
    # slow models    who was told nothing for 16 ms is told at once: of every token, as it comes

Whatever else happens is told at once, behind the tokens of its request.
"""

from collections.abc import Iterable

from backends.local.wire import Event, Token, Tokens

LEAST_S = 0.004  # between two tellings of one request
MOST_S = 0.016
EACH_S = 0.002  # between two of any, as far as `MOST_S` allows


class Telling:
    """Events that wait to be told."""

    def __init__(self) -> None:
        self._kept: dict[int, list[Event]] = {}  # by request; who has waited longest first
        self._urgent: set[int] = set()  # requests of which there is more to tell than further tokens
        self._told: dict[int, float] = {}  # when tokens of a request were told, within the last `MOST_S`
        self._free_s = 0.0  # when another telling may follow

    @property
    def is_urgent(self) -> bool:
        """Whether something is more than further tokens."""
        return bool(self._urgent)

    def add(self, events: Iterable[Event]) -> None:
        """Take in what has happened."""
        for event in events:
            self._kept.setdefault(event.request, []).append(event)
            if not isinstance(event, Token) or event.finish_reason is not None:
                self._urgent.add(event.request)

    def due(self, now_s: float, *, is_last: bool = False) -> list[Event]:
        """What is to be told now; everything when nothing more comes for a while."""
        due = [request for request in self._kept if self._is_due(request, now_s) or is_last]
        if not due:
            return []
        self._urgent.clear()
        self._told = {request: at for request, at in self._told.items() if now_s - at < MOST_S}
        return [event for request in due for event in self._tell(request, now_s)]

    def _is_due(self, request: int, now_s: float) -> bool:
        waited_s = now_s - self._told.get(request, now_s - MOST_S)
        is_turn = waited_s >= LEAST_S and now_s >= self._free_s
        if not (is_turn or waited_s >= MOST_S or request in self._urgent):
            return False
        self._free_s = min(max(self._free_s, now_s - MOST_S), now_s) + EACH_S
        return True

    def _tell(self, request: int, now_s: float) -> list[Event]:
        events = self._kept.pop(request)
        if any(isinstance(event, Token) for event in events):  # an admission alone is nothing a caller sees
            self._told[request] = now_s
        return in_runs(events)


def in_runs(events: Iterable[Event]) -> list[Event]:
    """The same with further tokens of a choice in one event, if there is nothing to say of them but what they are."""
    together: list[Event] = []
    runs: dict[int, list[int]] = {}  # since the last other event, by choice
    for event in events:
        if not isinstance(event, Token) or event.finish_reason is not None or event.logprob is not None or event.top:
            runs.clear()
            together.append(event)
        elif event.index in runs:
            runs[event.index].append(event.token_id)
        else:
            run = runs[event.index] = [event.token_id]
            together.append(Tokens(event.request, event.index, run))
    return together
