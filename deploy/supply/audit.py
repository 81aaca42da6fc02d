"""Are there published advisories against what we pin? `make audit`, a part of `make check`.

pip-audit asks PyPI for the advisories of every pin. One that stands in `accepted.toml`, with a reason and a day by
which somebody looks again, is told and passes; any other fails. Without a network, or behind a mirror that has none,
nothing is known: that is said, and passes, for a build must not hang on somebody else's server.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent.parent
ACCEPTED = Path(__file__).parent / "accepted.toml"
TORCH = "torch"  # pinned in pyproject.toml alone: it comes in one build per kind of machine
PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Advisory:
    """One published weakness of one pin."""

    package: str
    version: str
    id: str
    fixed_in: str


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of all pins."""

    asked: int
    unknown: int  # pins of which nobody could say anything
    advisories: tuple[Advisory, ...]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An advisory that somebody has looked at."""

    id: str
    reason: str
    until: date


def read_report(found: Mapping[str, Any]) -> Report:
    """What pip-audit wrote as JSON."""
    pins = found["dependencies"]
    return Report(
        asked=len(pins),
        unknown=sum("skip_reason" in pin for pin in pins),
        advisories=tuple(
            Advisory(pin["name"], pin["version"], one["id"], ", ".join(one["fix_versions"]) or "no release yet")
            for pin in pins
            for one in pin.get("vulns", ())
        ),
    )


def read_accepted(text: str) -> tuple[Acceptance, ...]:
    """The advisories that were looked at. Raises `KeyError` or `TypeError` for one without a reason or a day."""
    return tuple(
        Acceptance(one["id"], one["reason"], _day(one["until"])) for one in tomllib.loads(text).get("accepted", ())
    )


def refused(report: Report, accepted: Sequence[Acceptance], today: date) -> list[Advisory]:
    """What nobody has looked at, or not lately."""
    good = {one.id for one in accepted if today <= one.until}
    return [one for one in report.advisories if one.id not in good]


def main() -> int:
    """Ask, print, and say by the exit status whether all is well."""
    found = _ask()
    if found is None:
        print("==> note: no advisories could be asked for; dependencies are NOT audited")
        return 0
    report = read_report(found)
    bad = refused(report, read_accepted(ACCEPTED.read_text("utf-8")), date.today())
    for one in report.advisories:
        print(f"{one.package} {one.version}: {one.id}, fixed in {one.fixed_in}{'' if one in bad else ' (accepted)'}")
    print(f"==> {report.asked - report.unknown} of {report.asked} pins audited, {len(bad)} advisories to act on")
    if report.unknown == report.asked:
        print("==> note: this index has no advisories; dependencies are NOT audited")
    return 1 if bad else 0


def _ask() -> dict[str, Any] | None:
    pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    torch = next(
        line.strip(' ",') for line in (ROOT / "pyproject.toml").read_text("utf-8").splitlines() if f'"{TORCH}==' in line
    )
    with TemporaryDirectory() as folder:
        wanted = Path(folder) / "pins.txt"
        wanted.write_text("\n".join([*pins, torch]) + "\n", "utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(wanted), "--no-deps", "--disable-pip"]
        quiet = ["--progress-spinner", "off", "--format", "json", "--timeout", "5"]
        try:
            done = subprocess.run([*command, *quiet], capture_output=True, text=True, timeout=PATIENCE_S)
            found: dict[str, Any] = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return None
        return found


def _day(value: Any) -> date:
    if not isinstance(value, date):
        raise TypeError(f"until must be a day, as 2027-01-31, got {value!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
