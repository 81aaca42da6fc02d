"""Who may use the admin API."""

import pytest

from gateway.callers.auth import AdminRule
from gateway.errors import AdminRefused, NotAdmin

KEYED = AdminRule("the key", is_local=False)


@pytest.mark.parametrize("authorization", ["Bearer the key", "bearer the key", "the key"])
def test_the_admin_key_opens_wherever_it_comes_from(authorization: str) -> None:
    KEYED.check(authorization, "gateway.example")


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer the", "Bearer the key2", "Bearer clé", "\udcff"])
def test_another_key_or_none_is_refused_also_on_this_machine(authorization: str | None) -> None:
    for rule in (KEYED, AdminRule("the key", is_local=True)):
        with pytest.raises(NotAdmin):
            rule.check(authorization, "localhost")


@pytest.mark.parametrize("host", ["localhost", "localhost:8420", "127.0.0.1:8420", "[::1]:8420", "127.3.2.1"])
def test_without_a_key_this_machine_may(host: str) -> None:
    AdminRule("", is_local=True).check(None, host)


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "evil.example:8420", "localhost.evil.example", "[", "10.0.0.1"]
)
def test_without_a_key_a_page_that_calls_this_machine_by_another_name_may_not(host: str | None) -> None:
    with pytest.raises(AdminRefused):
        AdminRule("", is_local=True).check(None, host)


def test_a_server_others_can_reach_has_no_admin_api_without_a_key() -> None:
    with pytest.raises(AdminRefused, match="admin_key_env"):
        AdminRule("", is_local=False).check("Bearer anything", "localhost")


def test_the_key_is_not_shown() -> None:
    assert "the key" not in repr(KEYED)
