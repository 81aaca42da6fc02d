"""Bearer tokens of an identity provider, checked: who it is and what it may do. Pure but for the clock of the library.

Only a public key that the provider names checks a token, by an algorithm that belongs to this kind of key and that the
operator allows: what a token says of its own key (`jku`, `x5u`, `jwk`, `x5c`) is not looked at, `alg` chooses among
what is allowed, and no secret text is ever a key, so a token cannot be signed with what everybody can read.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import jwt
from jwt.algorithms import has_crypto

from gateway.callers.caller import OF_CALLERS, SCOPES, Caller
from gateway.errors import NotAuthorised

CHECKS_PUBLIC_KEYS: bool = has_crypto  # the library starts without cryptography, too
CHECKED_S = 60.0  # a token that was checked is not checked again for so long
MAX_CHARS = 16 * 1024  # of a token
MAX_KID_CHARS = 512
MAX_CLAIM_CHARS = 1024
MAX_KEYS = 100
TYPES = (None, "jwt", "at+jwt", "application/at+jwt")  # others stand for something else: a logout, a proof, an event

_FORM = re.compile(r"ey[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_=-]*")
_CURVES = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")

Keyring = Mapping[tuple[str | None, str], jwt.PyJWK]  # by key id and algorithm; None: of the only key there is


class UnknownKey(Exception):
    """The token names a key that the provider did not name when it was asked last."""


@dataclass(frozen=True, slots=True)
class TokenRule:
    """What a token has to be."""

    issuer: str
    audience: str
    tenant_claim: str = "sub"
    scope_claim: str = ""
    scope_prefix: str = ""
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    leeway_s: float = 30.0


def is_token(credential: str) -> bool:
    """Whether it looks like a signed token."""
    return _FORM.fullmatch(credential[: MAX_CHARS + 1]) is not None


def keyring_of(told: Any, allowed: tuple[str, ...]) -> Keyring:
    """The usable keys of a set as the provider tells it: public ones, for signatures. Raises ValueError for no set."""
    listed = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it holds no list of keys")
    keys = [key for key in listed[:MAX_KEYS] if isinstance(key, dict) and key.get("use", "sig") == "sig"]
    ring: dict[tuple[str | None, str], jwt.PyJWK] = {}
    for key in keys:
        for algorithm in _algorithms(key):
            if algorithm not in allowed:
                continue
            try:
                made = jwt.PyJWK(key, algorithm)
            except jwt.PyJWTError:
                continue
            if isinstance(kid := key.get("kid"), str):
                ring[kid, algorithm] = made
            if len(keys) == 1:
                ring[None, algorithm] = made
    return ring


def _algorithms(key: Mapping[str, Any]) -> tuple[str, ...]:
    """By what a key can check; nothing for a secret one."""
    kind, curve = key.get("kty"), key.get("crv")
    kinds = {
        "RSA": _RSA,
        "EC": _CURVES.get(curve, ()) if isinstance(curve, str) else (),
        "OKP": ("EdDSA",) if curve == "Ed25519" else (),
    }
    fit = kinds.get(kind, ()) if isinstance(kind, str) else ()
    return fit if key.get("alg") is None else tuple(one for one in fit if one == key["alg"])


def key_of(token: str, ring: Keyring, rule: TokenRule) -> jwt.PyJWK:
    """The key that has to check it. Raises `UnknownKey` and `NotAuthorised`."""
    if len(token) > MAX_CHARS:
        raise NotAuthorised(f"This token is over {MAX_CHARS} characters.")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise NotAuthorised("This token cannot be read.") from error
    kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ")
    if algorithm not in rule.algorithms:
        raise NotAuthorised(f"A token has to be signed by one of {', '.join(rule.algorithms)}.")
    if (kind.lower() if isinstance(kind, str) else kind) not in TYPES:
        raise NotAuthorised("This is a token of another kind.")
    if kid is not None and len(kid) > MAX_KID_CHARS:
        raise NotAuthorised("This token names no key that is known here.")
    if (key := ring.get((kid, algorithm))) is None:
        raise UnknownKey
    return key


def read_token(token: str, key: jwt.PyJWK, rule: TokenRule, secret: bytes) -> tuple[Caller, float]:
    """Who shows it, and until when that holds. Raises `NotAuthorised`, which says nothing of a token but its fault."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=list(rule.algorithms),
            audience=rule.audience,
            issuer=rule.issuer,
            leeway=rule.leeway_s,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise NotAuthorised(_complaint(error)) from error
    who = claims.get(rule.tenant_claim)
    if not isinstance(who, str) or not 0 < len(who) <= MAX_CLAIM_CHARS:
        raise NotAuthorised(f"This token has no {rule.tenant_claim}.")
    caller = Caller(tenant_by_claim(secret, rule.issuer, rule.tenant_claim, who), scopes=_scopes(claims, rule))
    return caller, int(claims["exp"]) + rule.leeway_s


class Checked:
    """Who showed a token a moment ago: to check a signature takes longer than to answer from memory.

    Kept are hashes, each for a minute and not beyond its token's end; what the provider changes its keys for ends all.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    def find(self, token: str, now_s: float) -> Caller | None:
        found = self._known.get(_digest(token))
        return found[0] if found is not None and now_s < found[1] else None

    def keep(self, token: str, caller: Caller, ends_s: float, now_s: float) -> None:
        self._known[_digest(token)] = caller, min(ends_s, now_s + CHECKED_S)
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)

    def clear(self) -> None:
        self._known.clear()


def _digest(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def tenant_by_claim(secret: bytes, issuer: str, claim: str, value: str) -> str:
    """The tenant that a provider's word stands for: another one for every provider, claim and value."""
    state = blake2b(key=secret, digest_size=16, person=b"oidc tenant")
    for part in (issuer, claim, value):
        raw = part.encode("utf-8", "surrogatepass")
        state.update(len(raw).to_bytes(8, "big") + raw)
    return state.hexdigest()


def _scopes(claims: Mapping[str, Any], rule: TokenRule) -> frozenset[str]:
    """What it names of ours, a text between blanks or a list; where nobody asks for that, what callers may."""
    if not rule.scope_claim:
        return OF_CALLERS
    said = claims.get(rule.scope_claim)
    named = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
    return frozenset(scope for scope in SCOPES if rule.scope_prefix + scope in named)


def _complaint(error: Exception) -> str:
    """What is wrong, in words of ours: those of the library may hold the token's."""
    says = {
        jwt.ExpiredSignatureError: "This token is expired.",
        jwt.ImmatureSignatureError: "This token is not valid yet.",
        jwt.InvalidAudienceError: "This token is meant for somebody else.",
        jwt.InvalidIssuerError: "This token is of another issuer.",
        jwt.MissingRequiredClaimError: "This token lacks exp, iss or aud.",
        jwt.InvalidSignatureError: "This token's signature does not hold.",
    }
    return next((text for kind, text in says.items() if isinstance(error, kind)), "This token cannot be used.")
