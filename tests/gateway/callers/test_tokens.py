"""Tokens of an identity provider: a good one is its tenant, and every known way to make one of one's own fails."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.callers.caller import Caller
from gateway.callers.issuer import DISCOVERY, Issuer
from gateway.callers.tokens import MAX_CHARS, Checked, TokenRule, UnknownKey, key_of, keyring_of, read_token
from gateway.cli.door_checkup import door_findings
from gateway.errors import IssuerAway, NotAuthorised
from gateway.identity.scope import is_tenant
from gateway.settings import OidcSettings, Settings, SettingsError, load_settings
from tests.gateway.callers.issuers import (
    AUDIENCE,
    EC,
    ED,
    OTHER_RSA,
    PEM,
    RSA,
    SMALL_RSA,
    Provider,
    claims,
    part,
    public,
    running_provider,
)
from tests.gateway.house import SECRET


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(server: Provider) -> Provider:
    server.keys, server.asked, server.fails, server.says = [public(RSA, "r1"), public(EC, "e1")], [], 0, {}
    return server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def issuer(provider: Provider, clock: Clock) -> AsyncIterator[Issuer]:
    made = Issuer(OidcSettings(provider.url, AUDIENCE), SECRET, now=clock)
    yield made
    await made.close()


async def test_a_token_is_the_tenant_of_its_issuer_and_claim(provider: Provider, issuer: Issuer) -> None:
    ann, again = await issuer.identify(provider.token()), await issuer.identify(provider.token(EC, "e1", "ES256"))
    bob = await issuer.identify(provider.token(sub="bob"))

    assert ann == again
    assert ann.tenant != bob.tenant
    assert is_tenant(ann.tenant)
    assert sorted(ann.scopes) == ["chat", "feedback"]
    assert provider.asked == [DISCOVERY, "/jwks"]
    elsewhere = Issuer(OidcSettings(provider.url, AUDIENCE), bytes(32))
    assert (await elsewhere.identify(provider.token())).tenant != ann.tenant
    await elsewhere.close()


def unsigned(provider: Provider, algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': 'r1'})}.{part(claims(provider.url))}."


def by_public_key(provider: Provider, algorithm: str = "HS256") -> str:
    """Signed with what everybody can read, as if it were a secret text."""
    signed = f"{part({'alg': algorithm, 'kid': 'r1'})}.{part(claims(provider.url))}"
    return f"{signed}.{part(hmac.new(PEM, signed.encode(), sha256).digest())}"


def own_key(provider: Provider, **header: Any) -> str:
    """Signed with a key of the attacker's, which the token itself names."""
    return jwt.encode(claims(provider.url), OTHER_RSA, "RS256", headers={"kid": "r1", **header})


def changed(provider: Provider) -> str:
    header, _, signature = provider.token().split(".")
    return f"{header}.{part(claims(provider.url, sub='bob'))}.{signature}"


def nested(provider: Provider) -> str:
    """A good token inside one that nobody signed with the provider's key."""
    return jwt.api_jws.encode(provider.token().encode(), OTHER_RSA, "RS256", headers={"kid": "r1", "cty": "JWT"})


ATTACKS: dict[str, Callable[[Provider], str]] = {
    "alg none": lambda at: unsigned(at, "none"),
    "alg None": lambda at: unsigned(at, "None"),
    "alg empty": lambda at: unsigned(at, ""),
    "the public key as a secret": by_public_key,
    "the public key as a secret, said to be RS256": lambda at: by_public_key(at, "RS256"),
    "another key under a known name": own_key,
    "a key in the token": lambda at: own_key(at, jwk=public(OTHER_RSA, "r1")),
    "a place of keys in the token": lambda at: own_key(at, jku=f"{at.url}/evil", x5u=f"{at.url}/evil"),
    "a certificate in the token": lambda at: own_key(at, x5c=["MIIB"]),
    "an extension that must be understood": lambda at: own_key(at, crit=["exp"]),
    "no name of a key where there are two": lambda at: at.token(kid=None),
    "a path as the name of a key": lambda at: at.token(kid="../../../../dev/null"),
    "SQL as the name of a key": lambda at: at.token(kid="x' UNION SELECT 'k"),
    "a very long name of a key": lambda at: at.token(kid="k" * 600),
    "the name of a key of another kind": lambda at: at.token(kid="e1"),
    "an algorithm that is not allowed": lambda at: at.token(algorithm="RS512"),
    "other words under the signature": changed,
    "a token inside a token": nested,
    "a token of another kind": lambda at: own_key(at, typ="logout+jwt"),
    "another issuer": lambda at: at.token(iss="https://evil.example"),
    "an issuer that begins alike": lambda at: at.token(iss=at.url + "/"),
    "issuers in a list": lambda at: at.token(iss=[at.url]),
    "no issuer": lambda at: at.token(iss=None),
    "another audience": lambda at: at.token(aud="billing"),
    "no audience": lambda at: at.token(aud=None),
    "an audience that holds ours": lambda at: at.token(aud=f"x {AUDIENCE}"),
    "expired": lambda at: at.token(exp=int(time.time()) - 60),
    "without an end": lambda at: at.token(exp=None),
    "an end that is no number": lambda at: at.token(exp="never"),
    "an end beyond numbers": lambda at: at.token(exp=float("inf")),
    "not valid yet": lambda at: at.token(nbf=int(time.time()) + 60),
    "issued in the future": lambda at: at.token(iat=int(time.time()) + 60),
    "nobody": lambda at: at.token(sub=None),
    "nobody by an empty text": lambda at: at.token(sub=""),
    "oversize": lambda at: at.token(more="x" * MAX_CHARS),
    "deep JSON": lambda _: f"{part(b'[' * 5000)}.{part({})}.{part(b'x')}",
    "no JSON": lambda _: f"{part(b'ey')}.{part(b'x')}.{part(b'x')}",
}


def read(token: str, keys: list[Any], issuer: str) -> Caller:
    rule = TokenRule(issuer, AUDIENCE)
    return read_token(token, key_of(token, keyring_of({"keys": keys}, rule.algorithms), rule), rule, SECRET)[0]


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_other_token_is_refused_without_its_words(attack: str, provider: Provider) -> None:
    token = ATTACKS[attack](provider)

    with pytest.raises((NotAuthorised, UnknownKey)) as refused:
        read(token, provider.keys, provider.url)

    assert not any(piece in str(refused.value) for piece in token.split(".") if piece)
    assert "evil" not in str(refused.value)
    assert provider.asked == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
HEADER = st.fixed_dictionaries(
    {"alg": st.sampled_from(["RS256", "ES256", "none"]) | JSON},
    optional={"kid": st.sampled_from(["r1", "e1"]) | JSON, "typ": JSON, "crit": JSON, "b64": JSON, "cty": JSON},
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=HEADER | JSON, claims=JSON, signature=st.binary(max_size=80), is_signed=st.booleans())
def test_whatever_is_in_a_token_it_is_refused_and_nothing_breaks(
    provider: Provider, header: Any, claims: Any, signature: bytes, is_signed: bool
) -> None:
    said = json.dumps(claims).encode()
    if is_signed and claims is not None:  # by the right key, and not of a token's form
        token = jwt.api_jws.encode(said, RSA, "RS256", {"kid": "r1"})
    else:
        token = f"{part(header)}.{part(said)}.{part(signature)}"

    with pytest.raises((NotAuthorised, UnknownKey)):
        read(token, provider.keys, provider.url)


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "kid": "r1", "k": part(b"k" * 32), "alg": "HS256"},
        public(RSA, "r1", use="enc"),
        public(RSA, "r1", alg="RS512"),
        {**public(RSA, "r1"), "n": "AQAB"},
        {"kty": "RSA", "kid": "r1"},
        {"kty": ["RSA"], "kid": "r1"},
        {"kty": "EC", "kid": "r1", "crv": {}},
        "r1",
    ],
    ids=["a secret", "to encrypt", "RS512", "a short one", "no number", "a list", "no curve", "a text"],
)
def test_a_key_for_something_else_checks_no_token(key: Any, provider: Provider) -> None:
    keys = [key, public(EC, "e1")]

    with pytest.raises((NotAuthorised, UnknownKey)):
        read(provider.token(), keys, provider.url)
    assert read(provider.token(EC, "e1", "ES256"), keys, provider.url).tenant


def test_a_key_that_is_too_short_checks_no_token(provider: Provider) -> None:
    with pytest.warns(match="below the minimum"):  # of making it
        token = provider.token(SMALL_RSA, "s")

    with pytest.raises(NotAuthorised):
        read(token, [public(SMALL_RSA, "s")], provider.url)


async def test_the_only_key_needs_no_name(provider: Provider, issuer: Issuer) -> None:
    provider.keys = [public(ED, None)]

    assert (await issuer.identify(provider.token(ED, None, "EdDSA"))).tenant


async def test_a_new_key_is_read_at_once_but_seldom_for_whoever_makes_names_up(
    provider: Provider, issuer: Issuer, clock: Clock
) -> None:
    await issuer.identify(provider.token())
    provider.keys = [public(RSA, "r1"), public(OTHER_RSA, "r2")]
    for number in range(20):
        with pytest.raises(NotAuthorised):
            await issuer.identify(provider.token(OTHER_RSA, f"x{number}"))
    assert provider.asked.count("/jwks") == 1  # one was read a moment ago

    clock.now_s += 31
    together = [issuer.identify(provider.token(OTHER_RSA, "r2")) for _ in range(20)]
    assert len(set(await asyncio.gather(*together))) == 1
    assert provider.asked.count("/jwks") == 2


async def test_a_key_that_the_provider_took_back_opens_nothing_from_then_on(
    provider: Provider, issuer: Issuer, clock: Clock
) -> None:
    token = provider.token()
    await issuer.identify(token)
    provider.keys = [public(OTHER_RSA, "r1"), public(EC, "e1")]
    assert (await issuer.identify(token)).tenant  # nobody has told us yet
    clock.now_s += 31
    with pytest.raises(NotAuthorised):
        await issuer.identify(provider.token(OTHER_RSA, "r2"))

    with pytest.raises(NotAuthorised):
        await issuer.identify(token)


def test_what_was_checked_holds_a_minute_and_never_beyond_its_end() -> None:
    checked, ann = Checked(capacity=2), Caller("a" * 32)
    checked.keep("long", ann, 1e9, now_s=1000.0)
    checked.keep("short", ann, 1010.0, now_s=1000.0)

    assert (checked.find("long", 1059.0), checked.find("long", 1061.0)) == (ann, None)
    assert (checked.find("short", 1009.0), checked.find("short", 1011.0)) == (ann, None)
    checked.keep("third", ann, 1e9, now_s=1000.0)
    assert [checked.find(one, 1001.0) for one in ("long", "short", "third", "other")] == [None, ann, ann, None]


async def test_known_keys_go_on_while_the_provider_is_away(provider: Provider, issuer: Issuer, clock: Clock) -> None:
    ann = await issuer.identify(provider.token())
    provider.fails = 503
    clock.now_s += 31
    with pytest.raises(NotAuthorised):
        await issuer.identify(provider.token(OTHER_RSA, "r2"))

    assert await issuer.identify(provider.token()) == ann
    assert issuer.fetches == {"ok": 1, "failed": 1}


@pytest.mark.parametrize(
    "says",
    [
        {"issuer": "https://evil.example"},
        {"jwks_uri": "http://evil.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"more": "x" * 2**20},
    ],
    ids=lambda says: next(iter(says)),
)
async def test_who_never_said_its_keys_properly_is_away(
    says: dict[str, Any], provider: Provider, issuer: Issuer
) -> None:
    provider.says = says

    with pytest.raises(IssuerAway) as away:
        await issuer.identify(provider.token())
    assert away.value.status == 503


async def test_who_leaves_ends_the_reading_for_nobody_else(provider: Provider, issuer: Issuer) -> None:
    first = asyncio.create_task(issuer.identify(provider.token()))
    second = asyncio.create_task(issuer.identify(provider.token()))
    await asyncio.sleep(0)
    first.cancel()

    assert (await second).tenant
    assert provider.asked.count("/jwks") == 1


async def test_a_token_opens_what_its_scopes_name(provider: Provider) -> None:
    settings = OidcSettings(provider.url, AUDIENCE, scope_claim="scope", scope_prefix="twicetold:")
    issuer = Issuer(settings, SECRET)
    other = Issuer(replace(settings, scope_claim="roles", scope_prefix="", tenant_claim="org"), SECRET)

    said = (await issuer.identify(provider.token(scope="openid twicetold:chat chat twicetold:root"))).scopes
    listed = await other.identify(provider.token(roles=["admin:read", 1, None], org="acme"))
    nothing = (await issuer.identify(provider.token())).scopes
    for one in (issuer, other):
        await one.close()

    assert (set(said), set(listed.scopes), set(nothing)) == ({"chat"}, {"admin:read"}, set())


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"audience": ""}, "oidc.audience"),
        ({"issuer": "http://id.example"}, "oidc.issuer"),
        ({"jwks_url": "file:///etc/passwd"}, "oidc.jwks_url"),
        ({"algorithms": ["HS256"]}, "oidc.algorithms"),
        ({"algorithms": ["none"]}, "oidc.algorithms"),
        ({"issuer": ""}, "oidc.issuer"),
        ({"refetch_s": 0}, "oidc.refetch_s"),
    ],
    ids=str,
)
def test_settings_that_would_take_any_token_stop_the_start(said: dict[str, Any], named: str) -> None:
    good = {"issuer": "https://id.example", "audience": AUDIENCE}
    with pytest.raises(SettingsError, match=named):
        load_settings({"oidc": {**good, **said}}, environ={})

    assert load_settings({"oidc": good, "host": "192.0.2.1"}, environ={}).needs_keys


def test_the_doctor_asks_the_provider_for_its_keys(provider: Provider, tmp_path: Path) -> None:
    def said() -> dict[str, str]:
        settings = Settings(data_dir=tmp_path, oidc=OidcSettings(provider.url, AUDIENCE))
        return {finding.what: finding.verdict for finding in door_findings(settings)}

    assert said() == {"TLS": "ok", "admin API": "ok", "keys": "ok", "tokens": "ok", "seal": "ok"}
    provider.fails = 500
    assert said()["tokens"] == "bad"
