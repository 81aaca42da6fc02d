"""What it takes to know who calls: `python -m bench.callers`. Microseconds, the least of several turns.

In turns in one process, no HTTP: what a request pays on the event loop before anything is looked up.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.callers.keys import Keys, Wish
from gateway.callers.records import Record
from gateway.callers.tokens import Checked, TokenRule, key_of, keyring_of, read_token

SECRET = bytes(range(32))
TURNS, CALLS = 10, 200
ISSUER, AUDIENCE = "https://id.example", "twicetold"


class _Shelf:
    """A place with any number of records, in memory."""

    def __init__(self, num: int) -> None:
        self._records = [Record(f"key_{n:012x}", "n", f"{n:032x}", f"{n:064x}", 1.0) for n in range(num)]
        self._is_new = True

    async def changed(self) -> bool:
        was, self._is_new = self._is_new, False
        return was

    async def load(self) -> list[Record]:
        return self._records

    async def save(self, record: Record) -> None:
        self._records.append(replace(record))

    async def used(self, mine: object) -> dict[str, float]:  # noqa: ARG002
        return {}


async def measure() -> dict[str, float]:
    few, many = Keys(SECRET, [_Shelf(0)]), Keys(SECRET, [_Shelf(90_000)])
    text = (await few.create(Wish("one")))["key"]
    await many.refresh()
    other = (await many.create(Wish("one")))["key"]
    cases: dict[str, Callable[[], object]] = {
        "nobody, no keys": lambda: Keys(SECRET, []).identify(None),
        "a bearer that is none of ours": lambda: few.identify("sk-something-that-somebody-sends"),
        "a key of 1": lambda: few.identify(text),
        "a key of 90,001": lambda: many.identify(other),
        **_tokens(),
    }
    least = dict.fromkeys(cases, float("inf"))
    for _ in range(TURNS):
        for name, call in cases.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                call()
            least[name] = min(least[name], (time.perf_counter() - started) / CALLS * 1e6)
    return least


def _tokens() -> dict[str, Callable[[], object]]:
    rule, now_s = TokenRule(ISSUER, AUDIENCE), time.time()
    private: dict[str, Any] = {
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(now_s) + 3600, "email": "ann@example.com"}
    tokens = {name: jwt.encode(claims, key, name, {"kid": name}) for name, key in private.items()}
    public = [
        {**jwt.get_algorithm_by_name(name).to_jwk(key.public_key(), as_dict=True), "kid": name}
        for name, key in private.items()
    ]
    ring = keyring_of({"keys": public}, rule.algorithms)
    checked = Checked()
    for token in tokens.values():
        checked.keep(token, *read_token(token, key_of(token, ring, rule), rule, SECRET), now_s)

    def read(token: str) -> object:
        return read_token(token, key_of(token, ring, rule), rule, SECRET)

    return {
        **{f"a token, {name}": partial(read, token) for name, token in tokens.items()},
        "a token within a minute": lambda: checked.find(tokens["RS256"], time.time()),
    }


if __name__ == "__main__":
    for told, micros in asyncio.run(measure()).items():
        print(f"{told:<32} {micros:8.1f} us")
