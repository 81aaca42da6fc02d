"""What every gateway on one Redis knows of the others' responses: who may be asked about an id is chosen by a balancer.

    <prefix>:said:<digest of the id>       string: what was decided about a response, under a mark; ends after an hour
    <prefix>:said:<digest>:judged          string: the last word on it, 1 or 0

Written behind the responses' backs, in batches; while Redis is away they wait. A gateway keeps its last `MOST` there
and removes older ones; where too many wait to be written, the oldest are left out and counted. Nothing is read but for
an id that is not known here.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import orjson

from gateway.answers.base import CacheError
from gateway.answers.redis.connection import Away, Link, Value
from gateway.answers.redis.keys import MAC_BYTES
from gateway.outcome import Outcome
from gateway.policy import Rules
from gateway.seal import Unsealed, is_sealed, place
from gateway.served import Served

if TYPE_CHECKING:
    from embeddings.control import Verdict

TTL_S = 3600
MOST = 10_000  # responses of one gateway that are kept, of about a kilobyte
MOST_WAITING = 2_000
FLUSH_EVERY_S = 0.05
TRY_AGAIN_S = 0.25
AT_ONCE = 256
KIND = b"response"
VERSION = 1  # raise it when the shape changes: other versions' responses are then unknown


class SharedResponses:
    """The responses of all replicas, by id. Belongs to one event loop."""

    def __init__(self, link: Link, *, most: int = MOST) -> None:
        self._link = link
        self._most = most
        self._waiting: OrderedDict[str, Served] = OrderedDict()
        self._written: dict[str, str] = {}  # in order, and whose
        self._has_news = asyncio.Event()
        self._writing = asyncio.Lock()  # what is on its way is written when somebody has it erased
        self._task: asyncio.Task[None] | None = None
        self.num_dropped = 0  # that others were never told of: Redis was away for long, or refused them

    async def open(self) -> None:
        """Write from now on."""
        self._task = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Write what waits, if that is quick, and stop."""
        if self._task is not None:
            while not self._task.done():  # one cancellation may be lost inside the client library
                self._task.cancel()
                await asyncio.wait([self._task], timeout=0.1)
        with suppress(CacheError):
            while self._waiting:
                await self._flush()
        self.num_dropped += len(self._waiting)

    def tell(self, response_id: str, served: Served) -> None:
        """Let the others know a response that is whole. Waits for nothing."""
        self._waiting[response_id] = served
        self._bound()
        self._has_news.set()

    async def find(self, response_id: str) -> Served | None:
        """A response of any replica. Raises `CacheError`."""
        raw = await self._link.call("GET", self._name(response_id))
        if raw is None:  # who asks at once may be faster than the batch it is in
            await asyncio.sleep(2 * FLUSH_EVERY_S)
            raw = await self._link.call("GET", self._name(response_id))
        return None if raw is None else self._read(response_id, raw)

    async def judge(self, response_id: str, *, is_good: bool) -> bool | None:
        """What was said of this response before, to whomever; None: nothing. From now on this is."""
        name = self._name(response_id) + b":judged"
        before = await self._link.call("SET", name, int(is_good), "EX", TTL_S, "GET")
        return None if before is None else before == b"1"

    def count(self, tenant: str) -> int:
        """How many responses of a tenant this gateway told the others, or is about to."""
        waiting = sum(served.tenant == tenant for served in self._waiting.values())
        return waiting + sum(whose == tenant for whose in self._written.values())

    async def erase(self, tenant: str) -> int:
        """Forget the responses of a tenant that this gateway told the others; how many. What one told that is no more
        ends by itself. Raises `CacheError`."""
        async with self._writing:
            waiting = [one for one, served in self._waiting.items() if served.tenant == tenant]
            for one in waiting:
                del self._waiting[one]
            written = [one for one, whose in self._written.items() if whose == tenant]
            names = [(self._name(one), self._name(one) + b":judged") for one in written]
            for reply in await self._link.together([["UNLINK", name] for pair in names for name in pair]):
                if isinstance(reply, CacheError):
                    raise reply
            for one in written:
                self._written.pop(one, None)
        return len(waiting) + len(written)

    # -- writing -------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            try:
                while self._waiting:
                    await self._flush()
                    await asyncio.sleep(FLUSH_EVERY_S)
            except CacheError:
                self._has_news.set()
                await asyncio.sleep(TRY_AGAIN_S)
            await asyncio.sleep(FLUSH_EVERY_S)

    async def _flush(self) -> None:
        """Write a batch; what Redis could not be told of waits on. Raises `CacheError`."""
        async with self._writing:
            await self._write_some()

    async def _write_some(self) -> None:
        popped = [self._waiting.popitem(last=False) for _ in range(min(AT_ONCE, len(self._waiting)))]
        spelled = {one: text for one, served in popped if (text := self._spelled(one, served)) is not None}
        sets: list[list[Value]] = [["SET", self._name(one), text, "EX", TTL_S] for one, text in spelled.items()]
        old = list(islice(chain(self._written, spelled), max(0, len(self._written) + len(spelled) - self._most)))
        unlinks: list[list[Value]] = [["UNLINK", self._name(one)] for one in old]
        replies: list[Any] = [Away()] * len(sets)
        try:
            replies = await self._link.together(sets + unlinks)
        finally:  # also when it is cancelled
            reply_to = dict(zip(spelled, replies, strict=False))
            for one, served in reversed(popped):
                if isinstance(reply_to.get(one), Away):
                    self._waiting.setdefault(one, served)
                    self._waiting.move_to_end(one, last=False)
            self._bound()
        self.num_dropped += sum(isinstance(reply, CacheError) and not isinstance(reply, Away) for reply in replies)
        self._written.update(
            (one, served.tenant) for one, served in popped if one in spelled and one not in self._waiting
        )
        for one in old:
            self._written.pop(one, None)
        if away := next((reply for reply in replies if isinstance(reply, Away)), None):
            raise away

    def _bound(self) -> None:
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
            self.num_dropped += 1

    # -- names and values ----------------------------------------------------------------------------------------

    def _name(self, response_id: str) -> bytes:
        return self._link.name("said", self._link.names.mac(b"said", _raw(response_id)).hex())

    def _spelled(self, response_id: str, served: Served) -> bytes | None:
        try:
            body = orjson.dumps(_as_json(served))
        except orjson.JSONEncodeError:  # half a character in a question
            return None
        body = self._link.seal.seal(body, place("response", response_id))
        return self._mark(response_id, body) + body

    def _read(self, response_id: str, raw: bytes) -> Served | None:
        mark, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not self._link.names.is_ours(mark, KIND, _raw(response_id), body):
            return None  # whoever wrote it was none of us
        try:
            said = orjson.loads(self._link.seal.open(body, place("response", response_id)) if is_sealed(body) else body)
            return _served(said) if said["v"] == VERSION else None
        except Unsealed:  # under a key that is not given here
            return None
        except (TypeError, ValueError, KeyError, AttributeError):  # of a gateway with other fields, in a renewal
            return None

    def _mark(self, response_id: str, body: bytes) -> bytes:
        return self._link.names.mac(KIND, _raw(response_id), body)


def _raw(response_id: str) -> bytes:
    return response_id.encode("utf-8", "surrogatepass")


def _as_json(served: Served) -> dict[str, Any]:
    names = ("tenant", "model", "entry", "question", "stored_question", "made_after_s", "made_before_s", "alias_of")
    verdict = served.verdict
    return {
        "v": VERSION,
        **{name: getattr(served, name) for name in names},
        "scope": served.scope.hex(),
        "exact": served.exact.hex(),
        "outcome": served.outcome,
        "rules": replace(served.rules, routes=()),
        "verdict": None if verdict is None else replace(verdict, neighbour=None),
    }


def _served(said: dict[str, Any]) -> Served:
    verdict = said["verdict"]
    return Served(
        tenant=said["tenant"],
        model=said["model"],
        scope=bytes.fromhex(said["scope"]),
        exact=bytes.fromhex(said["exact"]),
        entry=said["entry"],
        question=said["question"],
        stored_question=said["stored_question"],
        outcome=Outcome(**said["outcome"]),
        rules=Rules(**{**said["rules"], "routes": ()}),
        verdict=None if verdict is None else _verdict(verdict),
        made_after_s=said["made_after_s"],
        made_before_s=said["made_before_s"],
        alias_of=said["alias_of"],
    )


def _verdict(said: dict[str, Any]) -> "Verdict | None":
    try:
        from embeddings.control import Looked, Verdict
    except ImportError:  # this gateway has no semantic tier, and can say no more of what one decided
        return None
    looked = tuple(Looked(**{**one, "features": tuple(one["features"])}) for one in said["looked"])
    return Verdict(**{**said, "looked": looked})
