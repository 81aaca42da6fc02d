"""Prefixes that engines have kept, without an engine: to be erased although no model is loaded, or none answers."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kvtier.geometry import KVGeometry
from kvtier.keys import owner_mark
from kvtier.tiers.base import TierError
from kvtier.tiers.disk import erase_files, is_in_use
from kvtier.tiers.segment import SegmentForm

ANY = KVGeometry(num_layers=1, num_kv_heads=1, head_dim=1, dtype="float32")  # heads tell whose they are in any layout


class NotErased(Exception):
    """Something of it may be left; it is to be tried again."""


def erase_kept(
    folder: Path, redis_url: str, secret: bytes, owner: str, seal_keys: Sequence[bytes] = ()
) -> dict[str, int]:
    """Delete what is kept of one owner's prefixes, of any model; how many segments, by tier. Takes long.

    Raises `NotErased`.
    """
    seal = None
    if seal_keys:
        from kvtier.tiers.sealing import SegmentSeal  # an extra

        seal = SegmentSeal(list(seal_keys))
    form = SegmentForm(ANY, secret=secret, model="", tokenizer="", seal=seal)
    mark = owner_mark(secret, owner)
    work = {"disk": partial(erase_files, folder, form, mark)}
    if redis_url:
        work["redis"] = partial(_erase_redis, redis_url, form, mark)
    try:
        return {tier: erase() for tier, erase in work.items()}
    except (OSError, TierError) as error:
        raise NotErased(f"kept prefixes: {error}") from error


def clear_unserved(folder: Path) -> None:
    """Delete what is kept of models that no engine serves now."""
    for each in folder.iterdir() if folder.is_dir() else ():
        if each.is_dir() and not is_in_use(each):
            shutil.rmtree(each, ignore_errors=True)


def _erase_redis(url: str, form: SegmentForm, mark: str) -> int:
    from kvtier.tiers.redis import RedisTier  # an extra

    tier = RedisTier(url, form)
    try:
        return tier.erase(mark)
    finally:
        tier.close()
