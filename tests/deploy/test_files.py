"""The files of deploy/ and compose.yaml, as the programs that will read them see them, where those are installed."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.settings import load_settings
from tests.deploy.balancer import DEPLOY, HAPROXY, needs_haproxy

ROOT = DEPLOY.parent
COMPOSE, PROMTOOL = shutil.which("docker-compose"), shutil.which("promtool")


@pytest.mark.skipif(COMPOSE is None, reason="docker-compose is not installed")
def test_compose_accepts_its_file_with_every_profile(tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text("utf-8")
    filled = re.sub(r"^(TWICETOLD_SECRET|\w+_KEY|\w+_PASSWORD)=$", r"\1=filled", example, flags=re.MULTILINE)
    (tmp_path / "env").write_text(filled, "utf-8")
    environment = {"PATH": os.environ["PATH"], "COMPOSE_PROFILES": "vllm,llama-cpp"}
    place = ["--project-directory", str(ROOT), "-f", str(ROOT / "compose.yaml"), "--env-file", str(tmp_path / "env")]

    told = subprocess.run([str(COMPOSE), *place, "config", "-q"], env=environment, capture_output=True, check=True)
    assert told.stderr == b""


@needs_haproxy
def test_the_balancers_file_is_accepted_as_it_stands() -> None:
    assert HAPROXY is not None
    subprocess.run([HAPROXY, "-c", "-q", "-f", str(DEPLOY / "haproxy" / "haproxy.cfg")], check=True)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_every_expression_is_one_of_prometheus(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "twicetold.json").read_text("utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    for variable, value in {"$__rate_interval": "1m", "$__range": "6h", "$instance": ".*"}.items():
        asked = [expression.replace(variable, value) for expression in asked]
    rules = [{"record": f"panel{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")

    subprocess.run([PROMTOOL, "check", "rules", str(tmp_path / "panels.yml")], check=True)
    subprocess.run([PROMTOOL, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")], check=True)


def test_panels_lie_side_by_side_and_have_ids_of_their_own() -> None:
    panels = json.loads((DEPLOY / "grafana" / "dashboards" / "twicetold.json").read_text("utf-8"))["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize(
    "name", ["gateway/demo", "gateway/vllm", "gateway/llama-cpp", "gateway/openai", "kubernetes/gateway"]
)
def test_a_gateway_takes_every_file_that_it_may_be_given(name: str) -> None:
    settings = load_settings({}, DEPLOY / f"{name}.toml", {"OPENAI_API_KEY": "sk-test"})
    assert bool(settings.backends) == (name != "gateway/demo")
