"""Every suite of `make bench` is there, and an area's picture says what its rows say."""

from importlib import import_module
from xml.etree import ElementTree

import pytest

from bench import engines, plots
from bench.__main__ import GROUPS, suites_of
from bench.areas import AREAS
from bench.engine.goals import Goal, ratio, verdicts
from bench.rows import Row, Scale

ROWS = [
    Row("exact", "hits, 16 callers", 900.0, "req/s", 300.0, "a <peer>"),
    Row("exact", "hit, p50", 3.0, "ms", 1.0, "a <peer>"),
    Row("exact", "off", None, "ms", None, "", "not available"),
]


def test_every_suite_can_be_run() -> None:
    for name in suites_of(tuple(AREAS)):
        assert callable(import_module(f"bench.{name}").run), name


def test_names_of_areas_and_suites_are_run_once() -> None:
    assert suites_of(["miss", "passthrough", "lookup.million"]) == ["passthrough", "lookup.million"]


def test_a_group_is_run_by_its_name_and_is_no_area() -> None:
    assert {name: tuple(suites_of([name])) for name in GROUPS} == GROUPS


def test_an_engine_that_is_not_given_is_a_row_of_its_area_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BENCH_LLAMA_BIN", "BENCH_VLLM_PYTHON"):
        monkeypatch.delenv(name, raising=False)

    rows = AREAS["local"].of(engines.run(Scale()))

    assert [(row.value, row.beside_what) for row in rows] == [(None, "llama.cpp BF16"), (None, "vLLM")]
    assert rows[0].note.startswith("skipped because BENCH_LLAMA_BIN is not set")
    assert rows[1].note.startswith("skipped because BENCH_VLLM_PYTHON is not set")


def test_a_rate_and_a_time_are_both_better_to_the_right() -> None:
    assert [bar.times for row in ROWS if (bar := plots.bar_of(row))] == [3.0, 1 / 3]


def test_a_picture_is_well_formed_and_names_every_figure() -> None:
    goal = Goal("fast", "at least", 2, ratio("exact: hits"))

    picture = ElementTree.fromstring(plots.svg("Hits", ROWS, verdicts(ROWS, [goal])))  # noqa: S314 - our own

    said = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "900 req/s, beside 300: a <peer>" in said
    assert "met: 3.000, at least 2 times" in said
