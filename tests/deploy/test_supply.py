"""What `make audit` does with advisories: of what pip-audit writes, the day it is, and what was looked at; and the bill
of materials of the image.
"""

import json
import re
import shlex
import subprocess
import sys
from datetime import date
from importlib.metadata import distributions, requires
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from packaging.requirements import Requirement

from deploy.supply.audit import Acceptance, Report, read_accepted, read_report, refused

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(sys.executable).parent / "cyclonedx-py"

TODAY = date(2026, 11, 22)
FOUND = {
    "dependencies": [
        {"name": "sound", "version": "1.0", "vulns": []},
        {"name": "weak", "version": "2.0", "vulns": [{"id": "GHSA-1", "fix_versions": ["2.1"], "aliases": []}]},
        {"name": "unheard-of", "skip_reason": "Dependency not found on PyPI and could not be audited"},
    ],
    "fixes": [],
}


def report() -> Report:
    return read_report(FOUND)


def test_an_advisory_that_nobody_looked_at_fails_the_build() -> None:
    (bad,) = refused(report(), (), TODAY)

    assert (bad.package, bad.version, bad.id, bad.fixed_in) == ("weak", "2.0", "GHSA-1", "2.1")


def test_what_could_not_be_asked_for_is_counted_and_is_no_clean_bill() -> None:
    assert (report().asked, report().unknown) == (3, 1)


@pytest.mark.parametrize(("until", "passes"), [(date(2026, 11, 22), True), (date(2026, 11, 21), False)])
def test_an_accepted_advisory_passes_until_its_day(until: date, passes: bool) -> None:
    assert (refused(report(), [Acceptance("GHSA-1", "not the part we use", until)], TODAY) == []) is passes


@pytest.mark.parametrize("left_out", ["reason", "until"])
def test_nothing_is_accepted_without_a_reason_and_a_day(left_out: str) -> None:
    lines = {"id": 'id = "GHSA-1"', "reason": 'reason = "x"', "until": "until = 2027-01-31"}
    text = "\n".join(["[[accepted]]", *(line for name, line in lines.items() if name != left_out)])

    with pytest.raises(KeyError, match=left_out):
        read_accepted(text)


def steps_of_the_image() -> list[list[str]]:
    """The commands of the RUN line that makes the bill of materials, one after the other."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if line.startswith("RUN") and "cyclonedx-py" in line)
    return [shlex.split(step) for step in line.removeprefix("RUN").split("&&")]


def bill_step() -> list[str]:
    (step,) = (step for step in steps_of_the_image() if step[0].endswith("/cyclonedx-py"))
    return step


def installed_of(extras: set[str]) -> dict[str, str]:
    """What the gateway with these extras asks for by itself, and is installed here: versions by name."""
    wanted = [Requirement(one) for one in requires("twicetold-server") or ()]
    asked = {one.name for one in wanted if one.marker is None or any(one.marker.evaluate({"extra": x}) for x in extras)}
    names = {spelled(one.metadata["Name"]): one.version for one in distributions()}
    return {name: names[name] for name in map(spelled, asked) if name in names}


def spelled(name: str) -> str:
    """As an index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_image_carries_a_bill_of_all_that_is_installed_in_it() -> None:
    steps, bill = steps_of_the_image(), bill_step()
    kinds = [" ".join(step[:2]) for step in steps]
    out = bill[bill.index("-o") + 1]
    last_stage = (ROOT / "Dockerfile").read_text("utf-8").rpartition("\nFROM ")[2]

    assert kinds[0] == "/opt/twicetold/bin/pip install"
    assert steps[0][-1].startswith(".[")
    assert "cyclonedx-bom" in next(step for step in steps if step[0] == "/build/bom/bin/pip")
    assert not any("pip install" in kind and kind.startswith("/opt") for kind in kinds[steps.index(bill) :])
    assert bill[-1] == "/opt/twicetold/bin/python"  # what is listed is what was installed, not the tool
    assert out.startswith("/opt/twicetold/")
    assert "COPY --from=build /opt/twicetold /opt/twicetold" in last_stage


@pytest.mark.skipif(not TOOL.exists(), reason="cyclonedx-bom is not installed: pip install '.[check]'")
def test_the_step_of_the_image_makes_a_valid_bill_that_names_what_is_installed(tmp_path: Path) -> None:
    bill = made_by(bill_step(), tmp_path / "sbom.cdx.json")
    listed = {spelled(component["name"]): component for component in bill["components"]}
    expected = installed_of(set(re.findall(r"[\w-]+", steps_of_the_image()[0][-1])))
    if missing := {"fastapi", "torch", "redis", "cryptography", "faiss-cpu"} - expected.keys():
        pytest.skip(f"not installed here: {', '.join(sorted(missing))}")

    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "twicetold-server")
    assert {name: listed[name]["version"] for name in expected if name in listed} == expected
    for name, version in expected.items():
        assert listed[name]["purl"] == f"pkg:pypi/{name}@{quote(version)}"
    assert is_valid({**bill, "components": [listed["fastapi"], listed["torch"], listed["redis"]]})
    assert not is_valid({**bill, "components": [{"version": "of nothing"}]})


def made_by(step: list[str], path: Path) -> dict[str, Any]:
    """The bill of this environment, by the image's own command. What that does in addition, to hold all of it against
    the schema, takes half a minute: here a part of it is (`is_valid`)."""
    here = {"/build/bom/bin/cyclonedx-py": str(TOOL), "/opt/twicetold/bin/python": sys.executable}
    command = [here.get(word, word) for word in step]
    assert "--no-validate" not in command
    command[command.index("-o") + 1] = str(path)
    subprocess.run([*command, "--no-validate"], cwd=ROOT, check=True, capture_output=True)
    bill: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return bill


def is_valid(bill: dict[str, Any]) -> bool:
    """By the schema that it names."""
    validation = pytest.importorskip("cyclonedx.validation.json", reason="the library of cyclonedx-bom is needed")
    version = pytest.importorskip("cyclonedx.schema").SchemaVersion.from_version(bill["specVersion"])
    return validation.JsonStrictValidator(version).validate_str(json.dumps(bill)) is None
