"""The identity provider whose tokens are taken: its keys, read anew now and then, and kept while it is away.

A token that names an unknown key has them read at once, for a provider changes its keys whenever it likes; but at most
every `refetch_s`, so nobody can have the provider asked with tokens of his own making.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import orjson

from gateway.callers.caller import Caller
from gateway.callers.tokens import Checked, Keyring, TokenRule, UnknownKey, is_token, key_of, keyring_of, read_token
from gateway.errors import IssuerAway, NotAuthorised
from gateway.metrics import Sample
from gateway.settings.doors import is_safe_url
from gateway.settings.trust import OidcSettings

log = logging.getLogger(__name__)

DISCOVERY = "/.well-known/openid-configuration"
MAX_BYTES = 2**20  # of what a provider says


class _Unusable(Exception):
    """What the provider said is of no use."""


class Issuer:
    """Belongs to one event loop."""

    def __init__(self, settings: OidcSettings, secret: bytes, *, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._secret = secret
        self._now = now
        self._rule = TokenRule(
            settings.issuer,
            settings.audience,
            settings.tenant_claim,
            settings.scope_claim,
            settings.scope_prefix,
            settings.algorithms,
            settings.leeway_s,
        )
        self._ring: Keyring = {}
        self._checked = Checked()
        self._tried: float | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_away = False
        self.fetches = {"ok": 0, "failed": 0}

    def takes(self, credential: str) -> bool:
        """Whether it looks like a token."""
        return is_token(credential)

    async def identify(self, token: str) -> Caller:
        """Who shows it. Raises `NotAuthorised` and `IssuerAway`."""
        if (known := self._checked.find(token, time.time())) is not None:
            return known
        try:
            key = key_of(token, self._ring, self._rule)
        except UnknownKey:
            await self._read_again()
            try:
                key = key_of(token, self._ring, self._rule)
            except UnknownKey as error:
                if not self._ring:
                    raise IssuerAway(self._settings.refetch_s) from error
                raise NotAuthorised("This token names no key that is known here.") from error
        caller, ends_s = read_token(token, key, self._rule, self._secret)
        self._checked.keep(token, caller, ends_s, time.time())
        return caller

    async def read(self) -> int:
        """Read its keys unless that was done a moment ago; how many ways to check a token are known."""
        await self._read_again()
        return len(self._ring)

    def still_holds(self, token: str) -> bool:
        """Whether one that was good is still, by what is known."""
        try:
            read_token(token, key_of(token, self._ring, self._rule), self._rule, self._secret)
        except (UnknownKey, NotAuthorised):
            return False
        return True

    async def follow(self) -> None:
        """Read its keys now, and anew for ever; who is away is asked again when a token comes, too."""
        while True:
            await self._read_again()
            await asyncio.sleep(self._settings.jwks_s if self._ring else self._settings.refetch_s)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def samples(self) -> Iterator[Sample]:
        for outcome, count in self.fetches.items():
            labels = (("outcome", outcome),)
            yield Sample("twicetold_oidc_fetches", "Times its keys were read", count, labels, is_total=True)

    async def _read_again(self) -> None:
        """Wait for a reading that is under way, or begin one unless there was one a moment ago.

        It is nobody's own: who leaves ends it for no other.
        """
        if self._reading is None:
            if self._tried is not None and self._now() - self._tried < self._settings.refetch_s:
                return
            self._tried = self._now()
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._has_read)
        await asyncio.shield(self._reading)

    def _has_read(self, _: "asyncio.Task[None]") -> None:
        self._reading = None

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                async with self._client() as client:
                    url = self._settings.jwks_url or await self._discovered(client)
                    ring = keyring_of(await _get(client, url), self._settings.algorithms)
            if not ring:
                raise _Unusable(f"{url} names no key for any of {', '.join(self._settings.algorithms)}")
        except (_Unusable, ValueError, httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            self.fetches["failed"] += 1
            if not self._is_away:
                said = str(error) or type(error).__name__
                log.warning("the keys of %s cannot be read, known ones go on: %s", self._settings.issuer, said)
            self._is_away = True
            return
        self.fetches["ok"] += 1
        self._is_away = False
        if ring.keys() != self._ring.keys() or any(ring[at].key != key.key for at, key in self._ring.items()):
            self._checked.clear()
        self._ring = ring

    def _client(self) -> httpx.AsyncClient:
        """One for each reading: between two of them every connection would have been closed."""
        return httpx.AsyncClient(
            headers={"accept": "application/json", "user-agent": "twicetold"},
            timeout=self._settings.timeout_s,
            trust_env=False,  # the environment is read in one place, and that is not here
        )

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        told = await _get(client, self._settings.issuer.rstrip("/") + DISCOVERY)
        if not isinstance(told, Mapping) or told.get("issuer") != self._settings.issuer:
            raise _Unusable(f"its configuration is not of {self._settings.issuer!r}")
        url = told.get("jwks_uri")
        if not isinstance(url, str) or not is_safe_url(url):
            raise _Unusable("its configuration names no https:// address of keys")
        return url


async def _get(client: httpx.AsyncClient, url: str) -> Any:
    """JSON of an address, which does not send us elsewhere."""
    raw = bytearray()
    async with client.stream("GET", url) as response:
        if response.status_code != httpx.codes.OK:
            raise _Unusable(f"{url} answers {response.status_code}")
        async for part in response.aiter_bytes():
            raw += part
            if len(raw) > MAX_BYTES:
                raise _Unusable(f"{url} answers more than {MAX_BYTES} bytes")
    return orjson.loads(bytes(raw))
