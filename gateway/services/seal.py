"""What passes between content and a disk or a Redis: nothing, or a ring of keys."""

from gateway.engines import Unavailable
from gateway.seal import NO_SEAL, Seal
from gateway.settings import Settings


def seal_of(settings: Settings) -> Seal:
    """What [seal] asks for. Raises `Unavailable` when the package is not installed."""
    said = settings.seal
    if not said.key and not said.old_keys:
        return NO_SEAL
    try:
        from gateway.seal.ring import KeyRing, Opening, key_of
    except ImportError as error:
        raise Unavailable(f"[seal] needs {error.name}: pip install 'twicetold-server[seal]'") from error
    ring = KeyRing([key_of(text) for text in (said.key, *said.old_keys) if text])
    return ring if said.key else Opening(ring)


def seal_keys_of(settings: Settings) -> tuple[bytes, ...]:
    """Keys of their own for engines, which seal prefixes themselves; none where nothing is sealed."""
    seal = seal_of(settings)
    if not seal.name:
        return ()
    from gateway.seal.ring import KeyRing

    assert isinstance(seal, KeyRing)
    return seal.keys_for("prefixes")
