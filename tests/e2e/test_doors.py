"""Every door of one gateway at once: HTTPS, keys with scopes, tokens of an identity provider, and what each opens."""

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.e2e.server import Gateway, started
from tests.gateway.callers.issuers import AUDIENCE, OTHER_RSA, Provider, running_provider
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

ADMIN_KEY, UPSTREAM_KEY, SECRET = "adm-" + "Zq7" * 8, "sk-up-" + "Xw9" * 8, "0123456789abcdef" * 3
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANTHROPIC = {**ASK, "max_tokens": 5}


@dataclass(frozen=True)
class House:
    """One gateway and who may come in."""

    gateway: Gateway
    provider: Provider
    trust: ssl.SSLContext
    folder: Path
    client: httpx.Client

    def call(self, method: str, path: str, credential: str | None = None, body: Any = None) -> httpx.Response:
        headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
        return self.client.request(method, path, headers=headers, json=body)

    def chat(self, credential: str | None) -> httpx.Response:
        return self.call("POST", "/v1/chat/completions", credential, ASK)

    def key(self, *scopes: str) -> str:
        wish = {"name": "test", **({"scopes": scopes} if scopes else {})}
        made: str = self.call("POST", "/admin/api/keys", ADMIN_KEY, wish).json()["key"]
        return made


@pytest.fixture(scope="module")
def house(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    ca = trustme.CA()
    leaf = ca.issue_cert("127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    (folder / "admin.key").write_text(ADMIN_KEY + "\n")
    with running_provider() as provider:
        flags = ("--upstream", upstream.base_url, "--admin-key-env", f"@{folder / 'admin.key'}")
        settings = {
            "cache__semantic": "false",
            "log_level": "debug",
            "tls__cert": str(folder / "server.pem"),
            "keys__open_metrics": "false",
            "oidc__issuer": provider.url,
            "oidc__audience": AUDIENCE,
            "oidc__scope_claim": "scope",
            "secret_env": "TWICETOLD_HOUSE_SECRET",
            "house_secret": SECRET,
            "api_key_env": "TWICETOLD_HOUSE_UPSTREAM",
            "house_upstream": UPSTREAM_KEY,
        }
        with (
            started(folder / "data", flags, settings, trust) as gateway,
            httpx.Client(base_url=gateway.url, verify=trust, trust_env=False, timeout=30) as client,
        ):
            yield House(gateway, provider, trust, folder, client)


def test_it_speaks_https_and_nothing_else(house: House) -> None:
    assert house.gateway.url.startswith("https://")
    assert house.call("GET", "/healthz").status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(house.gateway.url.replace("https", "http") + "/healthz", **LOOPBACK)
    cookie = house.call("POST", "/admin/api/session", None, {"key": ADMIN_KEY}).headers["set-cookie"]
    assert "Secure" in cookie


def test_whoever_is_not_known_is_not_served(house: House) -> None:
    for credential in (None, "sk-any", house.provider.token(OTHER_RSA), house.provider.token(aud="billing")):
        refused = house.chat(credential)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("route", ["chat/completions", "messages/count_tokens", "embeddings", "cache/feedback"])
def test_nobody_has_a_body_read_before_it_is_known_who_sends_it(house: House, route: str) -> None:
    head = f"POST /v1/{route} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9000000\r\n\r\n"
    url = httpx.URL(house.gateway.url)
    with (
        socket.create_connection((url.host, url.port or 443), timeout=20) as plain,
        house.trust.wrap_socket(plain, server_hostname=url.host) as secure,
    ):
        secure.sendall(head.encode())
        assert secure.recv(12) == b"HTTP/1.1 401"


def test_keys_and_tokens_are_tenants_that_share_nothing(house: House) -> None:
    ours = house.key(), house.provider.token(scope="chat"), house.provider.token(scope="chat", sub="bob")

    first = [house.chat(one).headers["x-twicetold-tier"] for one in ours]
    again = [house.chat(one).headers["x-twicetold-tier"] for one in ours]

    assert (first, again) == (["full"] * 3, ["exact"] * 3)


def test_a_credential_without_the_scope_is_refused_by_name_in_the_shape_of_the_route(house: House) -> None:
    said = house.chat(house.key("feedback"))
    shaped = house.call("POST", "/v1/messages", house.provider.token(scope="openid"), ANTHROPIC)

    assert (said.status_code, said.json()["error"]["code"]) == (403, "scope_lacking")
    assert "'chat'" in said.json()["error"]["message"]
    assert (shaped.status_code, shaped.json()["type"]) == (403, "error")
    asked = {"request": ASK}
    for path, body in (("embeddings", {"model": "m", "input": "?"}), ("cache/lookup", asked),
                       ("messages/count_tokens", ANTHROPIC), ("completions", {"model": "m", "prompt": "?"}),
                       ("responses", {"model": "m", "input": "?"})):  # fmt: skip
        assert house.call("POST", f"/v1/{path}", house.key("admin:read"), body).status_code == 403, path
    verdict = {"id": "chatcmpl-1", "verdict": "good"}
    assert house.call("POST", "/v1/cache/feedback", house.key("chat"), verdict).status_code == 403
    assert house.call("GET", "/v1/models", house.key("feedback")).status_code == 403


def test_a_key_may_narrow_what_its_tenant_may_do(house: House) -> None:
    def make(policy: dict[str, Any]) -> httpx.Response:
        return house.call("POST", "/admin/api/keys", ADMIN_KEY, {"name": "small", "policy": policy})

    made = make({"models": ["other-*"]}).json()
    refused = make({"models": ["*"], "limits": {"concurrent": -1}})

    assert made["policy"] == {"models": ["other-*"]}
    assert house.chat(made["key"]).status_code == 403
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "policy.limits.concurrent")


def test_the_admin_api_opens_for_scopes_and_reading_changes_nothing(house: House) -> None:
    reader, writer = house.key("admin:read"), house.provider.token(scope=["admin:write"])

    assert house.call("GET", "/admin/api/keys", reader).status_code == 200
    refused = house.call("POST", "/admin/api/keys", reader, {"name": "more"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "scope_lacking")
    assert "'admin:write'" in refused.json()["error"]["message"]
    assert house.call("POST", "/admin/api/keys", writer, {"name": "more"}).status_code == 201
    assert house.call("GET", "/admin/api/stats", house.key()).status_code == 403
    assert house.chat(reader).status_code == 403


def test_an_operator_names_whom_a_request_is_of_by_a_token_too(house: House) -> None:
    token = house.provider.token(scope="chat", sub="carol")
    assert [house.chat(token).headers["x-twicetold-tier"] for _ in range(2)] == ["full", "exact"]
    told = {"request": ASK, "api_key": token}

    explained = house.call("POST", "/admin/api/explain", ADMIN_KEY, told)
    warmed = house.call("POST", "/admin/api/warm", ADMIN_KEY, told)
    gone = house.call("POST", "/admin/api/invalidate", ADMIN_KEY, {**told, "dry_run": False})

    assert (explained.json()["exact"]["found"], warmed.json()["state"], gone.json()["count"]) == (True, "present", 1)
    assert house.chat(token).headers["x-twicetold-tier"] == "full"
    forged = {"request": ASK, "api_key": house.provider.token(OTHER_RSA)}
    assert house.call("POST", "/admin/api/invalidate", ADMIN_KEY, forged).status_code in (401, 403)


def test_figures_are_for_who_may_look(house: House) -> None:
    assert house.call("GET", "/metrics").status_code == 401
    assert house.call("GET", "/metrics", house.key()).status_code == 403
    for credential in (ADMIN_KEY, house.key("admin:read")):
        assert "twicetold_requests_total" in house.call("GET", "/metrics", credential).text


def test_a_live_stream_ends_with_the_key_that_opened_it(house: House) -> None:
    made = house.call("POST", "/admin/api/keys", ADMIN_KEY, {"name": "eye", "scopes": ["admin:read"]}).json()
    headers = {"authorization": f"Bearer {made['key']}"}
    with house.client.stream("GET", "/admin/api/live", headers=headers) as live:
        assert live.status_code == 200
        house.call("DELETE", f"/admin/api/keys/{made['id']}", ADMIN_KEY)
        house.chat(house.key())
        for _ in live.iter_raw():  # until it ends
            pass


def test_no_secret_is_logged_or_told(house: House) -> None:
    """At level debug, with every secret set, after everything above and requests that fail."""
    key, token = house.key(), house.provider.token(scope="chat", sub="carol")
    broken = token[:-4] + "AAAA"
    told = [house.chat(one).text for one in (key, token, broken, key + "x", "sk-mine-123456789")]
    told += [house.call("GET", path, ADMIN_KEY).text for path in ("/admin/api/keys", "/admin/api/stats", "/metrics")]
    told += [house.call("POST", "/admin/api/session", None, {"key": "wrong-key-987"}).text]
    told += [path.read_text("utf-8", "replace") for path in (house.gateway.log, house.folder / "data" / "log")
             if path.is_file()]  # fmt: skip

    log = house.gateway.log.read_text("utf-8", "replace")
    assert "DEBUG" in log or "INFO" in log
    private = re.sub(r"-----.*?-----|\s", "", (house.folder / "server.pem").read_text())
    secrets = [ADMIN_KEY, UPSTREAM_KEY, SECRET, key, token.split(".")[2], broken, "sk-mine-123456789", "wrong-key-987"]
    for text in (*told, log):
        assert not [secret for secret in (*secrets, private[:64]) if secret in text]
    for path in (house.folder / "data").rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in raw], path
