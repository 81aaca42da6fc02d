"""Sessions of the dashboard: a cookie stands for the admin key, so that no page has to keep the key.

A cookie is an end and a nonce, signed with a key made of the server's secret and the admin key: any gateway that shares
both knows it, a restart ends none, and another admin key ends all. The last that were logged out are remembered,
over restarts too, by their nonces: those are no cookies.
"""

import asyncio
import hmac
import json
import logging
import math
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from gateway.errors import TooManyAttempts
from gateway.keptfile import write_whole

log = logging.getLogger(__name__)

ENDED_FILE = "sessions-ended.json"
COOKIE = "twicetold_session"
LASTS_S = 12 * 3600
END_BYTES, NONCE_BYTES, MAC_BYTES = 8, 16, 32
MAX_ENDED = 10_000  # sessions logged out before their end that are remembered

FREE_ATTEMPTS = 5  # wrong keys of one address before it has to wait
LONGEST_WAIT_S = 60.0
MAX_ADDRESSES = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """Who showed a valid cookie; `csrf` is what its page has to say with whatever changes something."""

    nonce: bytes
    ends_s: float  # unix time
    csrf: str


class Sessions:
    """Makes, reads and ends sessions. Belongs to one event loop."""

    def __init__(
        self, secret: bytes, admin_key: str, clock: Callable[[], float] = time.time, file: Path | None = None
    ) -> None:
        """Without a file, what was logged out is known as long as the process lasts."""
        self._key = blake2b(admin_key.encode(), key=secret, digest_size=MAC_BYTES, person=b"admin session").digest()
        self._clock = clock
        self._file = file
        self._ended = {} if file is None else _read_ended(file)
        self._keeping = asyncio.Lock()

    def begin(self) -> tuple[str, Session]:
        """A new session, and the cookie that names it."""
        ends_s = int(self._clock()) + LASTS_S
        body = ends_s.to_bytes(END_BYTES) + secrets.token_bytes(NONCE_BYTES)
        return urlsafe_b64encode(body + self._mac(body, b"cookie")).decode(), self._session(body)

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie that we made, that has not ended, and that nobody logged out."""
        try:
            raw = urlsafe_b64decode(cookie.encode("ascii"))
        except ValueError:
            return None
        body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        if len(body) != END_BYTES + NONCE_BYTES or not hmac.compare_digest(mac, self._mac(body, b"cookie")):
            return None
        session = self._session(body)
        return session if self._clock() < session.ends_s and session.nonce not in self._ended else None

    async def end(self, session: Session) -> None:
        """Know this session no more: at once here, and after a restart if that can be kept."""
        self._ended[session.nonce] = session.ends_s
        while len(self._ended) > MAX_ENDED:  # not by their ends: a clock that is ahead for a while would revive them
            del self._ended[next(iter(self._ended))]
        if self._file is None:
            return
        async with self._keeping:
            text = json.dumps({nonce.hex(): ends_s for nonce, ends_s in self._ended.items()})
            try:
                await asyncio.to_thread(write_whole, self._file, text)
            except OSError as error:
                log.warning(
                    "What was logged out is forgotten at a restart, %s cannot be written: %s", self._file, error
                )

    def _session(self, body: bytes) -> Session:
        csrf = urlsafe_b64encode(self._mac(body, b"csrf")).decode()
        return Session(body[END_BYTES:], int.from_bytes(body[:END_BYTES]), csrf)

    def _mac(self, body: bytes, use: bytes) -> bytes:
        return blake2b(body, key=self._key, digest_size=MAC_BYTES, person=use).digest()


def _read_ended(file: Path) -> dict[bytes, float]:
    """What was logged out; a file that cannot be read is told, and ends no other session."""
    try:
        kept = json.loads(file.read_text("utf-8"))
        return {bytes.fromhex(nonce): float(ends_s) for nonce, ends_s in kept.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        log.warning("What was logged out before this start is not known, %s cannot be read: %s", file, error)
        return {}


class Attempts:
    """Slows down whoever tries keys: after `FREE_ATTEMPTS` wrong ones an address waits, twice as long every time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, and when it may try again

    def check(self, address: str) -> None:
        """Raises `TooManyAttempts` while an address has to wait."""
        _, next_s = self._wrong.get(address, (0, 0.0))
        if (wait_s := next_s - self._clock()) > 0:
            raise TooManyAttempts(f"Too many wrong keys; try again in {math.ceil(wait_s)} s.", wait_s)

    def failed(self, address: str) -> None:
        count = self._wrong.get(address, (0, 0.0))[0] + 1
        wait_s = min(LONGEST_WAIT_S, 2.0 ** min(count - FREE_ATTEMPTS, 16)) if count >= FREE_ATTEMPTS else 0.0
        self._wrong[address] = (count, self._clock() + wait_s)
        self._wrong.move_to_end(address)
        if len(self._wrong) > MAX_ADDRESSES:
            self._wrong.popitem(last=False)

    def succeeded(self, address: str) -> None:
        self._wrong.pop(address, None)
