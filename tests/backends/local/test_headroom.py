"""The memory that is free is the least that machine, container and the process's own limit leave."""

from pathlib import Path

import pytest

from backends.local.engine.headroom import free_bytes

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "meminfo").write_text("MemTotal:  4096 kB\nMemAvailable:  2048 kB\n")
    (tmp_path / "status").write_text("VmData:  512 kB\n")
    (tmp_path / "cgroup").mkdir()
    return {name: tmp_path / name for name in ("meminfo", "status", "cgroup")}


def test_without_a_container_it_is_what_the_machine_has(machine: dict[str, Path]) -> None:
    assert free_bytes(**machine) == 2 * MIB


def test_a_container_counts_files_it_caches_as_free(machine: dict[str, Path]) -> None:
    for name, text in {
        "max": f"{3 * MIB}\n",
        "current": f"{2 * MIB}\n",
        "stat": f"anon 1\ninactive_file {MIB // 2}\n",
    }.items():
        (machine["cgroup"] / f"memory.{name}").write_text(text)

    assert free_bytes(**machine) == MIB + MIB // 2


def test_a_container_of_the_older_kind_counts_too(machine: dict[str, Path]) -> None:
    (machine["cgroup"] / "memory").mkdir()
    files = {"limit_in_bytes": f"{2 * MIB}", "usage_in_bytes": f"{MIB}", "stat": "total_inactive_file 0\n"}
    for name, text in files.items():
        (machine["cgroup"] / "memory" / f"memory.{name}").write_text(text)

    assert free_bytes(**machine) == MIB


def test_where_nothing_is_known_nothing_is_said(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a", tmp_path / "b", tmp_path / "c") is None
