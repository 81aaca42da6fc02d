"""What tenants share, where a route says so."""

from pathlib import Path

from gateway.answers.tiered import TieredAnswers
from gateway.commons.commons import Commons
from gateway.commons.file import FileWitnesses
from gateway.commons.witnesses import Witnesses
from gateway.ledger import Ledger
from gateway.services.shared import Shared
from gateway.settings import Settings

FILE = "commons.db"


def commons_of(
    settings: Settings, secret: bytes, answers: TieredAnswers, shared: Shared | None, ledger: Ledger
) -> Commons | None:
    """None where no route shares, and none has: what was shared once can still be forgotten."""
    path = settings.data_dir / FILE
    if not any(route.share_tenants for route in settings.cache.routes) and not path.exists():
        return None
    return Commons(secret, _witnesses(path, shared), answers, ledger)


def _witnesses(path: Path, shared: Shared | None) -> Witnesses:
    if shared is None:
        return FileWitnesses(path)
    from gateway.shared.witnesses import RedisWitnesses

    return RedisWitnesses(shared.link)
