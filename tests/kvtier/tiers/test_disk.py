import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kvtier.cache import KVCache
from kvtier.tiers.base import TierError
from kvtier.tiers.disk import DiskTier
from tests.kvtier.rows import SMALL, assert_rows, publish
from tests.kvtier.tiers.places import disk_tier, restore, small_form, tiered_cache, write_all
from tests.kvtier.tiers.writer_process import ids_of

IDS = list(range(100, 203))  # three segments of 32 tokens, one block, and three tokens
SEGMENT_BYTES = 4096 + 32 * SMALL.bytes_per_token


def fill(folder: Path, ids: list[int] = IDS, salt: str = "a") -> None:
    cache = tiered_cache(64, disk_tier(folder))
    publish(cache, salt, ids, tail=True)
    write_all(cache)
    cache.close()


def reopened(folder: Path, *, budget_bytes: int = 1 << 26) -> tuple[KVCache, DiskTier]:
    tier = disk_tier(folder, budget_bytes=budget_bytes)
    return tiered_cache(64, tier), tier


def segment_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.seg"), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("num_tokens", [1, 3, 4, 5, 31, 32, 33, 36, 64, 95, 96, 97, 103])
def test_a_restart_loses_no_token(tmp_path: Path, num_tokens: int) -> None:
    fill(tmp_path, IDS[:num_tokens])
    cache, _ = reopened(tmp_path)

    assert restore(cache, "a", [*IDS[:num_tokens], 7, 7]) == {"disk": num_tokens}
    assert restore(cache, "b", IDS) == {}
    cache.close()


@pytest.mark.parametrize("common", [1, 20, 32, 45, 64, 90, 102])
def test_a_prompt_that_diverges_anywhere_uses_what_it_shares(tmp_path: Path, common: int) -> None:
    fill(tmp_path)
    cache, _ = reopened(tmp_path)

    assert restore(cache, "a", [*IDS[:common], 7, 7, 7]) == {"disk": common}
    cache.close()


@pytest.mark.parametrize("in_ram", [3, 8, 31, 32, 40, 64, 100])
def test_what_ram_holds_is_not_loaded_again(tmp_path: Path, in_ram: int) -> None:
    fill(tmp_path)
    cache, _ = reopened(tmp_path)
    publish(cache, "a", IDS[:in_ram], tail=True)

    assert restore(cache, "a", IDS) == {"ram": in_ram, "disk": 103 - in_ram}
    assert cache.snapshot()["disk_loads"] == 4 - in_ram // 32
    cache.check()
    cache.close()


def test_the_folder_is_for_its_owner_and_names_say_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "kv")
    folder = tmp_path / "kv" / small_form().model

    assert (tmp_path / "kv").stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    for path in segment_files(tmp_path / "kv"):
        assert len(bytes.fromhex(path.stem)) == 32


@pytest.mark.parametrize("damage", ["flip a byte of the head", "flip a byte of the rows", "cut off", "grow", "empty"])
@pytest.mark.parametrize("when", ["while running", "before the start"])
def test_a_damaged_file_is_deleted_and_missed(tmp_path: Path, damage: str, when: str) -> None:
    fill(tmp_path, IDS[:32])
    cache, tier = reopened(tmp_path)
    tier.check()
    (path,) = segment_files(tmp_path)
    data = bytearray(path.read_bytes())
    match damage:
        case "flip a byte of the head":
            data[200] ^= 1
        case "flip a byte of the rows":
            data[-1] ^= 1
        case "cut off":
            del data[-100:]
        case "grow":
            data += b"more"
        case "empty":
            data.clear()
    path.write_bytes(data)
    if when == "before the start":
        cache.close()
        cache, tier = reopened(tmp_path)

    assert restore(cache, "a", IDS[:32]) == {}
    tier.check()
    assert cache.snapshot()["disk_bad"] == 1
    assert cache.snapshot()["disk_segments"] == 0
    assert segment_files(tmp_path) == []
    publish(cache, "a", IDS[:32])
    write_all(cache)
    cache.close()
    cache, _ = reopened(tmp_path)
    assert restore(cache, "a", IDS[:32]) == {"disk": 32}
    cache.close()


def test_a_file_that_takes_the_place_of_another_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    *_, one, other = segment_files(tmp_path)
    cache, tier = reopened(tmp_path)
    tier.check()
    other.write_bytes(one.read_bytes())

    assert sum(restore(cache, "a", IDS).values()) in (0, 32, 64)
    assert cache.snapshot()["disk_bad"] == 1
    cache.close()


def test_files_of_another_secret_are_deleted(tmp_path: Path) -> None:
    fill(tmp_path)
    tier = disk_tier(tmp_path, form=small_form(secret=b"another"))
    tier.check()

    assert tier.snapshot()["bad"] == 4
    assert segment_files(tmp_path) == []
    tier.close()


def test_the_oldest_leaf_goes_first_and_a_chain_is_cut_from_its_end(tmp_path: Path) -> None:
    cache, tier = reopened(tmp_path, budget_bytes=5 * SEGMENT_BYTES)
    for salt in ("a", "b", "c"):
        publish(cache, salt, IDS[:64])
        write_all(cache)
    tier.check()
    assert cache.snapshot()["disk_evictions"] == 1
    assert cache.snapshot()["disk_resident_bytes"] == sum(p.stat().st_size for p in segment_files(tmp_path))
    cache.close()

    cache, _ = reopened(tmp_path)
    assert restore(cache, "a", IDS[:64]) == {"disk": 32}
    assert restore(cache, "b", IDS[:64]) == {"disk": 64}
    assert restore(cache, "c", IDS[:64]) == {"disk": 64}
    cache.close()


def test_what_is_used_outlives_what_is_not_even_over_a_restart(tmp_path: Path) -> None:
    for age, salt in enumerate(("a", "b")):
        fill(tmp_path, IDS[:64], salt)
        for path in segment_files(tmp_path):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 100 + 10 * age))
    cache, _ = reopened(tmp_path)
    assert restore(cache, "a", IDS[:64]) == {"disk": 64}
    cache.close()

    cache, tier = reopened(tmp_path, budget_bytes=3 * SEGMENT_BYTES)
    tier.check()
    assert restore(cache, "a", IDS[:64]) == {"disk": 64}
    assert restore(cache, "b", IDS[:64]) == {"disk": 32}
    cache.close()


def of_another_model(folder: Path) -> KVCache:
    """A cache that has written three segments of another model."""
    tier = disk_tier(folder, form=small_form(model="other"))
    cache = KVCache(SMALL, 64 * SMALL.block_bytes, secret=b"secret", model="other", tokenizer="tokenizer", tiers=[tier])
    publish(cache, "a", IDS[:96])
    write_all(cache)
    return cache


def test_a_model_served_beside_keeps_its_files_and_has_a_budget_of_its_own(tmp_path: Path) -> None:
    beside = of_another_model(tmp_path)
    cache, tier = reopened(tmp_path, budget_bytes=3 * SEGMENT_BYTES)
    tier.check()
    for salt in ("a", "b"):
        publish(cache, salt, IDS[:96])
        write_all(cache)

    assert cache.snapshot()["disk_segments"] == 3
    assert len(segment_files(tmp_path)) == 6
    cache.close()
    beside.close()


def test_another_models_files_count_and_are_the_first_to_go(tmp_path: Path) -> None:
    of_another_model(tmp_path).close()
    assert len(segment_files(tmp_path)) == 3

    cache, tier = reopened(tmp_path, budget_bytes=4 * SEGMENT_BYTES)
    tier.check()
    assert cache.snapshot()["disk_stranger_bytes"] == 3 * SEGMENT_BYTES
    publish(cache, "a", IDS[:96])
    write_all(cache)
    assert len(segment_files(tmp_path)) == 4
    assert cache.snapshot()["disk_stranger_bytes"] == SEGMENT_BYTES
    assert restore(cache, "a", IDS[:96]) == {"ram": 96}
    cache.close()


def test_what_dead_writers_left_is_swept_up_and_living_ones_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / small_form().model
    folder.mkdir(parents=True)
    (folder / "dead.tmp").write_bytes(b"half")
    (tmp_path / ".trash-1").mkdir()
    with (folder / "alive.tmp").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        tier = disk_tier(tmp_path)
        tier.check()

    assert sorted(path.name for path in folder.iterdir()) == [".lock", "alive.tmp"]
    assert not (tmp_path / ".trash-1").exists()
    tier.close()


def assert_written_again(cache: KVCache, folder: Path) -> None:
    """What is kept from now on outlives the cache, which is closed, and nothing else does."""
    publish(cache, "a", IDS[:32])
    write_all(cache)
    cache.close()
    cache, _ = reopened(folder)
    assert restore(cache, "a", IDS) == {"disk": 32}
    cache.close()


def test_clearing_is_for_good(tmp_path: Path) -> None:
    fill(tmp_path)
    cache, _ = reopened(tmp_path)
    prefetch = cache.prefetch("a", IDS)
    assert prefetch.wait(5)
    cache.clear()

    with cache.match("a", IDS, prefetched=prefetch) as lease:
        assert lease.num_tokens == 0
    assert restore(cache, "a", IDS) == {}
    assert cache.flush(5)
    assert segment_files(tmp_path) == []
    assert_written_again(cache, tmp_path)


def test_a_folder_that_vanished_is_cleared_and_written_again(tmp_path: Path) -> None:
    fill(tmp_path)
    cache, tier = reopened(tmp_path)
    tier.check()
    shutil.rmtree(tmp_path / small_form().model)

    cache.clear()

    assert cache.flush(5)
    assert_written_again(cache, tmp_path)


def test_a_clear_that_failed_half_way_is_finished_by_the_next_try(tmp_path: Path) -> None:
    root, aside = tmp_path / "kv", tmp_path / "aside"
    fill(root)
    cache, tier = reopened(root)
    tier.check()
    (root / small_form().model).rename(root / ".trash-0")  # as far as the first try came
    root.rename(aside)
    root.write_text("no folder can be made here")
    with pytest.raises(TierError, match="cannot clear"):
        tier.clear()

    root.unlink()
    aside.rename(root)
    tier.clear()

    assert [path.name for path in root.iterdir()] == [small_form().model]
    publish(cache, "a", IDS[:32])
    write_all(cache)
    cache.close()
    cache, _ = reopened(root)
    assert restore(cache, "a", IDS) == {"disk": 32}
    cache.close()


def test_a_file_that_another_process_deleted_is_a_miss(tmp_path: Path) -> None:
    fill(tmp_path)
    cache, tier = reopened(tmp_path)
    tier.check()
    for path in segment_files(tmp_path):
        path.unlink()

    assert restore(cache, "a", IDS) == {}
    assert cache.snapshot()["disk_bad"] == cache.snapshot()["disk_errors"] == 0
    cache.close()


def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("a file")

    with pytest.raises(TierError, match="cannot use"):
        disk_tier(tmp_path / "kv")


def test_a_folder_that_cannot_be_written_in_is_read_and_writes_are_counted_faults(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()  # a file system that is read-only refuses to open it as this does, root or not
    cache, tier = reopened(tmp_path)
    assert restore(cache, "a", IDS) == {"disk": len(IDS)}

    publish(cache, "b", list(range(300, 403)), tail=True)
    write_all(cache)
    assert tier.snapshot()["errors"] > 0
    assert tier.snapshot()["writes"] == 0
    assert [record.message.split(":")[0] for record in caplog.records if record.levelname == "WARNING"] == [
        "kept prefixes are read and none is written",
        "disk",
    ]

    (folder / ".lock").rmdir()
    publish(cache, "c", list(range(500, 603)), tail=True)
    write_all(cache)
    assert tier.snapshot()["writes"] > 0
    cache.close()


def test_a_folder_that_vanishes_costs_writes_and_nothing_else(tmp_path: Path) -> None:
    cache, tier = reopened(tmp_path)
    tier.check()
    shutil.rmtree(tmp_path / small_form().model)
    publish(cache, "a", IDS)
    write_all(cache)

    assert cache.snapshot()["disk_failures"] > 0
    assert restore(cache, "a", IDS) == {"ram": 100}
    cache.close()


def test_a_conversation_longer_than_the_budget_keeps_its_head(tmp_path: Path) -> None:
    fill(tmp_path, list(range(40)), "old")
    cache, tier = reopened(tmp_path, budget_bytes=3 * SEGMENT_BYTES)
    tier.check()
    publish(cache, "a", range(200))
    write_all(cache)
    cache.close()

    cache, tier = reopened(tmp_path)
    assert restore(cache, "a", range(200)) == {"disk": 96}
    tier.check()
    cache.close()


def test_a_segment_larger_than_the_budget_is_refused(tmp_path: Path) -> None:
    cache, _ = reopened(tmp_path, budget_bytes=SEGMENT_BYTES - 1)
    publish(cache, "a", IDS)
    write_all(cache)

    assert cache.snapshot()["disk_refused"] == 4
    assert segment_files(tmp_path) == []
    cache.close()


def child(folder: Path, seed: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.kvtier.tiers.writer_process", str(folder), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def count_found(cache: KVCache, seed: int) -> int:
    """Tokens of one conversation that come back, every row compared."""
    ids = ids_of(seed)
    prefetch = cache.prefetch("a", ids, limit=len(ids))
    assert prefetch.wait(10)
    with cache.match("a", ids, limit=len(ids), prefetched=prefetch) as lease:
        assert_rows(lease, "a", ids)
        return lease.num_tokens


def test_a_process_killed_in_the_middle_of_writes_leaves_whole_files_and_its_work(tmp_path: Path) -> None:
    for round_ in range(3):
        process = child(tmp_path, round_)
        assert process.stdout is not None
        while int(process.stdout.readline()) < 15:
            pass
        process.kill()
        process.communicate()
        cache, tier = reopened(tmp_path)
        tier.check()

        assert cache.snapshot()["disk_bad"] == 0
        assert cache.snapshot()["disk_segments"] >= 15
        assert count_found(cache, round_) == len(ids_of(round_))
        assert [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"] == []
        cache.close()


def test_two_processes_may_share_a_folder(tmp_path: Path) -> None:
    processes = [child(tmp_path, seed) for seed in (0, 1)]
    for process in processes:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 15:
            pass
    for process in processes:
        process.kill()
        process.communicate()

    cache, tier = reopened(tmp_path)
    tier.check()
    assert cache.snapshot()["disk_bad"] == 0
    assert [count_found(cache, seed) for seed in (0, 1)] == [len(ids_of(seed)) for seed in (0, 1)]
    cache.close()


@pytest.mark.parametrize("name", ["x" * 64 + ".seg", "x.tmp"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nowhere", "link to a folder"])
def test_what_is_no_file_is_left_out_and_the_rest_is_found(tmp_path: Path, name: str, kind: str) -> None:
    fill(tmp_path)
    (model,) = (path for path in tmp_path.iterdir() if path.is_dir())
    odd = model / name
    match kind:
        case "folder":
            odd.mkdir()
        case "pipe":
            os.mkfifo(odd)
        case _:
            odd.symlink_to(tmp_path if kind == "link to a folder" else tmp_path / "nowhere")

    cache, _ = reopened(tmp_path)

    assert restore(cache, "a", [*IDS, 7]) == {"disk": len(IDS)}
    cache.close()


def test_odd_things_in_a_strangers_folder_disturb_nobody(tmp_path: Path) -> None:
    fill(tmp_path)
    stranger = tmp_path / "another-model"
    (stranger / ("y" * 64 + ".seg")).mkdir(parents=True)
    (stranger / ("z" * 64 + ".seg")).symlink_to(tmp_path / "nowhere")

    cache, tier = reopened(tmp_path)

    assert restore(cache, "a", [*IDS, 7]) == {"disk": len(IDS)}
    assert tier.snapshot()["stranger_bytes"] == 0
    cache.close()


def test_a_pipe_in_the_place_of_a_segment_is_a_miss_at_once(tmp_path: Path) -> None:
    fill(tmp_path)
    cache, tier = reopened(tmp_path)
    assert restore(cache, "a", [*IDS[:20], 7]) == {"disk": 20}
    for path in segment_files(tmp_path):
        path.unlink()
        os.mkfifo(path)

    assert restore(cache, "a", [*IDS, 7]) == {}
    assert tier.snapshot()["bad"] + tier.snapshot()["errors"] > 0
    cache.close()
