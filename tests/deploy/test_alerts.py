"""Every alert is told what to do about."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_operations_says_what_to_do_when_an_alert_rings() -> None:
    rung = set(re.findall(r"- alert: (\w+)", (ROOT / "deploy/prometheus/rules.yml").read_text("utf-8")))
    told = set(re.findall(r"^\| `([A-Z]\w+)` \|", (ROOT / "docs/operations.md").read_text("utf-8"), re.MULTILINE))

    assert rung == told
