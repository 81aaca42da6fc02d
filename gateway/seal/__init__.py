"""Words and vectors at rest: sealed under a key that does not lie beside them, where the operator has one."""

from gateway.seal.seal import MAGIC, NO_SEAL, OVERHEAD_BYTES, Seal, Unsealed, is_sealed, key_name, place

__all__ = ["MAGIC", "NO_SEAL", "OVERHEAD_BYTES", "Seal", "Unsealed", "is_sealed", "key_name", "place"]
