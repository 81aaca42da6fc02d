from pathlib import Path

from tests.kvtier.rows import publish
from tests.kvtier.tiers.places import disk_tier, restore, tiered_cache, write_all

IDS = list(range(100, 200))  # three segments of 32 tokens and one block


def test_what_ram_lost_comes_back_from_disk(tmp_path: Path) -> None:
    cache = tiered_cache(64, disk_tier(tmp_path))
    publish(cache, "a", IDS)
    write_all(cache)
    cache.close()

    again = tiered_cache(64, disk_tier(tmp_path))
    assert restore(again, "a", IDS) == {"disk": 100}
    assert restore(again, "b", IDS) == {}
    again.close()
