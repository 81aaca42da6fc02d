"""Whose kept policy cannot be read may do nothing until an operator mends it: nobody knows what it was kept from."""

import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.callers.caller import Caller
from gateway.errors import PolicyUnreadable, StoreAway
from gateway.quota.policies import FREE, Policies
from gateway.quota.records import EVERYBODY, FolderRack
from gateway.settings import TenantSettings
from tests.gateway.quota.serving import limited_gateway
from tests.upstream import running_upstream

TENANT, OTHER = "a" * 32, "b" * 32
UNREADABLE = {"policy": None, "source": "admin", "unreadable": True}
KINDS = {
    "torn": "{",
    "empty": "",
    "list": "[]",
    "of-another-kind": '{"tenant": "%s", "changed_s": 1, "said": {"models": 7}}',
    "of-a-newer-version": '{"tenant": "%s", "changed_s": 1, "said": {"share": false, "surprise": 1}}',
    "with-a-newer-field": '{"tenant": "%s", "changed_s": 1, "said": {"share": false}, "surprise": 1}',
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_in_file", [False, True], ids=["run-time", "configured"])
async def test_whose_policy_cannot_be_read_may_do_nothing(
    tmp_path: Path, kind: str, is_in_file: bool, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(tmp_path, TENANT, kind)
    said = [TenantSettings(TENANT, models=("a",))] if is_in_file else []
    policies = Policies(said, [FolderRack(tmp_path)])
    with caplog.at_level(logging.ERROR):
        await policies.open()
        await policies.refresh()

    for caller in (Caller(TENANT), Caller(TENANT, "key_1", narrowing={"models": ["*"]})):
        with pytest.raises(PolicyUnreadable):
            policies.check(caller)
        with pytest.raises(PolicyUnreadable):
            policies.of(caller).check_model("a")
        assert not policies.of(caller).allows("a")
    policies.check(Caller(OTHER))
    assert policies.of_tenant(OTHER) is FREE
    assert policies.told()[TENANT] == UNREADABLE
    assert len([one for one in caplog.messages if TENANT in one]) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["said", "taken-back", "removed"])
async def test_an_operator_mends_it(tmp_path: Path, kind: str, how: str) -> None:
    path = spoil(tmp_path, TENANT, kind)
    policies = Policies([TenantSettings(TENANT, models=("a",))], [FolderRack(tmp_path)])
    await policies.open()
    match how:
        case "said":
            await policies.say(TENANT, {"models": ["b"]})
        case "taken-back":
            assert await policies.unsay(TENANT)
        case "removed":
            path.unlink()
    again = Policies([TenantSettings(TENANT, models=("a",))], [FolderRack(tmp_path)])
    await again.open()
    known = [again] if how == "removed" else [policies, again]  # a word that was understood in part is still known
    for each in known:
        each.check(Caller(TENANT))
        assert each.of_tenant(TENANT).models == ((("b",),) if how == "said" else (("a",),))
        assert "unreadable" not in each.told()[TENANT]


async def test_a_damaged_word_for_everybody_holds_those_who_have_none_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "everybody.json").write_text("{")
    policies = Policies([TenantSettings(OTHER, models=("a",))], [FolderRack(tmp_path)])
    await policies.open()
    with pytest.raises(PolicyUnreadable):
        policies.check(Caller(TENANT))
    policies.check(Caller(OTHER))
    assert policies.told()[EVERYBODY] == UNREADABLE


async def test_a_file_that_is_nobodys_holds_nobody_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notes.json").write_text("{")
    policies = Policies([], [FolderRack(tmp_path)])
    with caplog.at_level(logging.ERROR):
        await policies.open()
        await policies.refresh()
    assert policies.of_tenant(TENANT) is FREE
    assert len([one for one in caplog.messages if "notes" in one]) == 1


async def test_what_another_place_knows_mends_a_damaged_file(tmp_path: Path) -> None:
    here, shared = tmp_path / "here", tmp_path / "shared"
    await Policies([], [FolderRack(here), FolderRack(shared)]).say(TENANT, {"models": ["a"]})
    (here / f"{TENANT}.json").write_text("{")
    policies = Policies([], [FolderRack(here), FolderRack(shared)])
    await policies.open()
    alone = Policies([], [FolderRack(here)])
    await alone.open()
    for each in (policies, alone):
        each.check(Caller(TENANT))
        assert each.of_tenant(TENANT).models == (("a",),)


async def test_a_word_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    here, shared = tmp_path / "here", tmp_path / "shared"
    shared.mkdir()
    path = spoil(shared, TENANT, "of-a-newer-version")
    before = path.read_bytes()
    policies = Policies([], [FolderRack(here), FolderRack(shared)])
    await policies.open()
    with pytest.raises(PolicyUnreadable):
        policies.check(Caller(TENANT))
    assert path.read_bytes() == before
    assert b"surprise" in (here / path.name).read_bytes()


ROADS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "chat": ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
    "messages": ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "responses": ("/v1/responses", {"model": "m", "input": "hi"}),
    "embeddings": ("/v1/embeddings", {"model": "m", "input": "hi"}),
    "feedback": ("/v1/cache/feedback", {"entry": "e_1", "verdict": "good"}),
    "models": ("/v1/models", None),
}


def test_over_http_it_is_a_clear_403_until_it_is_mended(tmp_path: Path) -> None:
    with running_upstream() as upstream:
        with limited_gateway(tmp_path, upstream) as gateway:
            tenant = gateway.tenant("sk-one")
            assert gateway.chat("stored before").status_code == 200
        (tmp_path / "tenants").mkdir(exist_ok=True)
        spoil(tmp_path / "tenants", tenant, "torn")
        with limited_gateway(tmp_path, upstream) as gateway:
            bearer = {"authorization": "Bearer sk-one"}
            for path, body in ROADS.values():
                said = gateway.http.request("GET" if body is None else "POST", path, json=body, headers=bearer)
                assert said.status_code == 403, (path, said.text)
                assert "policy of this tenant cannot be read" in said.json()["error"]["message"]
            assert said.json()["error"]["code"] == "policy_unreadable"
            assert gateway.chat("stored before", "sk-other").status_code == 200
            assert gateway.admin("GET", f"/tenants/{tenant}").json() == {"tenant": tenant, **UNREADABLE, "usage": None}
            listed = {one["tenant"]: one for one in gateway.admin("GET", "/tenants").json()["data"]}
            assert listed[tenant]["unreadable"]
            assert gateway.admin("PUT", f"/tenants/{tenant}", {"share": False}).status_code == 200
            assert gateway.chat("stored before").status_code == 200
            assert "unreadable" not in gateway.admin("GET", f"/tenants/{tenant}").json()


def spoil(folder: Path, tenant: str, kind: str) -> Path:
    path = folder / f"{tenant}.json"
    path.write_text(KINDS[kind].replace("%s", tenant))
    return path


async def test_where_nothing_can_be_read_nobody_may_do_anything_until_it_can(tmp_path: Path) -> None:
    place = tmp_path / "tenants"
    place.touch()  # a folder that cannot be read, for root, too
    policies = Policies([], [FolderRack(place)])
    await policies.open()
    with pytest.raises(PolicyUnreadable):
        policies.check(Caller(OTHER))

    place.unlink()
    await policies.refresh()
    policies.check(Caller(OTHER))
    assert policies.of_tenant(OTHER) is FREE


async def test_a_folder_that_fails_for_a_moment_changes_nothing(tmp_path: Path) -> None:
    policies = Policies([], [FolderRack(tmp_path / "tenants")])
    await policies.open()
    await policies.say(TENANT, {"models": ["a"]})
    (tmp_path / "tenants").rename(tmp_path / "away")
    (tmp_path / "tenants").touch()
    with pytest.raises(StoreAway):
        await policies.refresh()

    assert policies.of_tenant(TENANT).models == (("a",),)
    policies.check(Caller(OTHER))
