"""Nothing a caller writes into headers or addresses makes it another caller, or opens another door."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from bench.inprocess import Answer, ask
from bench.isolation.marking import ASKING
from bench.isolation.town import House, house
from gateway.callers.auth import CREDENTIALS
from gateway.edge.framing import misframed

CHAT = "/v1/chat/completions"
BODY = {"model": "m1", "messages": [{"role": "user", "content": "What is in my contract?"}]}
# What proxies, gateways and frameworks somewhere take for the caller, the address, the method or the tenant.
TRUSTED_ELSEWHERE = (
    "forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-user x-forwarded-email x-real-ip "
    "x-client-ip true-client-ip cf-connecting-ip x-original-url x-rewrite-url x-original-host x-http-method-override "
    "x-http-method x-method-override x-tenant x-tenant-id x-user x-user-id x-remote-user remote-user x-auth-user "
    "x-auth-request-user x-consumer-id x-api-user x-org-id openai-organization openai-project x-twicetold-tenant "
    "x-twicetold-key x-twicetold-scope x-twicetold-namespace x-twicetold-salt x-twicetold-admin x-litellm-user "
    "x-litellm-team-id x-litellm-tags x-litellm-end-user-id x-portkey-metadata x-portkey-trace-id "
    "x-portkey-virtual-key x-portkey-config "
    "x-bf-team x-bf-customer helicone-user-id helicone-property-tenant helicone-session-id "
    "helicone-cache-seed x-portkey-cache-namespace proxy-authorization x-access-token x-auth-token cookie"
)
CROOKED = (
    "/v1//chat/completions", "//v1/chat/completions", "/V1/chat/completions", "/v1/Chat/Completions",
    "/v1/chat/completions/", "/v1/chat/completions//", "/v1/chat/completions;a=b", "/v1;a/chat/completions",
    "/v1/./chat/completions", "/v1/x/../chat/completions", "/v1/chat%2fcompletions", "/v1/chat/completions%00",
    "/v1/chat/completions\x00", "/v1/chat/completions.json", "/v1/chat/completions ", "/v1\\chat\\completions",
    "/proxy/v1/chat/completions", "http://127.0.0.1/v1/chat/completions",
)  # fmt: skip
CROOKED_ADMIN = (
    "/admin/api/../api/keys", "/admin//api/keys", "//admin/api/keys", "/ADMIN/api/keys", "/admin/API/keys",
    "/admin/api/keys/", "/admin/api;/keys", "/admin;/api/keys", "/admin/api/keys;a", "/v1/../admin/api/keys",
    "/admin/static/../api/keys", "/admin/static/%2e%2e/api/keys", "/admin/static//etc/passwd", "/admin/api/keys\n",
    "/admin/static/../../gateway/app.py", "/.env", "/admin/.git/config", "//evil.example/admin/",
)  # fmt: skip


def bearer(key: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + key.encode()


async def tenant(home: House, name: str) -> tuple[str, str]:
    """A new one's key and name."""
    made = (await ask(home.apps[0], "POST", "/admin/api/keys", {"name": name})).json()
    return made["key"], made["tenant"]


async def chat(app: FastAPI, *headers: tuple[bytes, bytes], mark: str) -> Answer:
    """The model says whose task had it answer."""
    ASKING.set(mark)
    return await ask(app, "POST", CHAT, BODY, headers)


async def test_no_header_that_others_trust_makes_a_caller_another(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        app = home.apps[0]
        (theirs, name), (ours, _) = await tenant(home, "victim"), await tenant(home, "attacker")
        secret = await chat(app, bearer(theirs), mark="secret")
        for header in TRUSTED_ELSEWHERE.split():
            for value in (
                name,
                "127.0.0.1",
                "/admin/api/keys",
                f"Bearer {theirs}"[:12],
                "for=127.0.0.1;host=localhost",
            ):
                said = await chat(app, bearer(ours), (header.encode(), value.encode()), mark="attacker")
                assert b"secret" not in said.body, header
                assert said.headers.get("x-twicetold-entry") != secret.headers["x-twicetold-entry"]
                assert said.status in (200, 400), (header, said)
        again = await chat(app, bearer(theirs), mark="nobody")
        assert b"secret" in again.body


async def test_who_is_elsewhere_is_let_in_by_no_header(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        for header in TRUSTED_ELSEWHERE.split():
            said = await _from_elsewhere(home.apps[0], header.encode(), b"127.0.0.1")
            assert said.status in (400, 403), header


async def _from_elsewhere(app: FastAPI, header: bytes, value: bytes) -> Answer:
    """What a page gets whose own name was made to resolve to this machine."""

    async def renamed(scope: dict[str, object], receive: object, send: object) -> None:
        listed = scope["headers"]
        assert isinstance(listed, list)
        scope["headers"] = [(b"host", b"evil.example"), *(pair for pair in listed if pair[0] != b"host")]
        await app(scope, receive, send)  # type: ignore[arg-type]

    return await ask(renamed, "GET", "/admin/api/keys", b"", [(header, value)])  # type: ignore[arg-type]


async def test_a_caller_that_shows_two_credentials_in_one_header_is_refused(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        (one, _), (other, _) = await tenant(home, "one"), await tenant(home, "other")
        for header in CREDENTIALS:
            twice = [(header.encode(), key.encode()) for key in (one, other)]
            said = await chat(home.apps[0], *twice, mark="x")
            assert (said.status, said.json()["error"]["message"]) == (400, f"A request has one {header}.")


async def test_of_credentials_in_several_headers_always_the_same_one_counts(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        keys = {header: (await tenant(home, header))[0] for header in CREDENTIALS}
        alone = await chat(home.apps[0], bearer(keys["authorization"]), mark="first")
        shown = [(header.encode(), f"Bearer {key}".encode()) for header, key in keys.items()]
        for some in (shown, shown[::-1], [shown[3], shown[0]]):
            both = await chat(home.apps[0], *some, mark="other")
            assert both.headers["x-twicetold-entry"] == alone.headers["x-twicetold-entry"]


@pytest.mark.parametrize("name", ["origin", "sec-fetch-site", "content-type", "x-twicetold-csrf"])
def test_what_tells_a_page_from_an_app_is_said_once(name: str) -> None:
    said = [(b"host", b"a"), (name.encode(), b"same-origin")]
    assert misframed("1.1", said) == ""
    assert misframed("1.1", [*said, (name.encode(), b"cross-site")]) == f"A request has one {name}."


async def test_crooked_addresses_lead_nowhere_and_to_nobody(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        for method, path in _roads():
            said = await ask(home.apps[0], method, path, BODY if method == "POST" else b"")
            assert said.status in (404, 405), (method, path, said)
            assert "location" not in said.headers, (method, path)
            assert b'"data"' not in said.body


def _roads() -> Iterator[tuple[str, str]]:
    yield from (("POST", path) for path in CROOKED)
    yield from (("GET", path) for path in CROOKED_ADMIN)
    for method in ("TRACE", "CONNECT", "PUT", "PATCH", "DELETE", "PROPFIND", "get", "ADMIN", "QUERY"):
        yield from ((method, path) for path in (CHAT, "/admin/api/session/x", "/metrics", "/openapi.json"))


async def test_a_method_said_in_a_header_is_not_the_method(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        made = (await ask(home.apps[0], "POST", "/admin/api/keys", {"name": "stays"})).json()
        for header in (b"x-http-method-override", b"x-http-method", b"x-method-override"):
            path = f"/admin/api/keys/{made['id']}"
            said = await ask(home.apps[0], "GET", path, b"", [(header, b"DELETE")], query=b"_method=DELETE")
            assert said.status in (404, 405)
        listed = (await ask(home.apps[0], "GET", "/admin/api/keys")).json()["data"]
        assert [one["state"] for one in listed] == ["active"]


async def test_a_compressed_body_is_refused_and_never_inflated(tmp_path: Path) -> None:
    async with house("exact", tmp_path) as home:
        for coding in (b"gzip", b"deflate", b"br", b"zstd", b"x-gzip", b"gzip, gzip", b"identity, gzip"):
            for path in (CHAT, "/v1/embeddings", "/admin/api/keys"):
                said = await ask(home.apps[0], "POST", path, BODY, [(b"content-encoding", coding)])
                assert (said.status, said.json()["error"]["code"]) == (400, "invalid_request")
        plain = await ask(home.apps[0], "POST", CHAT, BODY, [(b"content-encoding", b"identity")])
        assert plain.status == 200
