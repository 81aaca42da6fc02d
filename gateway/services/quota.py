"""What each tenant may do, and how much of it."""

from gateway.ledger import Ledger
from gateway.live.prices import Prices
from gateway.quota.file import FILE, BudgetFile
from gateway.quota.gate import Quota
from gateway.quota.policies import Policies
from gateway.quota.records import FOLDER, FolderRack, Record
from gateway.racks.kind import Rack
from gateway.services.shared import Shared
from gateway.settings import Settings


def policies_of(settings: Settings, shared: Shared | None) -> Policies:
    """From the configuration, from a folder, and from the Redis that gateways share."""
    racks: list[Rack[Record]] = [FolderRack(settings.data_dir / FOLDER)]
    if shared is not None:
        from gateway.shared.racks import RedisTenants

        racks.append(RedisTenants(shared.link))
    return Policies(settings.tenants, racks)


def quota_of(settings: Settings, prices: Prices, ledger: Ledger, shared: Shared | None) -> Quota:
    """Limits, of all gateways together where they share a Redis, and the budgets that survive a restart."""
    accounts = None
    if shared is not None:
        from gateway.shared.quota import RedisAccounts

        accounts = RedisAccounts(shared.link, shared.replica.decode())
    file = BudgetFile(settings.data_dir / FILE)
    return Quota(prices, file=file, shared=accounts, best_effort=ledger.best_effort)
