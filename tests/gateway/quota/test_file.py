"""Budgets on disk: what was used is known after a restart, and a damaged file stops nothing."""

from datetime import UTC, datetime
from pathlib import Path

from backends.chat import Usage
from gateway.quota.file import BudgetFile
from gateway.quota.gate import Quota
from gateway.quota.guess import Guess
from gateway.quota.policies import TenantPolicy
from gateway.settings.trust import Limits

TENANT = "a" * 32
NOON_S = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
POLICY = TenantPolicy(limits=((TENANT, Limits(tokens_per_month=100)), (f"{TENANT}/key_1", Limits(concurrent=3))))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def spend(quota: Quota, tokens: int) -> None:
    async with quota.enter(POLICY, lambda: Guess("m", 5, 5)) as admission:
        admission.check()
        admission.settle(Usage(tokens), is_hit=False, model="m")


async def test_budgets_survive_a_restart_and_what_was_under_way_does_not_count(tmp_path: Path) -> None:
    file = BudgetFile(tmp_path / "budgets.db")
    quota = Quota(file=file, now=lambda: NOON_S)
    await spend(quota, 60)
    await quota.enter(POLICY, lambda: Guess("m", 5, 5)).__aenter__()
    await quota.close()

    again = Quota(file=file, now=lambda: NOON_S)
    await again.open()
    account = again.accounts.of(TENANT)
    assert (account.month.sums.tokens, account.month.sums.requests, account.running) == (60, 1, 0)
    assert oct((tmp_path / "budgets.db").stat().st_mode)[-3:] == "600"


async def test_a_damaged_file_is_put_aside_and_limits_go_on(tmp_path: Path) -> None:
    path = tmp_path / "budgets.db"
    path.write_bytes(b"no database at all" * 100)
    quota = Quota(file=BudgetFile(path), now=lambda: NOON_S)
    await quota.open()
    await spend(quota, 60)
    await quota.close()
    assert any(name.startswith("budgets.db.corrupt-") for name in names(tmp_path))
    assert [name for name, _ in await BudgetFile(path).load()] == [TENANT, f"{TENANT}/key_1"]


async def test_a_tenant_that_is_forgotten_is_forgotten_with_its_keys(tmp_path: Path) -> None:
    file = BudgetFile(tmp_path / "budgets.db")
    quota = Quota(file=file, now=lambda: NOON_S)
    await spend(quota, 60)
    await quota.close()
    assert (quota.count(TENANT), await quota.erase(TENANT)) == (2, 2)
    assert await file.load() == []
    assert TENANT.encode() not in (tmp_path / "budgets.db").read_bytes()
