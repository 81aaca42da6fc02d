"""What a policy takes, and what it never can; a key narrows its tenant; words of the operator are kept and found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.chat import ChatRequest
from gateway.callers.caller import Caller
from gateway.callers.keys import Keys, Wish
from gateway.callers.racks import FolderRack as KeyRack
from gateway.controls import Controls
from gateway.errors import ControlNotAllowed, InvalidRequest, ModelNotAllowed
from gateway.policy import Rules
from gateway.quota.policies import FREE, Policies, TenantPolicy, narrower
from gateway.quota.reading import read_said, written
from gateway.quota.records import FolderRack, Record
from gateway.reply import Reply
from gateway.settings import SettingsError, TenantSettings, load_settings
from gateway.settings.trust import Limits
from tests.gateway.house import house

TENANT, OTHER = "a" * 32, "b" * 32
EVERY_WISH = Controls(
    no_cache=True,
    no_store=True,
    max_age_s=5.0,
    stale_s=9.0,
    ttl_s=60.0,
    namespace="hr",
    tags=("t",),
    tiers=frozenset({"exact"}),
    min_similarity=0.99,
)


def test_without_a_word_everything_is_as_it_was() -> None:
    rules = Rules()
    assert Policies().of(Caller(TENANT)) is FREE
    assert FREE.over(rules) is rules
    assert FREE.clamp(EVERY_WISH) is EVERY_WISH


def test_what_protects_is_never_taken_from_a_caller_and_what_makes_work_can_be() -> None:
    policy = TenantPolicy(controls=frozenset())
    left = policy.clamp(EVERY_WISH)
    assert left == Controls(
        no_store=True, namespace="hr", tiers=frozenset({"exact"}), min_similarity=0.99, only_if_cached=False
    )
    assert policy.refused(EVERY_WISH) == ("no-cache", "max-age", "stale", "ttl", "tags")
    assert policy.clamp(Controls(ttl_s=0.0)).ttl_s == 0.0  # keep nothing: that protects
    with pytest.raises(ControlNotAllowed):
        replace(policy, refuses=True).clamp(EVERY_WISH)
    assert replace(policy, refuses=True).clamp(Controls(no_store=True)) == Controls(no_store=True)


def test_a_policy_narrows_the_rules_of_a_route_and_widens_none() -> None:
    strict = TenantPolicy(semantic_mode="shadow", max_ttl_s=60, min_similarity=0.9, hit_details=False)
    ruled = strict.over(Rules(max_ttl_s=30, min_similarity=0.5))
    assert (ruled.mode, ruled.max_ttl_s, ruled.min_similarity, ruled.hit_details) == ("shadow", 30, 0.9, False)
    assert strict.over(Rules(mode="off")).mode == "off"
    loose = TenantPolicy(max_ttl_s=600)
    assert loose.over(Rules(max_ttl_s=30, min_similarity=0.5, hit_details=False)) == Rules(
        max_ttl_s=30, min_similarity=0.5, hit_details=False
    )


def test_the_policy_of_a_key_narrows_its_tenants_and_one_that_cannot_be_read_allows_nothing() -> None:
    said = TenantSettings(TENANT, models=("gpt-*",), limits=Limits(concurrent=9))
    key = Caller(TENANT, "key_1", narrowing={"models": ["*-mini"], "limits": {"concurrent": 2}, "share": False})
    policy = Policies([said]).of(key)
    assert [policy.allows(name) for name in ("gpt-5-mini", "gpt-5", "o4-mini")] == [True, False, False]
    assert policy.limits == ((TENANT, Limits(concurrent=9)), (f"{TENANT}/key_1", Limits(concurrent=2)))
    assert not policy.shares
    with pytest.raises(ModelNotAllowed):
        Policies().of(Caller(TENANT, "key_1", narrowing={"modles": ["*"]})).check_model("gpt-5")


def test_everybody_elses_word_is_that_of_the_star_with_limits_for_each() -> None:
    policies = Policies([TenantSettings("*", limits=Limits(concurrent=1)), TenantSettings(OTHER, share=False)])
    assert policies.of(Caller(TENANT)).limits == ((TENANT, Limits(concurrent=1)),)
    assert policies.of(Caller(OTHER)).limits == ()


async def test_what_is_said_at_run_time_goes_over_the_file_and_is_found_after_a_restart(tmp_path: Path) -> None:
    file = [TenantSettings(TENANT, models=("a",))]
    policies = Policies(file, [FolderRack(tmp_path)])
    await policies.say(TENANT, {"models": ["b"], "limits": {"tokens_per_day": 5}})
    again = Policies(file, [FolderRack(tmp_path)])
    await again.open()
    assert again.told()[TENANT] == {"policy": {"models": ["b"], "limits": {"tokens_per_day": 5}}, "source": "admin"}
    assert await again.unsay(TENANT)
    assert again.of_tenant(TENANT).models == (("a",),)
    await policies.refresh()
    assert policies.of_tenant(TENANT).models == (("a",),)  # another process took it back
    assert not await policies.unsay(TENANT)


async def test_a_word_that_is_heard_of_is_kept_in_every_rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, shared = FolderRack(tmp_path / "here"), FolderRack(tmp_path / "shared")
    policies, other = Policies([], [here, shared]), Policies([], [FolderRack(tmp_path / "shared")])
    await policies.say(TENANT, {"models": ["a"]})
    await other.say(TENANT, {"models": ["b"]})

    async def unchanged() -> bool:
        return False

    monkeypatch.setattr(here, "changed", unchanged)
    await policies.refresh()
    again = Policies([], [FolderRack(tmp_path / "here")])
    await again.open()
    assert again.of_tenant(TENANT).models == (("b",),)


async def test_the_last_word_holds_after_the_clock_was_put_back(tmp_path: Path) -> None:
    clock = [1e9, 5e8, 4e8]
    policies = Policies([], [FolderRack(tmp_path)], now=lambda: clock.pop(0))
    await policies.say(TENANT, {"models": ["a"]})
    await policies.say(TENANT, {"models": ["b"]})
    assert policies.of_tenant(TENANT).models == (("b",),)
    assert await policies.unsay(TENANT)
    again = Policies([], [FolderRack(tmp_path)])
    await again.open()
    assert policies.of_tenant(TENANT) is again.of_tenant(TENANT) is FREE


def test_of_two_words_the_newer_holds_whichever_is_asked() -> None:
    one, other, third = Record(TENANT, 1.0, None), Record(TENANT, 2.0, {"share": False}), Record(TENANT, 2.0, None)
    assert one.newer(other) == other.newer(one) == other
    assert other.newer(third) == third.newer(other)


def test_what_is_written_is_read_again_and_a_bad_word_names_its_field() -> None:
    said = read_said({"models": ["a", "b*"], "max_ttl_s": 5, "limits": {"money_per_month": 2.5}}, TENANT)
    assert read_said(written(said), TENANT) == said
    for field, bad in (
        ("limits.concurrent", {"limits": {"concurrent": -1}}),
        ("semantic_mode", {"semantic_mode": "loud"}),
        ("controls", {"controls": ["no-store"]}),
        ("surprise", {"surprise": 1}),
    ):
        with pytest.raises(InvalidRequest) as raised:
            read_said(bad, TENANT)
        assert raised.value.param == field


def test_the_configuration_says_which_table_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(f'[[tenants]]\ntenant = "*"\nlimits = {{ concurrent = 3 }}\n[[tenants]]\ntenant = "{TENANT}"\n')
    assert [said.limits.concurrent for said in load_settings({}, path, {}).tenants] == [3, None]
    path.write_text('[[tenants]]\ntenant = "Bob"\n')
    with pytest.raises(SettingsError, match=r"tenants\[0\].tenant"):
        load_settings({}, path, {})


async def test_a_tenant_whose_policy_has_no_hits_by_meaning_gets_none_and_the_others_do(tmp_path: Path) -> None:
    off = TenantPolicy(semantic_mode="off")
    async with house(tmp_path) as home:
        await home.chat("What is the capital city of France?")
        await home.pipeline.close()  # what is owed to the store is written
        reworded = ChatRequest("scripted", ({"role": "user", "content": "What's the capital city of France?"},), {})
        tiers = []
        for policy in (off, FREE):
            reply = await home.pipeline.look_up(reworded, "t", "", Controls(), policy)
            tiers.append(reply.outcome.tier if isinstance(reply, Reply) else "miss")
        assert tiers == ["miss", "semantic"]


async def test_a_rotated_key_takes_its_limits_along(tmp_path: Path) -> None:
    keys = Keys(b"s" * 32, [KeyRack(tmp_path)])
    first = await keys.create(Wish("app", tenant=TENANT, policy={"limits": {"tokens_per_day": 5}}))
    second = await keys.rotate(first["id"], grace_s=60.0)
    third = await keys.rotate(second["id"])
    again = Keys(b"s" * 32, [KeyRack(tmp_path)])
    await again.open()
    for known in (keys, again):
        accounts = {Policies().of(known.identify(key["key"])).limits[0][0] for key in (first, third)}
        assert accounts == {f"{TENANT}/{first['id']}"}


@pytest.mark.parametrize(("said", "field"), [({"tenant": "x"}, "tenant"), ({"models": "gpt,x"}, "models")])
def test_what_is_no_part_of_the_policy_of_a_key_is_refused(said: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_said(said)
    assert raised.value.param == field


def test_of_two_policies_only_the_controls_that_both_allow_are_left() -> None:
    one, other = TenantPolicy(controls=frozenset({"ttl", "tags"})), TenantPolicy(controls=frozenset({"ttl", "stale"}))
    assert narrower(one, other).controls == {"ttl"}
