"""Taking answers out of service through a real server: a dry run first, then everywhere at once."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import Gateway, running_gateway
from tests.e2e.test_commands import twicetold
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream


def ask(gateway: Gateway, text: str, *, key: str = "", model: str = "m", **cache: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "cache": cache}
    return gateway.post(body, **({"Authorization": f"Bearer {key}"} if key else {}))


def tier(response: httpx.Response) -> str:
    return response.headers["x-twicetold-tier"]


def invalidate(gateway: Gateway, **body: Any) -> httpx.Response:
    return httpx.post(f"{gateway.url}/admin/api/invalidate", json=body, timeout=30, **LOOPBACK)


def entries(gateway: Gateway, **criteria: Any) -> dict[str, Any]:
    found = httpx.get(f"{gateway.url}/admin/api/entries", params=criteria, timeout=30, **LOOPBACK)
    return found.json() if found.status_code == 200 else {"status": found.status_code, **found.json()}


def entry_of(response: httpx.Response) -> str:
    return response.headers["x-twicetold-entry"]


def test_a_dry_run_is_the_default_and_removes_nothing(gateway: Gateway) -> None:
    kept = [entry_of(ask(gateway, f"dry {number}", tags=["dry"])) for number in range(3)]
    gateway.wait_for(lambda _: len(entries(gateway, tag="dry")["data"]), 3)

    shown = invalidate(gateway, tag="dry").json()
    assert (shown["dry_run"], shown["count"], set(shown["sample"])) == (True, 3, set(kept))
    assert tier(ask(gateway, "dry 0", tags=["dry"])) == "exact"

    done = invalidate(gateway, tag="dry", dry_run=False).json()
    assert (done["dry_run"], done["count"]) == (False, 3)
    assert tier(ask(gateway, "dry 0", tags=["dry"])) == "full"


@pytest.mark.parametrize(
    ("criterion", "goes"),
    [
        ({"model": "m-two"}, "model"),
        ({"namespace": "space"}, "namespace"),
        ({"tag": "red"}, "tag"),
        ({"request": {"model": "m", "messages": [{"role": "user", "content": "{} plain"}]}}, "plain"),
    ],
)
def test_each_criterion_removes_its_own_and_nothing_else(
    gateway: Gateway, criterion: dict[str, Any], goes: str
) -> None:
    mark = f"each {goes}"
    asked = {
        "model": {"text": f"{mark} model", "model": "m-two"},
        "namespace": {"text": f"{mark} namespace", "namespace": "space"},
        "tag": {"text": f"{mark} tag", "tags": ["red", "blue"]},
        "plain": {"text": f"{mark} plain"},
    }
    for wishes in asked.values():
        ask(gateway, **wishes)  # type: ignore[arg-type]
    criterion = json.loads(json.dumps(criterion).replace("{}", mark))

    assert invalidate(gateway, **criterion, dry_run=False).status_code == 200
    found = {name: tier(ask(gateway, **wishes)) for name, wishes in asked.items()}  # type: ignore[arg-type]
    assert found == {name: "full" if name == goes else "exact" for name in asked}


def test_entries_can_be_gone_through_page_by_page_and_deleted(gateway: Gateway) -> None:
    made = {entry_of(ask(gateway, f"page {number} of the needle", namespace="paged")) for number in range(5)}
    gateway.wait_for(lambda _: len(entries(gateway, namespace="paged")["data"]), 5)

    seen, after, pages = [], None, 0
    while pages == 0 or after is not None:
        page = entries(gateway, namespace="paged", limit=2, **({"after": after} if after else {}))
        seen += [row["id"] for row in page["data"]]
        after, pages = page["next"], pages + 1
    assert (set(seen), len(seen), pages) == (made, 5, 3)

    (row,) = entries(gateway, text="PAGE 3 of the NEEDLE")["data"]
    whole = gateway.get(f"/admin/api/entries/{row['id']}").json()
    assert whole["request"]["messages"][0]["content"] == "page 3 of the needle"
    assert whole["choices"][0]["finish_reason"] == "stop"

    address = f"{gateway.url}/admin/api/entries/{row['id']}"
    assert httpx.delete(address, **LOOPBACK).json()["deleted"]
    assert [httpx.request(verb, address, **LOOPBACK).status_code for verb in ("GET", "DELETE")] == [404, 404]
    assert tier(ask(gateway, "page 3 of the needle", namespace="paged")) == "full"


def test_a_tenant_goes_alone(gateway: Gateway) -> None:
    for key in ("sk-stays", "sk-goes"):
        ask(gateway, "whose is it?", key=key)
    gateway.wait_for(lambda _: len(entries(gateway, text="whose is it?")["data"]), 2)
    tenants = {row["tenant"] for row in entries(gateway, text="whose is it?")["data"]}
    leaving = next(tenant for tenant in tenants if tenant == _tenant_of(gateway, "sk-goes"))

    assert invalidate(gateway, tenant=leaving, dry_run=False).json()["count"] >= 1
    assert [tier(ask(gateway, "whose is it?", key=key)) for key in ("sk-stays", "sk-goes")] == ["exact", "full"]


def _tenant_of(gateway: Gateway, key: str) -> str:
    mine = entry_of(ask(gateway, "whose is it?", key=key))
    return str(gateway.get(f"/admin/api/entries/{mine}").json()["tenant"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "all"),
        ({"older_than": -1}, "older_than"),
        ({"tag": 7}, "tag"),
        ({"colour": "red"}, "colour"),
        ({"request": {"model": "m", "messages": []}}, "request.messages"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(gateway: Gateway, body: dict[str, Any], param: str) -> None:
    response = invalidate(gateway, **body, dry_run=False)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(("asked", "param"), [({"limit": 0}, "limit"), ({"after": "x"}, "after"), ({"x": 1}, "x")])
def test_a_list_that_cannot_be_meant_is_refused_by_name(gateway: Gateway, asked: dict[str, Any], param: str) -> None:
    assert entries(gateway, **asked)["error"]["param"] == param


def test_the_command_shows_first_and_does_it_when_told(upstream: RunningUpstream, tmp_path: Path) -> None:
    flags = ("--upstream", upstream.base_url)
    with running_gateway(tmp_path / "data", *flags, cache__semantic="false") as gateway:
        gateway.wait("upstream")
        old = entry_of(ask(gateway, "by command"))
        gateway.wait_for(lambda stats: stats["entries"], 1)

        shown = twicetold("invalidate", "--older-than", "0s", "--url", gateway.url)
        assert (shown.returncode, shown.stdout) == (0, f"1 answer would go; --yes does it\n  {old}\n")
        assert twicetold("invalidate", "--url", gateway.url).returncode == 2  # nothing is named
        done = twicetold("invalidate", "--all", "--yes", "--json", "--url", gateway.url)
        assert json.loads(done.stdout) == {"dry_run": False, "count": 1, "sample": [old]}
        assert tier(ask(gateway, "by command")) == "full"
        gateway.stop()
    with running_gateway(tmp_path / "data", *flags, cache__semantic="false") as gateway:
        gateway.wait("upstream")
        assert gateway.stats()["entries"] == 1  # what was asked after the invalidation
