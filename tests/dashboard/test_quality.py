"""Hits by meaning in the dashboard: found, explained, and how often they were wrong against a target."""

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.looking import complaints_everywhere, open_view
from tests.e2e.server import Gateway, running_gateway
from tests.loopback import LOOPBACK
from tests.upstream import RunningUpstream

STORED = "How do I reset my password?"
OTHER_WORDS = "Please, how do I reset my password?"
JUDGED = "When does the shop open on Sunday?"
JUDGED_AGAIN = "when does the shop open on sunday"  # the same in its bare form
SHOP = {"authorization": "Bearer sk-shop"}  # a tenant and a lane of its own: what it learns changes nothing for others


@pytest.fixture(scope="module")
def gateway(upstream: RunningUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that finds by meaning. It has three answers, and served a hit of which a user said that it was wrong."""
    folder = tmp_path_factory.mktemp("quality") / "data"
    with running_gateway(folder, "--upstream", upstream.base_url, cache__shadow_rate="0") as running:
        running.wait("upstream", "semantic")
        running.post(_body("What is the capital of France?"))
        running.post(_body(STORED))
        running.post(_body(JUDGED), **SHOP)
        running.wait_for(lambda stats: stats["vectors"], 3)
        hit = running.post(_body(JUDGED_AGAIN), **SHOP)
        assert hit.headers["x-twicetold-tier"] == "semantic"
        said = {"id": hit.json()["id"], "verdict": "bad"}
        feedback = f"{running.url}/v1/cache/feedback"
        httpx.post(feedback, json=said, headers=SHOP, **LOOPBACK).raise_for_status()
        yield running


def _body(question: str) -> dict[str, object]:
    return {"model": "test-model", "messages": [{"role": "user", "content": question}]}


def decade_x(chance: float) -> float:
    """Where the histogram draws a chance: from all at 34 to a ten-thousandth at 640, in decades."""
    return 34 - math.log10(max(chance, 1e-4)) / 4 * (640 - 34)


def judged_lane(gateway: Gateway) -> dict[str, Any]:
    """The one with a label: the page shows it first."""
    (lane,) = (lane for lane in gateway.get("/admin/api/quality").json()["lanes"] if lane["wrong_hit_rate"]["known"])
    return dict(lane)


def test_entries_are_found_by_what_they_mean(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "entries")
    page.get_by_role("button", name="Meaning").click()
    page.get_by_role("searchbox").fill("I forgot my login credentials")
    page.keyboard.press("Enter")

    expect(page.locator(".entry-row").first).to_contain_text(STORED)
    expect(page.get_by_text("The nearest 3 of 3 questions")).to_be_visible()
    expect(page.locator(".entry-row .badge.semantic")).to_have_count(3)
    assert complaints_everywhere(page) == []


def test_other_words_are_served_from_memory_and_explained(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "playground")
    page.wait_for_selector("option[value=test-model]", state="attached")
    page.get_by_label("Message").fill(OTHER_WORDS)
    page.keyboard.press("Enter")
    answer = page.locator(".bubble.assistant")
    expect(answer.locator(".badge")).to_have_text("semantic")
    expect(answer).to_contain_text("similarity")
    expect(answer).to_contain_text("tokens saved")
    answer.get_by_role("link", name="Why?").click()

    expect(page.locator(".step.semantic.hit")).to_contain_text(STORED)
    expect(page.locator(".pair")).to_contain_text(OTHER_WORDS)
    assert complaints_everywhere(page) == []


def test_the_rate_is_shown_with_its_interval_and_the_target(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "quality")

    expect(page.locator(".figure").first).to_contain_text("1 of 1 hit whose outcome is known")
    interval = page.get_by_role("img", name="100 % wrong (1 of 1)")
    told = "1 of 1); with 95 % confidence over 5.00 %, and under 100 %; target 1.00 %"
    expect(interval).to_have_attribute("aria-label", f"100 % wrong ({told}")
    expect(page.locator(".interval-scale > span").last).to_have_text("100 %")  # as far as the bound
    expect(page.get_by_text("over the target").first).to_be_visible()


def test_would_be_hits_are_drawn_by_chance_and_by_cosine_with_the_threshold(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "quality")
    chance = 1 - judged_lane(gateway)["threshold"]
    picture = page.get_by_role("img", name="1 would-be hit by chance of being wrong; threshold at")
    expect(picture.locator("rect.bar.serve")).to_have_count(1)
    line = picture.locator("line.threshold")
    assert float(line.get_attribute("x1") or 0) == pytest.approx(decade_x(chance), abs=1)
    expect(picture.locator(".threshold-text")).to_contain_text("threshold: ")
    page.get_by_role("button", name="What labels said").click()
    expect(page.locator(".histogram rect.bar.wrong")).to_have_count(1)
    page.get_by_role("button", name="Cosine").click()

    picture = page.get_by_role("img", name="1 would-be hit by cosine")
    expect(picture.locator("rect.bar.serve")).to_have_count(1)
    expect(picture.locator(".threshold")).to_have_count(0)
    expect(picture.locator(".tick").first).to_have_text("0.5")


def test_mode_and_target_are_changed_here(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "quality")
    page.get_by_role("button", name="Shadow").click()
    expect(page.get_by_text("Mode is shadow now.")).to_be_visible()
    page.get_by_label("Target: wrong hits of all hits").fill("2.5")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_text("The target is 2.50 % now.")).to_be_visible()

    lane = judged_lane(gateway)
    assert (lane["mode"], lane["max_wrong_hit_rate"]) == ("shadow", 0.025)
    page.get_by_label("Target: wrong hits of all hits").fill("90")
    expect(page.get_by_role("button", name="Set", exact=True)).to_be_disabled()


def test_everybody_can_use_it(page: Page, gateway: Gateway) -> None:
    open_view(page, gateway, "quality")
    page.wait_for_selector(".histogram")
    assert complaints_everywhere(page) == []
