"""What was said up to a response, so that the next request may name the response instead of saying it all again.

Kept by the gateway itself, in memory and within bounds: backends need know nothing of it, and what is asked in the end
is the whole conversation, under the key it would have had if the client had sent it. After a restart, or many responses
later, an id is unknown and that is said. What is remembered is as old as its oldest words: a conversation that is gone
on from again and again ends when its first words are as old as any may be.

A response that a server of the Responses API keeps is named anew, for every hit too: the name holds the server's own
and a seal, so it needs no memory, and one tenant's names are nothing to another.
"""

import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import orjson

from backends.chat import ChatRequest, Choice, Completion, Fields
from gateway.errors import InvalidRequest, UnknownResponse
from gateway.native import FOLLOWS
from gateway.shapes.base import Parsed

MAX_BYTES = 64 * 2**20
MAX_BYTES_OF_TENANT = 16 * 2**20
ENTRY_BYTES = 500
_NAMED = re.compile(r"resp_(?P<nonce>[0-9a-f]{8})(?P<seal>[0-9a-f]{24})_(?P<there>[\x21-\x7e]{1,512})")
_TOLD = ("refusal", "tool_calls", "reasoning_content", "thinking_blocks", "content_blocks")


@dataclass(frozen=True, slots=True)
class _Said:
    messages: tuple[Fields, ...]
    size_bytes: int
    said_s: float  # the oldest of them; unix time


@dataclass(slots=True)
class _Tenant:
    ids: OrderedDict[str, None] = field(default_factory=OrderedDict)
    size_bytes: int = 0


class Conversations:
    """The last conversations of every tenant. Belongs to one event loop."""

    def __init__(
        self,
        secret: bytes,
        max_bytes: int = MAX_BYTES,
        max_bytes_of_tenant: int = MAX_BYTES_OF_TENANT,
        *,
        keeps_s: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`secret` seals the names of responses that a server keeps; older words than `keeps_s` are not gone on from
        (0: however old)."""
        self._secret = secret
        self._max_bytes = max_bytes
        self._max_bytes_of_tenant = max_bytes_of_tenant
        self._keeps_s = keeps_s
        self._now = now
        self._bytes = 0
        self._said: OrderedDict[tuple[str, str], _Said] = OrderedDict()
        self._of_tenants: dict[str, _Tenant] = {}

    def resume(self, parsed: Parsed, tenant: str) -> tuple[ChatRequest, float]:
        """The request with what was said before it, or for the server that keeps it, and when the oldest of it was said
        (unix time). Raises `UnknownResponse`, and `InvalidRequest` for what only a server can do that does not keep it.
        """
        request, now_s = parsed.request, self._now()
        if not parsed.follows:
            return request, now_s
        said = self._said.get((tenant, parsed.follows))
        if said is None or (self._keeps_s and said.said_s <= now_s - self._keeps_s):
            there = self._there(parsed.follows, tenant)
            if there is None or request.native is None:
                raise UnknownResponse(parsed.follows)
            return replace(request, native={**request.native, FOLLOWS: there}), now_s
        if request.needs != FOLLOWS:
            raise InvalidRequest(f"{request.needs} cannot go on from a response that no server keeps.", request.needs)
        self._said.move_to_end((tenant, parsed.follows))
        system, new = request.messages[: parsed.num_told], request.messages[parsed.num_told :]
        whole = replace(request, messages=(*system, *said.messages, *new), native=None, needs="")
        return whole, said.said_s

    def name(self, there: str, tenant: str) -> str:
        """A new name for a response that a server keeps. It says which one, to this tenant alone."""
        nonce = secrets.token_hex(4)
        return f"resp_{nonce}{self._seal(nonce, there, tenant)}_{there}"

    def _there(self, response_id: str, tenant: str) -> str | None:
        """What a server calls a response we have named; None for a name that is not ours, or another's."""
        found = _NAMED.fullmatch(response_id)
        if found is None or not hmac.compare_digest(found["seal"], self._seal(found["nonce"], found["there"], tenant)):
            return None
        return found["there"]

    def _seal(self, nonce: str, there: str, tenant: str) -> str:
        said = f"{nonce} {tenant} {there}".encode("utf-8", "surrogatepass")
        return blake2b(said, key=self._secret, digest_size=12, person=b"response").hexdigest()

    def note(
        self, response_id: str, tenant: str, parsed: Parsed, request: ChatRequest, answer: Completion, said_s: float
    ) -> None:
        """Remember what was said up to and with this response; its instructions hold for it alone. `request` and
        `said_s` are as `resume` gave them."""
        choice = answer.choices[0] if answer.choices else Choice({}, None)
        messages = (*request.messages[parsed.num_told :], _as_history(choice.message))
        try:
            size = ENTRY_BYTES + len(orjson.dumps(messages, default=dict))
        except orjson.JSONEncodeError:  # half a surrogate pair
            return
        mine = self._of_tenants.setdefault(tenant, _Tenant())
        self._said[tenant, response_id] = _Said(messages, size, said_s)
        mine.ids[response_id] = None
        mine.size_bytes += size
        self._bytes += size
        while mine.size_bytes > self._max_bytes_of_tenant:
            self._forget(tenant, next(iter(mine.ids)))
        while self._bytes > self._max_bytes:
            self._forget(*next(iter(self._said)))

    def count(self, tenant: str) -> int:
        """How many responses of a tenant can be gone on from."""
        mine = self._of_tenants.get(tenant)
        return 0 if mine is None else len(mine.ids)

    def forget(self, tenant: str) -> int:
        """Forget every conversation of a tenant; how many responses those were."""
        mine = self._of_tenants.get(tenant)
        gone = [] if mine is None else list(mine.ids)
        for response_id in gone:
            self._forget(tenant, response_id)
        return len(gone)

    def forget_before(self, at_s: float) -> int:
        """Forget conversations with words that were said before a moment; up to how many responses."""
        old = [key for key, said in self._said.items() if said.said_s <= at_s]
        for key in old:
            self._forget(*key)
        return len(old)

    def _forget(self, tenant: str, response_id: str) -> None:
        size = self._said.pop((tenant, response_id)).size_bytes
        mine = self._of_tenants[tenant]
        del mine.ids[response_id]
        mine.size_bytes -= size
        self._bytes -= size
        if not mine.ids:
            del self._of_tenants[tenant]


def _as_history(message: Fields) -> Fields:
    """An answer as a client would send it back: without what only its delivery was told."""
    told = {name: message[name] for name in _TOLD if message.get(name)}
    return {"role": "assistant", "content": message.get("content") or None, **told}
