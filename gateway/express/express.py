"""The express road: `answer` says at once what there is to say to the bytes of a request, or nothing.

    learn     on the whole road, behind an exact hit of the plainest kind: its bytes are known from now on
    answer    the same bytes: everything that made it a hit is asked anew (`grounds.py`), and the response joined
    settle    what hits owe is paid, many at once: soon, before any request of the whole road begins (`Settling`),
              before a response is looked up, and before anything is erased

An answer is given here exactly where the whole road would give the same one; wherever that is not certain nothing is
said, and the whole road goes its way. It keeps nothing that memory has not: what is removed there is never told here,
and an erasure drops it at once.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from backends.chat import Completion
from gateway.answers.base import Entry
from gateway.asked import Asked
from gateway.body import Curfew
from gateway.callers.caller import Caller
from gateway.express.debts import Creditors, Debts, Owing
from gateway.express.grounds import Grounds, World
from gateway.express.prepared import ID_CHARS, Answer, body_of
from gateway.express.reading import MOST_BYTES, MOST_HEAD_BYTES, Header, Known
from gateway.express.table import Table, Wait
from gateway.metrics import Sample
from gateway.redaction import Redactor
from gateway.reply import Reply
from gateway.shapes.base import Parsed, Shape
from gateway.telemetry.exchange import is_request_id

ITEM_BYTES = 4_000  # of what is kept beside a request and its answer
ONE_IN = 8  # is learned when something else has to go for it
DRAWN = 4096  # random bytes at a time
_NAME_BYTES, _REQUEST_BYTES = ID_CHARS // 2, 12
ROUTES = frozenset({"chat", "completions", "messages"})  # whose responses are all alike but for name and time

NOTHING_SAID = Completion(())


@dataclass(slots=True, eq=False)
class Item:
    """One request, and the answer to it."""

    known: Known
    grounds: Grounds
    answer: Answer
    owing: Owing
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Lesson:
    """A hit that the whole road has just given."""

    known: Known
    shape: Shape
    parsed: Parsed
    caller: Caller
    credential: str | None = field(repr=False)
    reply: Reply
    question: str | None = field(repr=False)
    path: str
    is_free: bool  # its usage is told as none


class Express:
    """Belongs to one event loop. Says nothing before `open` and after `close`."""

    def __init__(
        self,
        world: World,
        creditors: Creditors,
        budget_bytes: int,
        redactor: Redactor,
        lets_in: Callable[[int], bool],
        *,
        most_head_bytes: int = MOST_HEAD_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._world = world
        self._debts = Debts(creditors)
        self._redactor = redactor
        self._lets_in = lets_in  # so many bytes
        self._now = now
        self._table: Table[Item] = Table(budget_bytes, most_head_bytes)
        self._curfew: Curfew | None = None
        self._drawn, self._at = b"", 0
        self._seen = 0  # requests that could be learned
        self.given = self.learned = 0

    def open(self, curfew: Curfew) -> None:
        """From now on; until the curfew draws near."""
        self._curfew = curfew

    def close(self) -> None:
        """Say nothing more, and pay what is owed."""
        self._curfew = None
        self._table.clear()
        self.settle()

    # -- at every request --------------------------------------------------------------------------------------------

    def answer(self, raw: bytes, ours: Sequence[Header]) -> bytes | Wait | None:
        """The whole response to a whole request; whether to wait for the rest of one; None: the whole road knows.

        `ours` are the headers of every response, one list for as long as they are the same.
        """
        started = time.perf_counter()
        item = self._table.get(raw) if len(raw) <= MOST_BYTES else None
        request_id = b""
        if item is None:
            found = self._table.look(raw)
            if not isinstance(found, tuple):
                return found
            item, request_id = found
        now_s = self._now()
        if not self._may_be_told(item, now_s):
            return None
        if self._at + _REQUEST_BYTES + _NAME_BYTES > len(self._drawn) // 2:
            self._drawn, self._at = os.urandom(DRAWN).hex().encode("ascii"), 0
        at = 2 * self._at
        name = self._drawn[at : at + ID_CHARS]
        if not request_id or not is_request_id(request_id):
            request_id = b"req_" + self._drawn[at + ID_CHARS : at + ID_CHARS + 2 * _REQUEST_BYTES]
        self._at += _REQUEST_BYTES + _NAME_BYTES
        total_s = time.perf_counter() - started
        said = item.answer.said(now_s, ours, name, request_id, total_s)
        self.given += 1
        response_id = (item.answer.body.prefix + name).decode("ascii")
        self._debts.note(item.owing, (response_id, now_s, total_s, total_s), request_id)
        return said

    def _may_be_told(self, item: Item, now_s: float) -> bool:
        if self._curfew is None or self._curfew.is_near or not self._lets_in(item.known.num_body):
            return False
        if self._world.upholds(item.grounds, now_s):
            return True
        self._table.drop(item)
        return False

    def settle(self) -> None:
        """Pay what is owed."""
        self._debts.settle()

    # -- on the whole road -------------------------------------------------------------------------------------------

    def learn(self, lesson: Lesson) -> None:
        """Know the request of a hit from now on, if it is of the plainest kind."""
        source = lesson.reply.source
        if self._curfew is None or source is None or lesson.known in self._table:
            return
        self._seen += 1
        if self._seen % ONE_IN and not self._table.has_room(ITEM_BYTES):
            return  # of more requests than there is room for all would be learned anew each time they come
        asked, entry = source
        if not is_plain(lesson, asked, entry) or self._redactor.asks_hooks:
            return
        world, fp = self._world, asked.fp
        routes, stamp = world.routes.stamp, world.answers.stamp_now(fp.scope, fp.exact)
        if routes is None or stamp is None or world.answers.peek_now(fp.scope, fp.exact) != entry:
            return
        now_s, completion = self._now(), entry.completion
        usage = type(completion.usage)() if lesson.is_free else completion.usage
        is_stream = asked.request.stream
        body = body_of(lesson.shape.envelope(lesson.parsed), completion, usage, is_stream=is_stream)
        if body is None:
            return
        light = replace(
            entry, completion=NOTHING_SAID, canonical=b"", question=None, vector=None
        )  # memory has the rest
        ages = [age_s for age_s in (asked.controls.max_age_s, asked.rules.keeps_s) if age_s is not None]
        grounds = Grounds(
            credential=lesson.credential,
            caller=lesson.caller,
            policy=asked.policy,
            routes=routes,
            changes=world.num_changes,
            scope=fp.scope,
            exact=fp.exact,
            stamp=stamp,
            entry=light,
            max_age_s=min(ages, default=None),
        )
        outcome = lesson.reply.outcome
        owing = Owing(
            entry=light,
            max_ttl_s=asked.rules.max_ttl_s,
            outcome=outcome,
            at_s=entry.created_s + (outcome.age_s or 0.0),
            served=lesson.reply.served,
            model=asked.request.model,
            route=lesson.shape.route,
            path=lesson.path,
            usage=completion.usage,
            tenant=lesson.caller.tenant,
            question=lesson.question,
        )
        if not world.upholds(grounds, now_s):
            return
        answer = Answer(body, outcome, owing.at_s)
        size = (
            ITEM_BYTES + len(lesson.known.key) + len(lesson.known.head) + 2 * body.size_bytes
        )  # once more as joined last
        self._table.put(Item(lesson.known, grounds, answer, owing, size))
        self.learned += 1

    # -- what it keeps -----------------------------------------------------------------------------------------------

    def shed(self) -> None:
        """Let go of half."""
        self._table.halve()

    def count(self, tenant: str) -> int:
        """How many requests of a tenant are known."""
        return sum(item.owing.tenant == tenant for item in self._table.things())

    def forget(self, tenant: str) -> int:
        """Know no request of a tenant any more; how many were. What is owed is paid first: others forget it then."""
        self.settle()
        theirs = [item for item in self._table.things() if item.owing.tenant == tenant]
        for item in theirs:
            self._table.drop(item)
        return len(theirs)

    def forget_before(self, at_s: float) -> int:
        """Know no request whose answer was made before a moment; how many did."""
        self.settle()
        old = [item for item in self._table.things() if item.owing.entry.created_s <= at_s]
        for item in old:
            self._table.drop(item)
        return len(old)

    def sweep(self) -> None:
        """Let go of answers that will not be told any more: nobody asks for what is removed, and it is somebody's."""
        now_s, world = self._now(), self._world
        for item in self._table.things():
            grounds = item.grounds
            if world.answers.stamp_now(grounds.scope, grounds.exact) is not grounds.stamp or not grounds.are_timely(
                now_s
            ):
                self._table.drop(item)

    def samples(self) -> Iterator[Sample]:
        """For Prometheus."""
        self.settle()
        yield Sample("twicetold_express_hits", "Exact hits answered from prepared bytes", self.given, is_total=True)
        yield Sample("twicetold_express_answers", "Prepared answers", len(self._table))
        yield Sample("twicetold_express_bytes", "What prepared answers take", self._table.size_bytes)


def is_plain(lesson: Lesson, asked: Asked, entry: Entry) -> bool:
    """Whether the same bytes will be the same hit as long as its grounds hold, and nothing but its answer is owed."""
    reply, parsed, request = lesson.reply, lesson.parsed, asked.request
    is_its_own = entry.alias_of is None and reply.outcome.tier == "exact" and reply.outcome.reason == "same_request"
    is_alone = not (parsed.others or parsed.follows or parsed.is_continued) and request.native is None
    is_as_said = asked.normal.keyed is asked.normal.sent and not asked.normal.removals and asked.normal.rested is None
    controls = asked.controls
    return (
        lesson.shape.route in ROUTES
        and is_its_own
        and is_alone
        and is_as_said
        and asked.place is None
        and asked.common is None
        and not asked.policy.limits
        and not controls.is_redacted
        and controls.stale_s == 0
        and bool(asked.route.step.members)
        and reply.outcome.tells_overhead
        and not reply.outcome.is_common
    )
