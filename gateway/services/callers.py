"""Who is known: the keys that were given out, and the identity provider whose tokens are taken."""

from typing import TYPE_CHECKING

from gateway.callers.keys import Keys
from gateway.callers.racks import FOLDER, FolderRack, KeyRack
from gateway.engines import Unavailable
from gateway.services.shared import Shared
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.callers.issuer import Issuer


def keys_of(settings: Settings, secret: bytes, shared: Shared | None) -> Keys:
    """Keys, from a folder, and from the Redis that gateways share."""
    racks: list[KeyRack] = [FolderRack(settings.data_dir / FOLDER)]
    if shared is not None:
        from gateway.shared.racks import RedisKeys

        racks.append(RedisKeys(shared.link))
    return Keys(secret, racks, is_required=settings.needs_keys)


def issuer_of(settings: Settings, secret: bytes) -> "Issuer | None":
    """Raises `Unavailable`."""
    if not settings.oidc.issuer:
        return None
    told = "oidc needs PyJWT and cryptography: pip install 'twicetold-server[oidc]'"
    try:
        from gateway.callers.issuer import Issuer
        from gateway.callers.tokens import CHECKS_PUBLIC_KEYS
    except ImportError as error:
        raise Unavailable(told) from error
    if not CHECKS_PUBLIC_KEYS:
        raise Unavailable(told)
    return Issuer(settings.oidc, secret)
