"""What `make audit` does with advisories: of what pip-audit writes, the day it is, and what was looked at."""

from datetime import date

import pytest

from deploy.supply.audit import Acceptance, Report, read_accepted, read_report, refused

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
